"""A change of MIS: ids survive, relationships follow, nobody is lost, and a crash ends the same way.

Mutations tried, each of which some test here was seen to fail for, are named in the tests; without the note
that datasets are under another reading, `test_ids_survive…` was seen to fail.
"""

from __future__ import annotations

import asyncio
import uuid
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from loguru import logger

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.identity_service_pb2 import KindMatch, MisChangePlan
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_IDENTITY, CHANGE_CAUSE_REPROJECTION, Record
from schoolgate_sdk import EndOfSnapshot, Transient
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine, TickingClock, outcome, record_id
from tests.support.faults import Hook, ProcessDied, Step, WatchedHandle, dies_at, lives
from tests.support.mongomock_handle import MockHandle
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
from tests.support.second_mis import (
    CLASSES,
    PEOPLE,
    REGISTER,
    SEATS,
    SECRET,
    MemoryVault,
    SecondMis,
    moving_engine,
)

ALL = (kinds.KIND_STUDENT, kinds.KIND_GROUP, kinds.KIND_GROUP_MEMBERSHIP, kinds.KIND_ATTENDANCE_MARK)
COUNT = 25
DAYS = [f"2026-10-{day:02d}" for day in range(5, 8)]


def first_mis(count: int = COUNT) -> ScriptedMis:
    """Pupils 1 to 25 with a name each, in one of two groups, with three marks each."""
    mis = ScriptedMis()
    numbers = range(1, count + 1)
    mis.rows[STUDENTS] = [
        student(n, f"Surname {n}", forename="Alex", person=100 + n, date_of_birth=f"2014-01-{n:02d}")
        for n in numbers
    ]
    mis.rows[GROUPS] = [group(1, "7A"), group(2, "7B")]
    mis.rows[MEMBERSHIPS] = [member(1 + n % 2, 100 + n) for n in numbers]
    mis.rows[MARKS] = [mark(n, day) for n in numbers for day in DAYS]
    return mis


def second_mis(count: int = COUNT) -> SecondMis:
    """The same school, without the last pupil and with two newcomers; pupil 3's name is typed otherwise."""
    mis = SecondMis()
    numbers = [*range(1, count), 30, 31]
    mis.rows[PEOPLE] = [
        {
            "uuid": f"p-{n}",
            "last": f"SURNAME  {n}" if n == 3 else f"Surname {n}",
            "first": "Alex",
            "born": f"2014-01-{n:02d}",
        }
        for n in numbers
    ]
    mis.rows[CLASSES] = [{"uuid": "c-1", "name": "7A"}, {"uuid": "c-2", "name": "7B"}]
    mis.rows[SEATS] = [
        {"uuid": f"s-{n}", "class": f"c-{1 + n % 2}", "pupil": f"p-{n}", "from": "2026-09-01"}
        for n in numbers
    ]
    mis.rows[REGISTER] = [
        {"uuid": f"m-{n}-{day}", "pupil": f"p-{n}", "day": day, "code": "/"} for n in numbers for day in DAYS
    ]
    return mis


async def plan(engine: Engine) -> pb.Run:
    given = {"settings": {"url": "https://second.example"}, "credentials": {"password": SECRET}}
    sealed = await engine.store.row_seal.seal(SCHOOL, orjson.dumps(given))
    data = {"type": "plan_mis_change", "connector": "second", "sealed": b64encode(sealed).decode()}
    run = await engine.supervisor.start_operation(SCHOOL, orjson.dumps(data), str(uuid.uuid4()), "tests")
    return await engine.finish(run.run_id)


async def planned(engine: Engine) -> MisChangePlan:
    run = await plan(engine)
    assert run.state == pb.RUN_STATE_SUCCEEDED, run.failure
    return (await engine.store.mis_plans.get(SCHOOL)).plan


async def start_apply(engine: Engine, digest: str) -> pb.Run:
    operation = orjson.dumps({"type": "apply_mis_change", "digest": digest})
    return await engine.supervisor.start_operation(SCHOOL, operation, str(uuid.uuid4()), "tests")


async def apply(engine: Engine, digest: str) -> pb.Run:
    return await engine.finish((await start_apply(engine, digest)).run_id)


