"""Reads of changes: from the stored position with an overlap, in full wherever that does not serve."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_DELETED_IN_MIS
from schoolgate_sdk import ChangedRows, CursorExpired, Transient, source_key
from schoolgate_server.ingest import pipeline
from schoolgate_server.store.store import Store
from schoolgate_server.sync import changes
from tests.support.changing import (
    BlindSession,
    ChangingMis,
    ChangingSession,
    WindowSession,
    changing_connector,
)
from tests.support.engine import SCHOOL, Engine, TickingClock, engine_over, move_site, outcome
from tests.support.scripted import GROUPS, STUDENTS, group, student

PUPILS = 60


def fill(mis: ChangingMis) -> None:
    mis.rows[STUDENTS] = [student(number, f"Surname{number}") for number in range(PUPILS)]
    mis.rows[GROUPS] = [group(number, f"7{number}") for number in range(3)]


class WithoutReadBack:
    """A session that gives changes and takes no questions about single entities."""

    def __init__(self, mis: ChangingMis) -> None:
        self._session = ChangingSession(mis)
        self.read, self.changes = self._session.read, self._session.changes


@pytest.fixture
async def mis() -> ChangingMis:
    mis = ChangingMis()
    fill(mis)
    return mis


@pytest.fixture
async def engine(store: Store, mis: ChangingMis) -> AsyncGenerator[Engine]:
    async with engine_over(store, mis, connector=changing_connector(mis)) as running:
        await running.sync(STUDENTS, GROUPS)
        mis.pages_read.clear()
        yield running


async def sync(engine: Engine, *datasets: str) -> pb.Run:
    accepted = await engine.supervisor.start_sync(
        SCHOOL, datasets or (STUDENTS,), str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_CHANGES
    )
    return await engine.finish(accepted.run_id)


async def cursor(engine: Engine, dataset: str = STUDENTS) -> str:
    kept = await engine.store.checkpoints.get(SCHOOL, dataset)
    return "" if kept is None else kept.cursor


async def surnames(engine: Engine) -> dict[int, str]:
    return {
        record.source_keys[0].parts[0].integer: record.student.surname
        for record in await engine.records(kinds.KIND_STUDENT, tombstones=False)
    }


async def test_changes_are_read_without_a_page_of_the_snapshot(engine: Engine, mis: ChangingMis) -> None:
    assert await cursor(engine) == "0", "a sealed snapshot brings the position at its beginning"
    mis.put(STUDENTS, student(3, "Okafor"))
    mis.put(STUDENTS, student(100, "New"))
    mis.drop(STUDENTS, student(7))
    run = await sync(engine)
    part = outcome(run, STUDENTS)
    assert (run.state, run.layer) == (pb.RUN_STATE_SUCCEEDED, pb.SYNC_LAYER_CHANGES)
    assert (part.layer, part.fallback) == (pb.SYNC_LAYER_UNSPECIFIED, "")
    assert (part.updated, part.created, part.tombstoned, part.rows_read) == (1, 1, 1, 2)
    assert mis.pages_read == []
    assert await cursor(engine) == "3"
    [gone] = [record for record in await engine.records(kinds.KIND_STUDENT) if record.HasField("tombstone")]
    assert gone.tombstone.reason == TOMBSTONE_REASON_DELETED_IN_MIS
    after = await engine.sync(STUDENTS)
    assert (after.seq_before, after.state) == (after.seq_after, pb.RUN_STATE_SUCCEEDED)


async def test_g03_what_the_overlap_gives_again_writes_nothing(engine: Engine, mis: ChangingMis) -> None:
    mis.put(STUDENTS, student(3, "Okafor"))
    mis.drop(STUDENTS, student(7))
    await sync(engine)
    run = await sync(engine)
    assert (run.seq_before, run.state) == (run.seq_after, pb.RUN_STATE_SUCCEEDED)
    assert outcome(run, STUDENTS).rows_read == 1, "the overlap goes back"
    assert mis.asked == [(STUDENTS, 0), (STUDENTS, 2)]


async def test_each_dataset_has_its_own_position(engine: Engine, mis: ChangingMis) -> None:
    mis.put(STUDENTS, student(3, "Okafor"))
    mis.put(GROUPS, group(0, "8X"))
    await sync(engine, GROUPS)
    assert (await cursor(engine), await cursor(engine, GROUPS)) == ("0", "2")
    assert (await surnames(engine))[3] == "Surname3"
    await sync(engine, STUDENTS)
    assert (await surnames(engine))[3] == "Okafor"


async def test_an_expired_cursor_heals_itself(engine: Engine, mis: ChangingMis) -> None:
    """Seen to fail where ``CursorExpired`` ended the dataset as any other error does."""
    mis.put(STUDENTS, student(3, "Okafor"))
    mis.drop(STUDENTS, student(7))
    mis.forgotten = 1
    run = await sync(engine)
    part = outcome(run, STUDENTS)
    assert (run.state, part.layer) == (pb.RUN_STATE_SUCCEEDED, pb.SYNC_LAYER_FULL)
    assert "no longer knows the position" in part.fallback
    assert (part.updated, part.tombstoned) == (1, 1)
    assert await cursor(engine) == "2"
    mis.put(STUDENTS, student(4, "Mensah"))
    assert outcome(await sync(engine), STUDENTS).layer == pb.SYNC_LAYER_UNSPECIFIED
    assert (await surnames(engine))[4] == "Mensah"


async def test_a_cursor_that_expires_in_the_middle_leaves_nothing_half_read(
    engine: Engine, mis: ChangingMis
) -> None:
    for number in range(8):
        mis.put(STUDENTS, student(number, "Changed"))

    def expire(dataset: str, index: int) -> None:
        if index == 2:
            raise CursorExpired("cut meanwhile")

    mis.on_change = expire
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.layer) == (pb.DATASET_STATE_SUCCEEDED, pb.SYNC_LAYER_FULL)
    assert (part.updated, part.unchanged, part.rows_read) == (8, PUPILS - 8, PUPILS)


@pytest.mark.parametrize(
    ("session", "why"),
    [(WindowSession, "cannot be asked for changes"), (BlindSession, "cannot be asked for changes")],
)
async def test_a_connector_without_changes_reads_all(
    store: Store, mis: ChangingMis, session: Any, why: str
) -> None:
    async with engine_over(store, mis, connector=changing_connector(mis, session)) as engine:
        for _ in range(2):
            part = outcome(await sync(engine), STUDENTS)
            assert (part.state, part.layer) == (pb.DATASET_STATE_SUCCEEDED, pb.SYNC_LAYER_FULL)
            assert why in part.fallback


async def test_the_first_read_is_a_full_one_and_brings_the_position(store: Store, mis: ChangingMis) -> None:
    async with engine_over(store, mis, connector=changing_connector(mis)) as engine:
        first, second = outcome(await sync(engine), STUDENTS), outcome(await sync(engine), STUDENTS)
        assert (first.layer, first.created) == (pb.SYNC_LAYER_FULL, PUPILS)
        assert "no position is known" in first.fallback
        assert (second.layer, second.fallback) == (pb.SYNC_LAYER_UNSPECIFIED, "")


async def test_g08_a_position_of_another_scope_is_not_used(engine: Engine, mis: ChangingMis) -> None:
    """Seen to fail without the fingerprint in the checkpoint."""
    await move_site(engine.store)
    mis.put(STUDENTS, student(3, "Okafor"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.layer, part.updated) == (pb.SYNC_LAYER_FULL, 1)
    assert mis.asked == []


async def test_more_changes_than_are_worth_it_are_read_in_full(
    engine: Engine, mis: ChangingMis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_CHANGES", 4)
    for number in range(5):
        mis.put(STUDENTS, student(number, "Changed"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.layer, part.updated) == (pb.SYNC_LAYER_FULL, 5)
    assert await cursor(engine) == "5"


async def test_g10_changes_that_are_read_alone_are_all_kept_however_many_they_are(
    engine: Engine, mis: ChangingMis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is there to read them from again. Seen to fail where three came, and the position moved on."""
    monkeypatch.setattr(pipeline, "MAX_DEFERRED", 3)
    for number in range(5):
        mis.put(STUDENTS, student(number, "Changed"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.updated) == (pb.DATASET_STATE_SUCCEEDED, 5)
    assert await cursor(engine) == "5"
    assert list((await surnames(engine)).values()).count("Changed") == 5


async def test_a_failure_in_the_middle_keeps_what_came_and_its_position(
    engine: Engine, mis: ChangingMis
) -> None:
    for number in range(9):
        mis.put(STUDENTS, student(number, "Changed"))

    def fail(dataset: str, index: int) -> None:
        if index == 2:
            raise Transient("reset")

    mis.on_change = fail
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.failure.type) == (pb.DATASET_STATE_FAILED, failures.FAILURE_TYPE_TRANSIENT)
    assert part.updated == 6
    assert await cursor(engine) == "6"
    mis.on_change = lambda dataset, index: None
    assert outcome(await sync(engine), STUDENTS).updated == 3


