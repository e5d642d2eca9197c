"""The ledger: one write per key, changed by compare-and-set, found by whatever is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import OPEN, WriteConditions, WriteEntry
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.writes import (
    BEHAVIOUR,
    MARK,
    START,
    ShiftSeal,
    attempted,
    behaviour,
    mark,
    new_write,
)

EVERY = WriteConditions()


@pytest.fixture
async def store(opened: OpenStore) -> Store:
    store = opened()
    store.row_seal = ShiftSeal()
    await store.prepare()
    return store


def another(opened: OpenStore) -> Store:
    """A further server's store over the same data."""
    store = opened()
    store.row_seal = ShiftSeal()
    return store


async def insert(store: Store, *entries: WriteEntry) -> None:
    for entry in entries:
        assert (await store.writes.insert(entry))[1]


def minutes(entries: Sequence[WriteEntry]) -> list[int]:
    return [entry.position - 1 for entry in entries]


# --- one key, one write ------------------------------------------------------------------------------------


async def test_a_write_comes_back_as_it_was_stored(store: Store) -> None:
    entry = new_write(
        sending_until=START + timedelta(seconds=30),
        first_left_at=START + timedelta(seconds=1),
        settles_at=START + timedelta(minutes=3),
        keys=["k1"],
        found=True,
        seq_sent=5,
        looks=2,
    )
    attempted(entry, 1, body="{}", response="504")
    entry.write.mis_ids.append("77")
    assert await store.writes.insert(entry) == (entry, True)
    assert entry.write.revision == 1
    assert await store.writes.get("oak", entry.write_id) == entry
    assert await store.writes.find("oak", entry.write_id) == entry


async def test_what_was_sealed_before_is_stored_as_it_is(store: Store) -> None:
    entry = new_write()
    sealed = await store.writes.seal("oak", entry.write.operation)
    seal = store.row_seal = ShiftSeal()
    assert await store.writes.insert(entry, sealed) == (entry, True)
    assert seal.sealed == 0
    assert await store.writes.get("oak", entry.write_id) == entry


async def test_g11_of_many_at_once_under_one_key_one_is_stored(opened: OpenStore, store: Store) -> None:
    """Seen to fail where the document's id is not made from the key."""
    servers = [store, *(another(opened) for _ in range(3))]
    tries = [new_write(operation=behaviour(comment=f"try {number}")) for number in range(12)]
    answers = await asyncio.gather(
        *(servers[number % 4].writes.insert(entry) for number, entry in enumerate(tries))
    )
    [kept] = [entry for entry, is_new in answers if is_new]
    assert all(entry == kept for entry, _ in answers)
    assert await store.database.collection("writes").count({}) == 1


async def test_g17_a_key_is_a_schools_own_and_so_are_its_writes(store: Store) -> None:
    oak, elm = new_write(), new_write(school="elm")
    await insert(store, oak, elm)
    assert oak.write_id != elm.write_id
    assert await store.writes.find("elm", oak.write_id) is None
    with pytest.raises(ServiceError) as raised:
        await store.writes.get("elm", oak.write_id)
    assert raised.value.reason == reasons.ERROR_REASON_WRITE_NOT_FOUND
    assert raised.value.metadata == {"school_id": "elm", "write_id": oak.write_id}


# --- changes -----------------------------------------------------------------------------------------------


async def test_g11_of_many_changes_at_once_one_takes_effect(opened: OpenStore, store: Store) -> None:
    """Seen to fail where a change does not ask for the revision that it was made from."""
    await insert(store, new_write())
    servers = [store, *(another(opened) for _ in range(3))]
    read = [await server.writes.get("oak", new_write().write_id) for server in servers for _ in range(3)]
    for number, entry in enumerate(read):
        entry.move(pb.WRITE_STATE_SENDING, START)
        entry.seq_sent = number
    saved = await asyncio.gather(
        *(servers[number % 4].writes.save(entry) for number, entry in enumerate(read))
    )
    assert saved.count(True) == 1
    kept = await store.writes.get("oak", new_write().write_id)
    assert kept == read[saved.index(True)]
    assert kept.write.revision == 2
    assert {entry.write.revision for entry, done in zip(read, saved, strict=True) if not done} == {1}