async def everything(engine: Engine) -> dict[str, Record]:
    return {record.id: record for kind in ALL for record in await engine.records(kind)}


def of(made: MisChangePlan, kind: Kind.ValueType) -> KindMatch:
    return next(match for match in made.kinds if match.kind == kind)


def counts(match: KindMatch) -> tuple[int, ...]:
    return match.live, match.found, match.matched, match.ambiguous, match.created, match.left_over


@pytest.fixture
async def moving(store: Store) -> AsyncGenerator[Engine]:
    async with moving_engine(store, first_mis(), second_mis()) as running:
        assert (await running.sync()).state == pb.RUN_STATE_SUCCEEDED
        yield running


async def test_a_plan_says_what_would_become_of_every_kind_and_changes_nothing(moving: Engine) -> None:
    before = await everything(moving)
    made = await planned(moving)
    assert await everything(moving) == before
    head = await moving.store.leases.head(SCHOOL)
    assert (made.connector, made.seq, len(made.digest)) == ("second", head.published, 64)
    assert counts(of(made, kinds.KIND_STUDENT)) == (25, 26, 24, 0, 2, 1)
    assert counts(of(made, kinds.KIND_GROUP)) == (2, 2, 2, 0, 0, 0)
    assert counts(of(made, kinds.KIND_GROUP_MEMBERSHIP)) == (25, 26, 24, 0, 2, 1)
    assert counts(of(made, kinds.KIND_ATTENDANCE_MARK)) == (75, 78, 72, 0, 6, 3)
    assert counts(of(made, kinds.KIND_ENROLMENT)) == (0, 26, 0, 0, 26, 0)
    assert of(made, kinds.KIND_STUDENT).evidence == "upn, else surname, forename and date_of_birth"
    assert list(of(made, kinds.KIND_STUDENT).examples) == [record_id(kinds.KIND_STUDENT, STUDENTS, 25)]
    school = await moving.store.schools.get(SCHOOL)
    assert school.connector == "scripted"


async def test_ids_survive_relationships_follow_and_history_goes_on(moving: Engine) -> None:
    before = await everything(moving)
    made = await planned(moving)
    run = await apply(moving, made.digest)
    assert run.state == pb.RUN_STATE_SUCCEEDED, run.failure
    school = await moving.store.schools.get(SCHOOL)
    assert (school.connector, dict(school.settings)) == ("second", {"url": "https://second.example"})
    tied = await everything(moving)
    assert tied.keys() == before.keys()
    changed = {record.id for record in tied.values() if record.cause == CHANGE_CAUSE_IDENTITY}
    assert len(changed) == 24 + 2 + 24 + 72
    for record in tied.values():
        assert record.source_keys[0].namespace.startswith("scripted/")
    first = await moving.sync()
    people = outcome(first, PEOPLE)
    assert (people.state, people.held) == (pb.DATASET_STATE_HELD, 1)
    after = await everything(moving)
    assert before.keys() <= after.keys()
    assert len(after) == len(before) + 2 + 2 + 6
    assert not any(record.HasField("tombstone") for record in after.values())  # held, all of them
    seat = after[record_id(kinds.KIND_GROUP_MEMBERSHIP, MEMBERSHIPS, 2, 103, "2026-09-01")]
    assert seat.group_membership.student_id == record_id(kinds.KIND_STUDENT, STUDENTS, 3)
    pupil = after[record_id(kinds.KIND_STUDENT, STUDENTS, 3)]
    assert (pupil.student.surname, pupil.cause) == ("SURNAME  3", CHANGE_CAUSE_REPROJECTION)  # G08
    assert {key.namespace for key in pupil.source_keys} == {
        "scripted/students",
        "scripted/person",
        "second/pupil",
    }
    versions = await moving.store.records.versions(SCHOOL, pupil.id, None, 10)
    assert [version.version for version, _ in versions] == [3, 2, 1]
    second = await moving.sync()
    assert second.seq_after == second.seq_before  # G03