async def test_a_read_that_just_stops_is_incomplete_and_keeps_what_came(
    engine: Engine, mis: ChangingMis
) -> None:
    mis.put(STUDENTS, student(1, "Changed"))
    mis.shown = lambda pages: pages[:-1]
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.updated) == (pb.DATASET_STATE_INCOMPLETE, 1)
    assert await cursor(engine) == "1"


async def test_g02_mass_deletions_are_held_and_the_position_waits_for_the_operator(
    engine: Engine, mis: ChangingMis
) -> None:
    """Seen to fail where the cursor moved on: what was discarded never came again."""
    for number in range(30):
        mis.drop(STUDENTS, student(number))
    mis.put(STUDENTS, student(40, "Okafor"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.held, part.tombstoned, part.updated) == (pb.DATASET_STATE_HELD, 30, 0, 1)
    assert await cursor(engine) == "0"
    [hold] = await engine.store.holds.list(SCHOOL)
    assert (hold.tombstones, hold.live_records) == (30, PUPILS)
    await engine.store.holds.approve(SCHOOL, hold.hold_id, hold.digest, "op", TickingClock()())
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 30)
    assert await cursor(engine) == "31"
    assert await engine.store.holds.list(SCHOOL) == []
    assert await engine.live(kinds.KIND_STUDENT) == PUPILS - 30