async def test_a_change_that_was_stored_can_be_followed_by_the_next(store: Store) -> None:
    entry = new_write()
    await insert(store, entry)
    for number, state in enumerate((pb.WRITE_STATE_SENDING, pb.WRITE_STATE_SENT), 1):
        entry.move(state, START + timedelta(minutes=number), due_at=None)
        assert await store.writes.save(entry)
    assert entry.write.revision == 3
    assert await store.writes.get("oak", entry.write_id) == entry
    assert not await store.writes.save(new_write("never-stored"))


# --- lists -------------------------------------------------------------------------------------------------


async def test_writes_are_listed_newest_first_page_by_page(store: Store) -> None:
    await insert(store, *(new_write(f"key-{number}", minute=number // 2) for number in range(9)))
    await insert(store, new_write(school="elm"))
    whole = await store.writes.list("oak", EVERY, None, 100)
    assert minutes(whole) == [4, 3, 3, 2, 2, 1, 1, 0, 0]
    paged: list[WriteEntry] = []
    while page := await store.writes.list(
        "oak",
        EVERY,
        (paged[-1].write.submitted_at.ToDatetime(START.tzinfo), paged[-1].write_id) if paged else None,
        2,
    ):
        paged += page
    assert paged == whole


async def test_each_condition_that_is_given_must_hold(store: Store) -> None:
    made = [new_write(f"key-{number}", minute=number) for number in range(6)]
    made[1].student_id = made[2].student_id = "stu_2"
    made[2].write.state = made[3].write.state = pb.WRITE_STATE_CONFIRMED
    made[3].write.mis_ids.extend(["7", "8"])
    made[4].write.mis_ids.append("8")
    made[3].write.record_ids.extend(["beh_1", "beh_2"])
    await insert(store, *made)
    await insert(store, new_write("key-1", school="elm"))
    confirmed = frozenset({pb.WRITE_STATE_CONFIRMED})
    for conditions, expected in (
        (WriteConditions(states=confirmed), [3, 2]),
        (WriteConditions(states=OPEN | confirmed), [5, 4, 3, 2, 1, 0]),
        (WriteConditions(mis_id="8"), [4, 3]),
        (WriteConditions(mis_id="7"), [3]),
        (WriteConditions(record_id="beh_2"), [3]),
        (WriteConditions(student_id="stu_2"), [2, 1]),
        (WriteConditions(idempotency_key="key-4"), [4]),
        (WriteConditions(idempotency_key="key-9"), []),
        (WriteConditions(student_id="stu_2", states=confirmed), [2]),
        (WriteConditions(student_id="stu_2", states=confirmed, mis_id="7"), []),
        (WriteConditions(idempotency_key="key-4", student_id="stu_2"), []),
    ):
        assert minutes(await store.writes.list("oak", conditions, None, 100)) == expected, conditions
        after = (START + timedelta(minutes=3), made[3].write_id)
        later = [minute for minute in expected if minute < 3]
        assert minutes(await store.writes.list("oak", conditions, after, 100)) == later, conditions


async def test_what_is_open_and_what_changed_is_listed_for_whoever_watches(store: Store) -> None:
    made = [new_write(f"key-{number}", minute=number) for number in range(4)]
    made[1].write.state = pb.WRITE_STATE_CONFIRMED
    made[2].write.state = pb.WRITE_STATE_NEEDS_ATTENTION
    await insert(store, *made)
    assert minutes(await store.writes.open_of("oak", 100)) == [3, 2, 0]
    assert minutes(
        await store.writes.open_of("oak", 1, (START + timedelta(minutes=2), made[2].write_id))
    ) == [0]
    made[0].move(pb.WRITE_STATE_SENDING, START + timedelta(minutes=9))
    assert await store.writes.save(made[0])
    assert minutes(await store.writes.changed("oak", START + timedelta(minutes=2), 100)) == [2, 3, 0]
    assert minutes(await store.writes.changed("oak", START, 2)) == [1, 2]
    assert await store.writes.changed("elm", START, 100) == []


# --- sending -----------------------------------------------------------------------------------------------


async def test_schools_with_due_writes_are_found_and_their_writes_in_order(store: Store) -> None:
    for school in ("oak", "elm", "ash"):
        await insert(store, *(new_write(f"key-{n}", school=school, minute=n) for n in range(3)))
    await insert(
        store, new_write("key-x", school="fir", minute=60), new_write("key-y", school="yew", due_at=None)
    )
    now = START + timedelta(minutes=1)
    assert await store.writes.due("live", now, 100) == ["ash", "elm", "oak"]
    assert await store.writes.due("live", now, 2) == ["ash", "elm"]
    assert await store.writes.due("live", now, 2, after="elm") == ["oak"]
    assert await store.writes.due("live", START - timedelta(minutes=1), 100) == []
    assert minutes(await store.writes.due_of("oak", "live", now, 100)) == [0, 1]
    assert minutes(await store.writes.due_of("oak", "live", now, 1)) == [0]
    assert await store.writes.due_of("yew", "live", now, 100) == []


async def test_g19_environments_do_not_see_each_others_queues(store: Store) -> None:
    """Seen to fail where any of these reads leaves the environment out."""
    live, trial = new_write("a"), new_write("b", environment="trial", minute=1)
    await insert(store, live, trial)
    now = START + timedelta(hours=1)
    operations = [BEHAVIOUR]
    for environment, expected in (("live", [0]), ("trial", [1]), ("other", [])):
        assert await store.writes.due(environment, now, 9) == ["oak"] * len(expected)
        assert minutes(await store.writes.due_of("oak", environment, now, 9)) == expected
        assert minutes(await store.writes.queued("oak", environment, operations, 9)) == expected
        assert await store.writes.counts("oak", environment, operations) == (len(expected), 0)
        assert await store.writes.accepted_since("oak", environment, BEHAVIOUR, START, 9) == len(expected)
    assert await store.writes.ahead(trial) is None
    assert await store.writes.requeue("oak", "other", operations, now) == 0


async def test_writes_about_the_same_go_one_after_the_other(store: Store) -> None:
    first, second, third, other = (
        new_write("a", minute=0),
        new_write("b", minute=1),
        new_write("c", minute=2),
        new_write("d", minute=0, operation=mark()),
    )
    await insert(store, third, second, first, other, new_write("a", school="elm"))
    assert [await store.writes.ahead(entry) for entry in (first, second, third, other)] == [
        None,
        first.write_id,
        first.write_id,
        None,
    ]
    first.move(pb.WRITE_STATE_CANCELLED, START)
    assert await store.writes.save(first)
    assert await store.writes.ahead(third) == second.write_id
    second.write.needs_approval = True
    assert await store.writes.save(second)
    assert await store.writes.ahead(third) is None
    second.write.approved_by = "head"
    assert await store.writes.save(second)
    assert await store.writes.ahead(third) == second.write_id


async def test_of_one_position_the_one_that_left_goes_first_else_the_smaller_id(store: Store) -> None:
    """Seen to fail where those of one position pass each other, and where only the id counts."""
    pair = sorted((new_write("a"), new_write("b")), key=lambda entry: entry.write_id)
    small, large = pair
    await insert(store, small, large)
    assert [await store.writes.ahead(entry) for entry in pair] == [None, small.write_id]
    large.move(pb.WRITE_STATE_SENDING, START)
    assert await store.writes.save(large)
    assert [await store.writes.ahead(entry) for entry in pair] == [large.write_id, None]


async def test_positions_go_on_from_the_last_one_about_the_same(store: Store) -> None:
    slot = new_write().slot
    assert await store.writes.last_position("oak", slot) == 0
    await insert(
        store, new_write("a", minute=6), new_write("b", minute=2), new_write("c", minute=9, operation=mark())
    )
    assert await store.writes.last_position("oak", slot) == 7
    await insert(store, new_write("d", minute=8, state=pb.WRITE_STATE_CONFIRMED))
    assert await store.writes.last_position("oak", slot) == 9
    assert await store.writes.last_position("elm", slot) == 0


async def test_what_is_queued_becomes_due_again_and_who_read_it_before_cannot_say_otherwise(
    store: Store,
) -> None:
    """Seen to fail where the revision stays what it was."""
    stopped = new_write("a", due_at=None)
    waiting = new_write("b", minute=1, due_at=None)
    waiting.write.needs_approval = True
    sending = new_write("c", minute=2, due_at=None, state=pb.WRITE_STATE_SENDING)
    other = new_write("d", minute=3, due_at=None, operation=mark())
    await insert(store, stopped, waiting, sending, other)
    now = START + timedelta(hours=1)
    assert await store.writes.requeue("oak", "live", [BEHAVIOUR], now) == 1
    assert minutes(await store.writes.due_of("oak", "live", now, 9)) == [0]
    assert not await store.writes.save(stopped)
    assert (await store.writes.get("oak", stopped.write_id)).write.revision == 2
    assert await store.writes.requeue("oak", "live", [BEHAVIOUR, MARK], now) == 2


async def test_what_is_queued_and_what_has_left_is_counted_by_operation(store: Store) -> None:
    states = pb.WriteState.values()[1:]
    await insert(store, *(new_write(f"key-{n}", minute=n, state=state) for n, state in enumerate(states)))
    await insert(store, new_write("mark", minute=20, operation=mark()), new_write("key", school="elm"))
    assert await store.writes.counts("oak", "live", [BEHAVIOUR]) == (1, 3)
    assert await store.writes.counts("oak", "live", [BEHAVIOUR, MARK]) == (2, 3)
    assert await store.writes.counts("oak", "live", []) == (0, 0)
    queued = await store.writes.queued("oak", "live", [BEHAVIOUR, MARK], 9)
    assert sorted(minutes(queued)) == [0, 20]
    assert len(await store.writes.queued("oak", "live", [BEHAVIOUR, MARK], 1)) == 1
    since = START + timedelta(minutes=3)
    assert await store.writes.accepted_since("oak", "live", BEHAVIOUR, since, 100) == len(states) - 3
    assert await store.writes.accepted_since("oak", "live", BEHAVIOUR, since, 2) == 2


# --- what came of it ---------------------------------------------------------------------------------------


async def test_one_thing_in_the_mis_is_claimed_by_one_write_of_its_operation(store: Store) -> None:
    mine, theirs, foreign = new_write("a"), new_write("b", minute=1), new_write("c", operation=mark())
    theirs.write.mis_ids.extend(["7", "8"])
    foreign.write.mis_ids.append("9")
    await insert(store, mine, theirs, foreign)
    assert await store.writes.claimed("oak", BEHAVIOUR, ["6", "8"], mine.write_id) == theirs.write_id
    assert await store.writes.claimed("oak", BEHAVIOUR, ["8"], theirs.write_id) is None
    assert await store.writes.claimed("oak", BEHAVIOUR, ["6", "9"], mine.write_id) is None
    assert await store.writes.claimed("elm", BEHAVIOUR, ["8"], mine.write_id) is None
    assert await store.writes.claimed("oak", BEHAVIOUR, [], mine.write_id) is None


async def test_writes_are_found_by_what_they_made(store: Store) -> None:
    states = pb.WriteState.values()[1:]
    for number, state in enumerate(states):
        entry = new_write(f"key-{number}", minute=number, state=state, keys=["k1", f"k{number + 2}"])
        entry.write.record_ids.append("beh_1")
        await insert(store, entry)
    found = [entry.write.state for entry in await store.writes.made("oak", ["beh_0", "beh_1"])]
    assert sorted(found) == [pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_DIVERGED]
    [sent] = await store.writes.made_by_keys("oak", ["k0", "k1"])
    assert sent.write.state == pb.WRITE_STATE_SENT
    assert await store.writes.made("oak", ["beh_0"]) == []
    assert await store.writes.made("elm", ["beh_1"]) == []
    assert await store.writes.made_by_keys("elm", ["k1"]) == []


async def test_how_far_a_school_was_followed_never_goes_back(opened: OpenStore, store: Store) -> None:
    assert await store.writes.followed("oak") == 0
    other = another(opened)
    await asyncio.gather(store.writes.follow_to("oak", 5), other.writes.follow_to("oak", 9))
    await store.writes.follow_to("oak", 7)
    assert [await store.writes.followed(school) for school in ("oak", "elm")] == [9, 0]