async def test_g01_left_over_records_wait_for_an_operator_and_go_only_then(moving: Engine) -> None:
    """Seen to fail without the mark that the school moved: they were tombstoned by the first sync."""
    made = await planned(moving)
    await apply(moving, made.digest)
    await moving.sync()
    held = {hold.dataset: hold for hold in await moving.store.holds.list(SCHOOL)}
    assert {name: hold.tombstones for name, hold in held.items()} == {PEOPLE: 1, SEATS: 1, REGISTER: 3}
    for hold in held.values():
        await moving.store.holds.approve(SCHOOL, hold.hold_id, hold.digest, "tests", TickingClock()())
    assert (await moving.sync()).state == pb.RUN_STATE_SUCCEEDED
    gone = [record for record in (await everything(moving)).values() if record.HasField("tombstone")]
    assert len(gone) == 5
    quiet = await moving.sync()
    assert (quiet.state, quiet.seq_after) == (pb.RUN_STATE_SUCCEEDED, quiet.seq_before)


async def test_ambiguity_is_resolved_by_nobody(store: Store) -> None:
    """Neither the two entities nor what refers to them get the record."""
    second = second_mis()
    twin = {**second.rows[PEOPLE][4], "uuid": "p-55"}
    second.rows[PEOPLE].append(twin)
    async with moving_engine(store, first_mis(), second) as engine:
        await engine.sync()
        made = await planned(engine)
        assert counts(of(made, kinds.KIND_STUDENT)) == (25, 27, 23, 3, 2, 1)
        # What refers to them fits nobody either.
        assert of(made, kinds.KIND_ATTENDANCE_MARK).matched == 69


async def test_a_plan_goes_stale_with_the_next_commit_and_with_the_next_plan(moving: Engine) -> None:
    """Seen to fail without the look at the published seq, and with any plan's digest taken."""
    made = await planned(moving)
    moving.mis.rows[STUDENTS][0]["surname"] = "Renamed"
    await moving.sync()
    run = await apply(moving, made.digest)
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, failures.FAILURE_TYPE_UNSUPPORTED)
    assert "have changed since" in run.failure.message
    newer = await planned(moving)
    run = await apply(moving, made.digest)
    assert "not that of the school's latest plan" in run.failure.message
    assert (await moving.store.schools.get(SCHOOL)).connector == "scripted"
    assert (await apply(moving, newer.digest)).state == pb.RUN_STATE_SUCCEEDED
    again = await apply(moving, newer.digest)
    assert "has been applied" in again.failure.message


@pytest.mark.parametrize("ending", [None, EndOfSnapshot(False), EndOfSnapshot(True, 999)])
async def test_g02_there_is_no_plan_from_half_a_mis(store: Store, ending: EndOfSnapshot | None) -> None:
    """Seen to fail without the look at the end of each read."""
    second = second_mis()
    second.ends = lambda dataset: ending if dataset == SEATS else EndOfSnapshot(True)
    async with moving_engine(store, first_mis(), second) as engine:
        await engine.sync()
        run = await plan(engine)
        assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, failures.FAILURE_TYPE_INCOMPLETE)
        assert "seats" in run.failure.message
        with pytest.raises(Exception, match="no plan"):
            await engine.store.mis_plans.get(SCHOOL)


async def test_g16_the_other_miss_password_is_nowhere_but_in_its_session(
    store: Store,
) -> None:
    """In no collection, log line or failure."""
    second = second_mis()
    heard: list[str] = []
    sink = logger.add(heard.append, level=0)
    try:
        async with moving_engine(store, first_mis(), second) as engine:
            await engine.sync()

            def refuse(dataset: str) -> None:
                raise Transient(f"the password {SECRET} was not taken")

            second.on_read = refuse
            run = await plan(engine)
            assert run.failure.type == failures.FAILURE_TYPE_TRANSIENT
            assert "[secret]" in run.failure.message
            second.on_read = lambda dataset: None
            made = await planned(engine)
            assert (await apply(engine, made.digest)).state == pb.RUN_STATE_SUCCEEDED
            await engine.sync()
        assert set(second.passwords) == {SECRET}
    finally:
        logger.remove(sink)
    names = ("schools", "runs", "mis_plans", "heads", "audit", "identities", "records", "decisions")
    kept = [await store.database.collection(name).find({}) for name in names]
    assert SECRET not in repr(kept)
    assert SECRET not in "".join(heard)


