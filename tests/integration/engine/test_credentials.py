"""Credentials as a living thing: replaced, expired, revoked, wrong, and never hammered with."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from schoolgate.v1 import failure_pb2 as f
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine, engine_over, outcome
from tests.support.guarded import Asked, GuardedMis, guarded_connector, guarded_mis
from tests.support.scripted import (
    GROUPS,
    MARKS,
    MEMBERSHIPS,
    STUDENTS,
    ScriptedMis,
    group,
    mark,
    member,
    student,
)
from tests.support.served import MemoryVault


@pytest.fixture
async def mis() -> AsyncGenerator[GuardedMis]:
    rows = ScriptedMis()
    rows.rows[STUDENTS] = [student(number, person=1000 + number) for number in range(25)]
    rows.rows[GROUPS] = [group(0)]
    rows.rows[MEMBERSHIPS] = [member(0, 1000)]
    rows.rows[MARKS] = [mark(0, "2026-10-01")]
    async with guarded_mis(rows) as running:
        yield running


async def set_token(store: Store, token: str) -> None:
    await store.credentials.set(SCHOOL, {"token": token}, str(uuid.uuid4()))


@pytest.fixture
async def engine(store: Store, mis: GuardedMis) -> AsyncGenerator[Engine]:
    store.credentials = MemoryVault(store)
    async with engine_over(store, mis.rows, connector=guarded_connector(mis)) as running:
        await set_token(store, "first")
        yield running


def rotates(mis: GuardedMis, store: Store, new: str, *, accepted: str) -> None:
    """Have the MIS take another token from the third page of students on; store ``new`` at that moment."""

    async def rotate(asked: Asked) -> web.Response | None:
        if (asked.dataset, asked.page) == (STUDENTS, 2) and mis.tokens == {"first"}:
            mis.tokens = {accepted}
            await set_token(store, new)
        return None

    mis.answers = rotate


async def test_a_run_at_work_goes_on_with_credentials_that_replace_refused_ones(
    engine: Engine, mis: GuardedMis
) -> None:
    """Seen to fail where a run kept the credentials that it began with."""
    rotates(mis, engine.store, "second", accepted="second")
    run = await engine.sync()
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert not run.HasField("failure")
    assert await engine.live(KIND_STUDENT) == 25
    assert [asked.token for asked in mis.asked] == ["first"] * 3 + ["second"] * 4


async def test_the_other_sessions_rows_are_not_read_again(engine: Engine, mis: GuardedMis) -> None:
    rotates(mis, engine.store, "second", accepted="second")
    run = await engine.sync()
    times = Counter((asked.dataset, asked.page) for asked in mis.asked)
    # Two pages of ten are retained as segments of ten rows each; only the refused page is asked for twice.
    assert [times[STUDENTS, page] for page in range(3)] == [1, 1, 2]
    assert (outcome(run, STUDENTS).created, outcome(run, STUDENTS).rows_read) == (25, 25)


async def test_newer_credentials_are_tried_once(engine: Engine, mis: GuardedMis) -> None:
    rotates(mis, engine.store, "wrong too", accepted="third")
    run = await engine.sync()
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, f.FAILURE_TYPE_AUTH_INVALID)
    assert [asked.token for asked in mis.asked[2:]] == ["first", "wrong too"]


async def test_refused_credentials_end_the_run_with_one_request(engine: Engine, mis: GuardedMis) -> None:
    mis.tokens = {"another"}
    run = await engine.sync()
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, f.FAILURE_TYPE_AUTH_INVALID)
    assert len(mis.asked) == 1


async def test_sessions_opened_after_a_rotation_have_the_new_credentials(
    engine: Engine, mis: GuardedMis
) -> None:
    await engine.sync()
    mis.tokens = {"second"}
    await set_token(engine.store, "second")
    mis.asked.clear()
    assert (await engine.sync()).state == pb.RUN_STATE_SUCCEEDED
    assert {asked.token for asked in mis.asked} == {"second"}


async def test_credentials_refused_at_the_opening_are_renewed_as_well(store: Store, mis: GuardedMis) -> None:
    store.credentials = MemoryVault(store)
    connector = guarded_connector(mis, asks_at_once=True)
    async with engine_over(store, mis.rows, connector=connector) as engine:
        await set_token(store, "first")
        mis.tokens = {"second"}

        async def replace(asked: Asked) -> web.Response | None:
            if asked.token == "first":
                await set_token(store, "second")
            return None

        mis.answers = replace
        assert (await engine.sync()).state == pb.RUN_STATE_SUCCEEDED
        assert [asked.token for asked in mis.asked[:2]] == ["first", "second"]


TOLD_APART = [
    ("wrong", f.FAILURE_TYPE_AUTH_INVALID, f.CREDENTIAL_PARTY_SCHOOL, f.AUDIENCE_SCHOOL, "Ask the school"),
    ("expired", f.FAILURE_TYPE_AUTH_EXPIRED, f.CREDENTIAL_PARTY_SCHOOL, f.AUDIENCE_SCHOOL, "renew"),
    ("revoked", f.FAILURE_TYPE_AUTH_REVOKED, f.CREDENTIAL_PARTY_SCHOOL, f.AUDIENCE_SCHOOL, "approve"),
    (
        "partner",
        f.FAILURE_TYPE_AUTH_INVALID,
        f.CREDENTIAL_PARTY_PARTNER,
        f.AUDIENCE_OPERATOR,
        "the school cannot help",
    ),
]


@pytest.mark.parametrize(("said", "kind", "party", "audience", "advice"), TOLD_APART)
async def test_wrong_expired_and_revoked_are_told_apart_and_so_is_whose_they_are(
    engine: Engine,
    mis: GuardedMis,
    said: str,
    kind: f.FailureType.ValueType,
    party: f.CredentialParty.ValueType,
    audience: f.Audience.ValueType,
    advice: str,
) -> None:
    async def refuse(asked: Asked) -> web.Response | None:
        return web.Response(status=401, text=said)

    mis.answers = refuse
    run = await engine.sync()
    assert len(mis.asked) == 1
    condition = await engine.supervisor.condition(await engine.store.schools.get(SCHOOL))
    assert condition is not None
    assert (condition.run_id, condition.failure, condition.refusals) == (run.run_id, run.failure, 1)
    assert condition.HasField("schedules_wait_until")
    for failure in (run.failure, (await engine.supervisor.check_connection(SCHOOL)).failure):
        assert (failure.type, failure.party, failure.audience) == (kind, party, audience)
        assert advice in failure.remediation


async def test_a_withdrawn_entity_is_named_to_the_school(engine: Engine, mis: GuardedMis) -> None:
    await engine.sync()
    mis.denied = {GROUPS}
    run = await engine.sync()
    assert run.state == pb.RUN_STATE_PARTIAL
    denied = outcome(run, GROUPS).failure
    assert (denied.type, denied.audience) == (f.FAILURE_TYPE_PERMISSION, f.AUDIENCE_SCHOOL)
    assert f"grant {GROUPS} " in denied.remediation
    condition = await engine.supervisor.condition(await engine.store.schools.get(SCHOOL))
    assert condition is not None
    assert list(condition.missing_entities) == [GROUPS]
    mis.denied = set()
    await engine.sync()
    assert await engine.supervisor.condition(await engine.store.schools.get(SCHOOL)) is None