async def test_g02_while_a_hold_is_open_a_read_of_changes_becomes_a_snapshot_which_keeps_or_applies_it(
    engine: Engine, mis: ChangingMis
) -> None:
    """Seen to fail where a read of changes opens its own hold: an approved one was lost."""
    mis.rows[STUDENTS] = mis.rows[STUDENTS][30:]
    assert outcome(await engine.sync(STUDENTS), STUDENTS).state == pb.DATASET_STATE_HELD
    [hold] = await engine.store.holds.list(SCHOOL)
    mis.put(STUDENTS, student(40, "Okafor"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.layer) == (pb.DATASET_STATE_HELD, pb.SYNC_LAYER_FULL)
    assert [each.digest for each in await engine.store.holds.list(SCHOOL)] == [hold.digest]
    await engine.store.holds.approve(SCHOOL, hold.hold_id, hold.digest, "operator", TickingClock()())
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 30)


async def test_g01_what_the_mis_calls_deleted_and_still_has_stays(engine: Engine, mis: ChangingMis) -> None:
    """Seen to fail without asking for the deleted entities by their keys."""
    mis.drop(STUDENTS, student(7))
    mis.rows[STUDENTS].append(student(7, "Surname7"))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 0)
    assert part.evidence.contradicted_absences == 1


@pytest.mark.parametrize("session", [ChangingSession, WithoutReadBack])
async def test_an_entity_that_came_back_within_the_read_lives(
    store: Store, mis: ChangingMis, session: Any
) -> None:
    async with engine_over(store, mis, connector=changing_connector(mis, session)) as engine:
        await engine.sync(STUDENTS)
        mis.drop(STUDENTS, student(7))
        mis.put(STUDENTS, student(7, "Back"))
        mis.page_of_changes = 1
        part = outcome(await sync(engine), STUDENTS)
        assert (part.state, part.updated, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 1, 0)
        assert (await surnames(engine))[7] == "Back"


async def test_g06_what_this_read_changed_is_let_go_by_the_next(store: Store, mis: ChangingMis) -> None:
    """Seen to fail without looking at which run wrote the record."""
    connector = changing_connector(mis, WithoutReadBack)
    async with engine_over(store, mis, connector=connector) as engine:
        await engine.sync(STUDENTS)
        mis.put(STUDENTS, student(7, "Shortly"))
        mis.page_of_changes = 1
        mis.drop(STUDENTS, student(7))
        part = outcome(await sync(engine), STUDENTS)
        assert (part.state, part.updated, part.tombstoned) == (pb.DATASET_STATE_INCOMPLETE, 1, 0)
        assert await cursor(engine) == "0"
        part = outcome(await sync(engine), STUDENTS)
        assert (part.state, part.updated, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 0, 1)
        assert await cursor(engine) == "2"


@pytest.mark.parametrize("names", [("Aaa", "Zzz"), ("Zzz", "Aaa")])
async def test_g07_of_several_changes_of_one_entity_the_last_one_counts(
    engine: Engine, mis: ChangingMis, names: Sequence[str]
) -> None:
    """Seen to fail where rows were taken in page order: of rows that differ, the least rank wins."""
    for name in names:
        mis.put(STUDENTS, student(5, name))
        mis.put(STUDENTS, student(6, name + "x"))
    assert outcome(await sync(engine), STUDENTS).updated == 2
    assert ((await surnames(engine))[5], (await surnames(engine))[6]) == (names[1], names[1] + "x")
    found = [decision.reason for decision in await engine.decisions(STUDENTS)]
    assert diagnostics.DECISION_REASON_OLDER_KNOWLEDGE in found


