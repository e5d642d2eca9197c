"""A partner's credentials, kept once per server: for which schools they are, and how they are rotated."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from schoolgate.v1 import failure_pb2 as f
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School, SyncSchedule
from schoolgate_sdk import Identity
from schoolgate_server.mis.partners import PartnersFile, PartnersInvalid
from schoolgate_server.model.clock import system_clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine, TickingClock, engine_over
from tests.support.guarded import Asked, GuardedMis, guarded_connector, guarded_mis
from tests.support.scripted import GROUPS, STUDENTS, ScriptedMis, group, student
from tests.support.served import MemoryVault


@pytest.fixture
async def mis() -> AsyncGenerator[GuardedMis]:
    rows = ScriptedMis()
    rows.rows[STUDENTS] = [student(number) for number in range(25)]
    rows.rows[GROUPS] = [group(0)]
    async with guarded_mis(rows) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "partners.toml"
    write(path, "first")
    os.utime(path, (0, 0))  # long before the clock of the tests
    return path


def write(path: Path, token: str) -> None:
    path.write_text(
        f"""
        [scripted]
        credentials = {{ token = "{token}", other = "x" }}
        settings = {{ address = "here" }}
        schools.{SCHOOL} = {{ number = "1" }}
        """
    )


@pytest.fixture
def remembered() -> set[str]:
    return set()


@pytest.fixture
async def engine(store: Store, mis: GuardedMis, path: Path, remembered: set[str]) -> AsyncGenerator[Engine]:
    store.credentials = MemoryVault(store)
    connector, clock = guarded_connector(mis, identity=Identity.PARTNER), TickingClock()
    partners = PartnersFile(path, remembered.update, clock)
    async with engine_over(store, mis.rows, connector=connector, partners=partners, clock=clock) as running:
        yield running


async def test_a_school_without_credentials_of_its_own_uses_the_partners(
    engine: Engine, mis: GuardedMis, remembered: set[str]
) -> None:
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
    assert {asked.token for asked in mis.asked} == {"first"}
    assert remembered == {"first", "x"}


async def test_a_schools_own_credentials_go_first(engine: Engine, mis: GuardedMis) -> None:
    await engine.store.credentials.set(SCHOOL, {"token": "own"}, str(uuid.uuid4()))
    mis.tokens = {"own"}
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED


async def test_g17_a_partners_credentials_are_not_sent_to_an_address_that_a_school_names(
    engine: Engine, mis: GuardedMis
) -> None:
    """Seen to fail where the settings of a school are not compared with those of the file."""
    moved = School(school_id=SCHOOL, settings={"address": "elsewhere"})
    await engine.store.schools.update(moved, ["settings"], str(uuid.uuid4()), b"")
    with pytest.raises(ServiceError) as caught:
        await engine.sync(STUDENTS)
    assert "has no credentials" in caught.value.message
    with pytest.raises(ServiceError):
        await engine.supervisor.check_connection(SCHOOL)
    assert mis.asked == []


@pytest.mark.parametrize(
    "listed", [f"schools.{SCHOOL} = {{ number = '1' }}", "schools.elm = { number = '2' }"]
)
async def test_g17_a_partners_credentials_read_no_other_school_than_the_one_they_are_listed_for(
    engine: Engine, mis: GuardedMis, path: Path, listed: str
) -> None:
    """Seen to fail where whoever may change a school's registration may name another school in it."""
    path.write_text(path.read_text().replace(f'schools.{SCHOOL} = {{ number = "1" }}', listed))
    moved = School(school_id=SCHOOL, settings={"number": "2"})
    await engine.store.schools.update(moved, ["settings"], str(uuid.uuid4()), b"")
    with pytest.raises(ServiceError, match="has no credentials"):
        await engine.sync(STUDENTS)
    assert mis.asked == []


async def test_an_address_to_which_only_the_schools_credentials_go_is_the_schools_to_choose(
    engine: Engine,
) -> None:
    moved = School(school_id=SCHOOL, settings={"annexe": "elsewhere"})
    await engine.store.schools.update(moved, ["settings"], str(uuid.uuid4()), b"")
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED


async def test_a_partners_credentials_are_only_for_what_is_the_partners(
    store: Store, mis: GuardedMis, path: Path
) -> None:
    store.credentials = MemoryVault(store)
    partners = PartnersFile(path, lambda secrets: None, system_clock)
    async with engine_over(store, mis.rows, connector=guarded_connector(mis), partners=partners) as engine:
        with pytest.raises(ServiceError, match="has no credentials"):
            await engine.sync(STUDENTS)


