"""A process that dies at any step of a commit, and readers that look at every step of one."""

from __future__ import annotations

import asyncio

import pytest

from schoolgate.v1 import kind_pb2, record_pb2
from schoolgate_server.model.changes import Change
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.store.leases import GRACE
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import ProcessDied, Step, dies_at
from tests.support.store_samples import (
    EVERYTHING,
    TTL,
    SettableClock,
    commit,
    leased,
    states,
    student,
    student_id,
    surnames,
)

BEFORE = {student_id(1): "Ash", student_id(2): "Bly", student_id(3): "Cox", student_id(4): "Dee"}
AFTER = {
    student_id(1): "Ash-Fox",
    student_id(2): "(Bly)",
    student_id(3): "Cox",
    student_id(4): "Dee",
    student_id(5): "Eve",
    student_id(6): "Fay",
}
CHANGES: tuple[Change, ...] = (
    student(1, "Ash-Fox", 1),
    student(2, "Bly", 1, tombstone=record_pb2.TOMBSTONE_REASON_LEFT),
    student(5, "Eve"),
    student(6, "Fay"),
)
# Note the time of the commit before; announce; touch the fence, copy to history, delete, insert, commit;
# publish. One change per chunk makes four transactions, two of which only insert.
WRITES = {5_000: 8, 1: 19}
NOT_ANNOUNCED = ((1, "before"), (1, "after"), (2, "before"))


async def loaded(opened: OpenStore) -> Store:
    store = opened()
    await store.prepare()
    lease = await leased(store)
    await commit(store, lease, *(student(n, BEFORE[student_id(n)]) for n in (1, 2, 3, 4)))
    await store.leases.release(lease)
    return store


@pytest.mark.parametrize("chunk", WRITES)
async def test_the_steps_of_a_commit_are_these(
    opened: OpenStore, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", chunk)
    await loaded(opened)
    steps: list[Step] = []

    async def note(step: Step) -> None:
        if step.is_write and step.moment == "before":
            steps.append(step)

    store = opened(note)
    lease = await leased(store)
    steps.clear()
    await commit(store, lease, *CHANGES)
    assert len(steps) == WRITES[chunk]


@pytest.mark.parametrize(
    ("chunk", "number"), [(chunk, n) for chunk, count in WRITES.items() for n in range(1, count + 1)]
)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_g10_a_death_at_any_write_of_a_commit_is_recovered_from(
    opened: OpenStore,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    number: int,
    moment: str,
) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", chunk)
    store = await loaded(opened)
    lease = await leased(store)
    dying = opened(dies_at(number, moment))
    with pytest.raises(ProcessDied):
        await commit(dying, lease, *CHANGES)
    # Nothing of it shows, unless the very last write was done.
    published = (await store.leases.head("oak")).published
    assert published == (2 if (number, moment) == (WRITES[chunk], "after") else 1)
    announced = (number, moment) not in NOT_ANNOUNCED
    assert await surnames(store, 1) == BEFORE

    clock.advance(seconds=(TTL + GRACE).total_seconds())
    survivor = await leased(store, owner="server-2")
    await store.commits.recover(survivor)
    published = (await store.leases.head("oak")).published
    assert await surnames(store, published) == {1: BEFORE, 2: AFTER}[published]
    assert await surnames(store, 1) == BEFORE
    assert await store.records.count("oak", kind_pb2.KIND_STUDENT, EVERYTHING, published) == len(
        {1: BEFORE, 2: AFTER}[published]
    )
    if published == 1:
        assert {state.version for state in await states(store, "students")} == {1}
        published = await commit(store, survivor, *CHANGES)
        assert published == (3 if announced else 2)
    assert await surnames(store, published) == AFTER
    assert await surnames(store, 1) == BEFORE
    versions = await store.records.versions("oak", student_id(1), None, 10)
    assert [record.version for record, _ in versions] == [2, 1]
    await store.commits.recover(survivor)
    assert (await store.leases.head("oak")).published == published


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))
async def test_g10_a_death_during_recovery_is_recovered_from(
    opened: OpenStore,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    moment: str,
) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", 1)
    monkeypatch.setattr("schoolgate_server.store.recovery.CHUNK", 1)
    store = await loaded(opened)
    lease = await leased(store)
    with pytest.raises(ProcessDied):
        await commit(opened(dies_at(13, "after")), lease, *CHANGES)
    try:
        await opened(dies_at(number, moment)).commits.recover(lease)
    except ProcessDied:
        assert await surnames(store, 1) == BEFORE
    await store.commits.recover(lease)
    published = (await store.leases.head("oak")).published
    assert await surnames(store, published) == {1: BEFORE, 2: AFTER}[published]
    assert await surnames(store, 1) == BEFORE