@pytest.mark.parametrize("step", ["commits.commit", "checkpoints.put"])
async def test_g10_a_crash_before_the_commit_or_the_cursor_misses_and_doubles_nothing(
    store: Store, mis: ChangingMis, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Seen to fail where the cursor was stored before the commit: changes beyond the overlap were missed."""
    connector, reached = changing_connector(mis), asyncio.Event()

    async def never(*given: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with engine_over(store, mis, connector=connector) as engine:
        await engine.sync(STUDENTS)
        mis.put(STUDENTS, student(3, "Okafor"))
        mis.drop(STUDENTS, student(7))
        for number in range(20, 25):
            mis.put(STUDENTS, student(number, "Changed"))
        part_of_store, method = step.split(".")
        monkeypatch.setattr(getattr(store, part_of_store), method, never)
        accepted = await engine.supervisor.start_sync(
            SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_CHANGES
        )
        await reached.wait()
        mis.put(STUDENTS, student(4, "Mensah"))
    monkeypatch.undo()
    assert await cursor(engine) == "0"
    async with engine_over(store, mis, connector=connector, owner="server-2") as engine:
        run = await engine.finish(accepted.run_id)
        part = outcome(run, STUDENTS)
        assert (run.state, run.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
        assert (part.updated, part.tombstoned) == (7, 1), "totals of before the crash count"
        assert await cursor(engine) == "8"
        records = {record.id: record for record in await engine.records(kinds.KIND_STUDENT)}
        assert sorted(record.version for record in records.values()) == [1] * (PUPILS - 8) + [2] * 8
        found = await surnames(engine)
        assert (found[3], found[4], 7 in found) == ("Okafor", "Mensah", False)


@pytest.mark.parametrize(
    "wrong",
    [
        ChangedRows(deleted=[source_key("other/space", 1)]),
        ChangedRows(deleted=[("scripted/students", (None,))]),  # type: ignore[list-item]
        ChangedRows(rows={"id": 1}),  # type: ignore[arg-type]
        ChangedRows(cursor=7),  # type: ignore[arg-type]
        "no page at all",
    ],
)
async def test_g18_a_connector_that_gives_no_changes_is_named(
    engine: Engine, mis: ChangingMis, wrong: Any
) -> None:
    mis.put(STUDENTS, student(1, "Changed"))
    mis.shown = lambda pages: [wrong, *pages]
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.failure.connector) == (pb.DATASET_STATE_FAILED, "scripted")
    assert await cursor(engine) == "0"


async def test_g18_a_read_that_never_ends_is_broken_off(engine: Engine, mis: ChangingMis) -> None:
    mis.shown = lambda pages: [replace(pages[-1], end=False)] * 5_000
    part = outcome(await sync(engine), STUDENTS)
    assert part.state == pb.DATASET_STATE_INCOMPLETE
    assert "does not come to an end" in part.failure.message


async def test_g01_a_row_that_cannot_be_read_keeps_whom_the_mis_calls_deleted(
    engine: Engine, mis: ChangingMis
) -> None:
    """Asked again, the MIS has a row that nobody can read. Seen to fail where that counts for nobody."""
    mis.drop(STUDENTS, student(7))
    mis.rows[STUDENTS].append({"id": 7, "surname": 7})
    part = outcome(await sync(engine), STUDENTS)
    assert part.tombstoned == 0
    assert part.evidence.contradicted_absences == 1


async def test_a_new_number_among_the_changes_is_decided_by_a_whole_snapshot(
    engine: Engine, mis: ChangingMis
) -> None:
    """Seen to fail where the deletion of the old number is believed and the new one is left undecided."""
    mis.put(STUDENTS, student(8, "Persson", person=1008))
    assert outcome(await sync(engine), STUDENTS).state == pb.DATASET_STATE_SUCCEEDED
    mis.put(STUDENTS, student(700, "Persson", person=1008))
    mis.drop(STUDENTS, student(8))
    part = outcome(await sync(engine), STUDENTS)
    assert (part.state, part.tombstoned, part.layer) == (pb.DATASET_STATE_SUCCEEDED, 0, pb.SYNC_LAYER_FULL)
    assert await engine.live(kinds.KIND_STUDENT) == PUPILS