async def test_a_run_at_work_goes_on_with_a_rotated_partners_secret(
    engine: Engine, mis: GuardedMis, path: Path
) -> None:
    async def rotate(asked: Asked) -> web.Response | None:
        if asked.page == 1:
            mis.tokens = {"second"}
            write(path, "second")
        return None

    mis.answers = rotate
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
    assert [asked.token for asked in mis.asked] == ["first", "first", "second", "second"]


async def test_a_refusal_says_that_it_is_the_partners(engine: Engine, mis: GuardedMis) -> None:
    mis.tokens = set()
    failure = (await engine.sync(STUDENTS)).failure
    assert (failure.party, failure.audience) == (f.CREDENTIAL_PARTY_PARTNER, f.AUDIENCE_OPERATOR)


async def test_schedules_go_on_when_the_partners_secret_was_rotated(
    engine: Engine, mis: GuardedMis, path: Path
) -> None:
    """Seen to fail where only the school's own credentials and registration count as a change."""
    mis.tokens = {"second"}
    plan = School(school_id=SCHOOL, schedules=[SyncSchedule(layer=pb.SYNC_LAYER_FULL, every_minutes=60)])
    school = await engine.store.schools.update(plan, ["schedules"], str(uuid.uuid4()), b"")
    assert (await engine.sync(STUDENTS)).failure.type == f.FAILURE_TYPE_AUTH_INVALID
    os.utime(path)  # written again, with what it had
    condition = await engine.supervisor.condition(school)
    assert condition is not None
    assert (condition.refusals, condition.HasField("schedules_wait_until")) == (1, True)
    await engine.supervisor.scheduler.look()
    assert await engine.store.runs.unfinished(SCHOOL) == []
    write(path, "second")
    condition = await engine.supervisor.condition(school)
    assert condition is not None
    assert (condition.refusals, condition.HasField("schedules_wait_until")) == (0, False)
    await engine.supervisor.scheduler.look()
    [started] = await engine.store.runs.unfinished(SCHOOL)
    ended = await engine.finish(started.run.run_id)
    assert {part.state for part in ended.datasets if part.dataset == STUDENTS} == {pb.DATASET_STATE_SUCCEEDED}


async def test_a_file_that_breaks_later_leaves_what_it_had_in_use(engine: Engine, path: Path) -> None:
    path.write_text("[scripted\ntoken = first")
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED


@pytest.mark.parametrize(
    "content",
    [
        "[scripted\nS3cret",
        '[scripted]\ncredentials = "S3cret"',
        "[scripted]\ncredentials = { S3cret = 7 }",
        "[scripted]\nS3cret = 1",
        '[scripted]\ncredentials = { token = "S3cret" }',
        '[scripted]\ncredentials = { token = "S3cret" }\nschools = {}',
        '[scripted]\ncredentials = { token = "S3cret" }\nschools.oak = {}',
        "S3cret = " + "[" * 5000,
        " \n",
        None,
    ],
)
def test_g16_a_file_that_cannot_be_used_is_said_so_and_not_quoted(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(PartnersInvalid) as caught:
        PartnersFile(path, lambda secrets: None, system_clock)
    assert "S3cret" not in f"{caught.value}{caught.value.__cause__}"


async def test_a_file_that_is_just_being_written_leaves_what_it_had_in_use(
    engine: Engine, path: Path
) -> None:
    """Who writes a file in its place empties it first. Seen to fail: a run found no credentials at all."""
    path.write_text("\n")
    assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
    path.write_text("# nobody is read as a partner any more\n")
    with pytest.raises(ServiceError, match="no credentials"):
        await engine.sync(STUDENTS)


def test_a_file_that_is_cut_at_the_end_of_a_line_takes_nothing_away_at_once(path: Path) -> None:
    """Seen to fail where it did: the schools behind the cut had no credentials, and their runs failed."""
    whole = path.read_text() + '        schools.elm = { number = "2" }\n        [other]\n'
    whole += f'        credentials = {{ token = "o" }}\n        schools.{SCHOOL} = {{ number = "1" }}\n'
    path.write_text(whole)
    os.utime(path, (0, 0))
    partners = PartnersFile(path, lambda secrets: None, system_clock)
    lines = whole.replace("first", "second").splitlines(keepends=True)
    read: list[int] = []
    for count in range(len(lines)):
        path.write_text("".join(lines[:count]))
        assert partners.changed_at("scripted") is not None
        assert partners.changed_at("other") is not None
        with suppress(PartnersInvalid):
            PartnersFile(path, lambda secrets: None, system_clock)
            read.append(count)
    assert read, "cut there, it is a file as well"
    path.write_text("".join(lines[: read[0]]))
    os.utime(path, (0, 0))
    assert partners.changed_at("scripted") is not None
    assert partners.changed_at("other") is None, "what is gone for good is gone"