async def _undisturbed() -> tuple[dict[str, Record], int]:
    handle = WatchedHandle(MockHandle(), lives)
    store = Store.open(handle, "schoolgate", TickingClock())
    await store.prepare()
    async with moving_engine(store, first_mis(4), second_mis(4)) as engine:
        await engine.sync()
        made = await planned(engine)
        handle.writes = 0
        assert (await apply(engine, made.digest)).state == pb.RUN_STATE_SUCCEEDED
        return await everything(engine), handle.writes


def _told(hook: Hook, died: asyncio.Event) -> Hook:
    async def told(step: Step) -> None:
        try:
            await hook(step)
        except ProcessDied:
            died.set()
            raise

    return told


def _shape(records: dict[str, Record]) -> dict[str, Any]:
    """Return what must be the same whenever a crash came: all but times, runs and seqs."""
    return {
        record.id: (record.version, record.cause, [str(key) for key in record.source_keys])
        for record in records.values()
    }


async def test_g10_a_crash_at_any_write_of_the_change_comes_to_the_same_end() -> None:
    """Every write of the change, by enumeration: before each one, which is after the one that came before."""
    expected, writes = await _undisturbed()
    assert writes > 20
    for number in range(1, writes + 1):
        inner = MockHandle()
        handle = WatchedHandle(inner, lives)
        store = Store.open(handle, "schoolgate", TickingClock())
        await store.prepare()
        mis, second = first_mis(4), second_mis(4)
        async with moving_engine(store, mis, second) as engine:
            await engine.sync()
            made = await planned(engine)
            died = asyncio.Event()
            handle.writes, handle.hook = 0, _told(dies_at(number, "before"), died)
            with suppress(ProcessDied):
                await start_apply(engine, made.digest)
            await died.wait()
            vault = engine.store.credentials
        fresh = Store.open(inner, "schoolgate", TickingClock())
        assert isinstance(vault, MemoryVault)
        vault.store = fresh
        fresh.credentials = vault
        await fresh.database.collection("heads").update_one({"_id": SCHOOL}, {"$set": {"lease": None}})
        async with moving_engine(fresh, mis, second, "server-2") as engine:
            for entry in await fresh.runs.unfinished(SCHOOL):
                await engine.finish(entry.run.run_id)
            stored = await fresh.mis_plans.get(SCHOOL)
            if not stored.applied:  # it died before the run was accepted
                assert number <= 1
                await apply(engine, made.digest)
            assert _shape(await everything(engine)) == _shape(expected), number
            school = await fresh.schools.get(SCHOOL)
            assert (school.connector, school.has_credentials) == ("second", True), number
            first = await engine.sync()
            assert outcome(first, PEOPLE).held == 1, number


async def test_the_way_back_finds_every_record_by_its_old_key(moving: Engine) -> None:
    made = await planned(moving)
    await apply(moving, made.digest)
    await moving.sync()
    before = await everything(moving)
    given: dict[str, dict[str, str]] = {"settings": {}, "credentials": {}}
    sealed = await moving.store.row_seal.seal(SCHOOL, orjson.dumps(given))
    data = {"type": "plan_mis_change", "connector": "scripted", "sealed": b64encode(sealed).decode()}
    accepted = await moving.supervisor.start_operation(SCHOOL, orjson.dumps(data), str(uuid.uuid4()), "tests")
    assert (await moving.finish(accepted.run_id)).state == pb.RUN_STATE_SUCCEEDED
    back = (await moving.store.mis_plans.get(SCHOOL)).plan
    assert counts(of(back, kinds.KIND_STUDENT)) == (27, 25, 25, 0, 0, 2)
    assert of(back, kinds.KIND_ENROLMENT).evidence.startswith("nothing: the other connector does not read")
    assert (await apply(moving, back.digest)).state == pb.RUN_STATE_SUCCEEDED
    run = await moving.sync()
    assert outcome(run, STUDENTS).held == 2
    assert (await everything(moving)).keys() == before.keys()