async def test_recovery_rolls_forward_what_was_written_whole(opened: OpenStore) -> None:
    store = await loaded(opened)
    lease = await leased(store)
    with pytest.raises(ProcessDied):
        await commit(opened(dies_at(8, "before")), lease, *CHANGES, run="run_2")
    await store.commits.recover(lease)
    head = await store.leases.head("oak")
    assert (head.published, next(iter(head.totals))) == (2, "run_2")
    assert await surnames(store, 2) == AFTER


async def test_recovery_rolls_back_what_was_written_in_part(
    opened: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", 1)
    store = await loaded(opened)
    lease = await leased(store)
    with pytest.raises(ProcessDied):
        await commit(opened(dies_at(13, "before")), lease, *CHANGES, run="run_2")
    written = await store.database.collection("records").count({"school": "oak", "seq": 2})
    assert 0 < written < len(CHANGES)
    await store.commits.recover(lease)
    head = await store.leases.head("oak")
    assert (head.published, list(head.totals)) == (1, ["run_1"])
    assert {(state.record_id, state.version) for state in await states(store, "students")} == {
        (record_id, 1) for record_id in BEFORE
    }


@pytest.mark.parametrize("chunk", WRITES)
@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_g12_no_reader_sees_a_part_of_a_commit_at_any_step(
    opened: OpenStore, monkeypatch: pytest.MonkeyPatch, chunk: int, page: int
) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", chunk)
    store = await loaded(opened)
    seen: list[tuple[int, dict[str, str], int, list[int]]] = []

    async def look(step: Step) -> None:
        seq = (await store.leases.head("oak")).published
        seen.append(
            (
                seq,
                await surnames(store, seq, page=page),
                await store.records.count("oak", kind_pb2.KIND_STUDENT, EVERYTHING, seq),
                [record.version for record, _ in await store.records.versions("oak", student_id(1), None, 9)],
            )
        )
        assert await surnames(store, 1, page=page) == BEFORE

    writer = opened(look)
    lease = await leased(store)
    await commit(writer, lease, *CHANGES)
    assert {(seq, count) for seq, _, count, _ in seen} == {(1, len(BEFORE)), (2, len(AFTER))}
    for seq, names, _, versions in seen:
        assert names == {1: BEFORE, 2: AFTER}[seq]
        assert versions == {1: [1], 2: [2, 1]}[seq]


@pytest.mark.parametrize("step", ["history", "records"])
async def test_g12_a_page_that_a_commit_overtakes_is_whole(opened: OpenStore, step: str) -> None:
    """The commit comes before the reader's look at `records`, or between that and its look at `history`."""
    store = await loaded(opened)
    lease = await leased(store)
    done = False

    async def commit_now(at: Step) -> None:
        nonlocal done
        if not done and (at.moment, at.collection, at.operation) == ("before", step, "find"):
            done = True
            await commit(store, lease, *CHANGES)

    reader = opened(commit_now)
    assert await surnames(reader, 1) == BEFORE
    assert done
    assert await surnames(reader, 2) == AFTER


async def test_g12_a_count_that_a_commit_overtakes_is_exact(opened: OpenStore) -> None:
    store = await loaded(opened)
    lease = await leased(store)
    done = False

    async def commit_now(at: Step) -> None:
        nonlocal done
        if not done and (at.moment, at.operation) == ("after", "count_documents"):
            done = True
            await commit(store, lease, *CHANGES)

    reader = opened(commit_now)
    assert await reader.records.count("oak", kind_pb2.KIND_STUDENT, EVERYTHING, 1) == len(BEFORE)
    assert done
    assert await reader.records.count("oak", kind_pb2.KIND_STUDENT, EVERYTHING, 2) == len(AFTER)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, WRITES[5_000] + 1))
async def test_a_commit_outlasts_an_outage_at_any_of_its_writes(
    opened: OpenStore, number: int, moment: str
) -> None:
    store = await loaded(opened)
    lease = await leased(store)

    async def outage(step: Step) -> None:
        if (step.number, step.moment) == (number, moment):
            raise StoreUnavailable("gone for a moment")

    writer = opened(outage)
    published = await commit(writer, lease, *CHANGES)
    # Whatever may be on its way of the first attempt is not taken for a part of the second.
    whole = number >= WRITES[5_000] or (number, moment) == (WRITES[5_000] - 1, "after")
    assert published == (2 if whole or (number, moment) in NOT_ANNOUNCED else 3)
    assert await surnames(store, published) == AFTER
    assert await surnames(store, 1) == BEFORE


async def test_an_outage_that_lasts_fails_the_commit_and_can_be_recovered_from(
    opened: OpenStore,
) -> None:
    store = await loaded(opened)
    lease = await leased(store)
    tries = 0

    async def outage(step: Step) -> None:
        nonlocal tries
        if step.collection == "records" and step.operation == "insert_many":
            tries += 1
            raise StoreUnavailable("gone")

    writer = opened(outage)
    with pytest.raises(StoreUnavailable):
        await commit(writer, lease, *CHANGES)
    assert tries > 1
    await store.commits.recover(lease)
    assert await surnames(store, 1) == BEFORE
    assert await commit(store, lease, *CHANGES) == 2 + tries


async def test_g15_a_stalled_owner_that_wakes_up_changes_nothing(
    opened: OpenStore, clock: SettableClock
) -> None:
    """At every step of a commit: its owner stalls, another one takes over and commits, the first goes on."""
    for number in range(1, WRITES[5_000] + 1):
        store = await loaded(opened)
        lease = await leased(store)
        taken = False

        async def stall(step: Step) -> None:
            nonlocal taken
            if (step.number, step.moment) == (number, "before") and not taken:  # noqa: B023 -- used within the turn
                taken = True
                clock.advance(seconds=(TTL + GRACE).total_seconds())
                successor = await leased(store, owner="server-2")  # noqa: B023 -- as above
                await store.commits.recover(successor)  # noqa: B023 -- as above
                await commit(store, successor, student(4, "Dee-Gum", 1), run="run_2")  # noqa: B023 -- as above
                await store.leases.release(successor)  # noqa: B023 -- as above

        stalled = opened(stall)
        with pytest.raises(LeaseLost):
            await commit(stalled, lease, *CHANGES, run="run_1")
        head = await store.leases.head("oak")
        assert next(iter(head.totals)) == "run_2"
        for name in ("records", "history", "heads", "fences"):
            await store.database.collection(name).delete_many({})


async def test_a_cancelled_commit_ends_before_its_caller_does(
    opened: OpenStore,
) -> None:
    store = await loaded(opened)
    lease = await leased(store)
    at_the_records = asyncio.Event()

    async def slow(step: Step) -> None:
        if step.collection == "records" and step.moment == "before" and step.is_write:
            at_the_records.set()
            await asyncio.sleep(0.05)

    writer = opened(slow)
    task = asyncio.create_task(commit(writer, lease, *CHANGES))
    await at_the_records.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await store.leases.head("oak")).published == 2
    assert await surnames(store, 2) == AFTER


async def test_commits_of_one_school_take_turns_and_schools_do_not_wait_for_each_other(
    opened: OpenStore,
) -> None:
    store = await loaded(opened)
    lease, other = await leased(store), await leased(store, "elm")
    seqs = await asyncio.gather(
        *(commit(store, lease, student(number, "Ash")) for number in range(10, 20)),
        *(commit(store, other, student(number, "Ash")) for number in range(30, 35)),
    )
    assert sorted(seqs[:10]) == list(range(2, 12))
    assert sorted(seqs[10:]) == list(range(1, 6))
