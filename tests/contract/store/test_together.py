"""Reads that go together find what they find alone, in fewer operations."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schoolgate_server.store.store import Store
from schoolgate_server.store.together import current, together
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step


class Seen:
    """The operations that a store does, and what keeps them from being done."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str]] = []
        self.error: Exception | None = None

    async def __call__(self, step: Step) -> None:
        if step.moment == "before" and step.operation in {"find", "find_one", "aggregate"}:
            self.operations.append((step.collection, step.operation))
            if self.error is not None:
                raise self.error


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def store(opened: OpenStore, seen: Seen) -> Store:
    store = opened(seen)
    await store.prepare()
    for name in ("first", "second"):
        await store.database.collection(name).insert_many([{"_id": f"{name}-{n}", "n": n} for n in range(9)])
    seen.operations.clear()
    return store


async def test_reads_of_one_moment_are_one_operation(store: Store, seen: Seen) -> None:
    """However deep they stand in each other. Seen to fail where the first one does not wait for more."""
    first, second = store.database.collection("first"), store.database.collection("second")

    async def within(depth: int) -> Any:
        if depth:
            return await asyncio.gather(within(depth - 1))
        return await second.find({"n": {"$gt": 4}}, {"_id": 0, "n": 1}, sort=[("n", -1)], limit=2)

    async with together():
        one, none, some = await asyncio.gather(
            first.find_one({"_id": "first-3"}, {"n": 1}), first.find({"n": -1}), within(3)
        )
    assert one == {"_id": "first-3", "n": 3}
    assert none == []
    assert some == [[[[{"n": 8}, {"n": 7}]]]]
    assert seen.operations == [("first", "aggregate")]


async def test_what_needs_to_go_by_itself_does(store: Store, seen: Seen) -> None:
    first, latest = store.database.collection("first"), store.database.latest("first")
    session = await store.database.session()
    async with together():
        hinted, linearizable, in_session = await asyncio.gather(
            first.find({"_id": "first-1"}, hint="_id_"),
            latest.find_one({"_id": "first-1"}),
            first.within(session).find({"_id": "first-1"}),
        )
    assert hinted == in_session == [linearizable] == [{"_id": "first-1", "n": 1}]
    assert sorted(operation for _, operation in seen.operations) == ["find", "find", "find_one"]


async def test_a_block_within_another_is_part_of_it_and_after_it_each_goes_alone(
    store: Store, seen: Seen
) -> None:
    first = store.database.collection("first")

    async def within() -> None:
        async with together():
            await asyncio.gather(first.find({"n": 1}), first.find({"n": 2}))

    async def late() -> Any:
        await over.wait()
        return await first.find({"n": 4})

    over = asyncio.Event()
    async with together():
        straggler = asyncio.ensure_future(late())
        await asyncio.gather(first.find({"n": 3}), within())
    assert seen.operations == [("first", "aggregate")]
    over.set()
    assert await straggler == [{"_id": "first-4", "n": 4}]
    await first.find({"n": 1})
    assert seen.operations[1:] == [("first", "find")] * 2


async def test_where_one_fails_all_of_the_operation_do_and_the_next_ones_do_not(
    store: Store, seen: Seen
) -> None:
    first = store.database.collection("first")
    async with together():
        seen.error = OSError("lost")
        failed = await asyncio.gather(first.find({"n": 1}), first.find_one({"n": 2}), return_exceptions=True)
        seen.error = None
        assert [type(error) for error in failed] == [OSError, OSError]
        assert await first.find({"n": 1}) == [{"_id": "first-1", "n": 1}]


@pytest.mark.timeout(10)
async def test_an_operation_does_not_outlive_its_block(opened: OpenStore) -> None:
    """Whoever waits for it is cancelled. Seen to fail where the block does not end what is under way."""
    ended: list[str] = []

    async def hang(step: Step) -> None:
        if step.operation == "aggregate":
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(step.collection)

    first = opened(hang).database.collection("first")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), together():
            await first.find({"n": 1})
    assert ended == ["first"]


@pytest.mark.timeout(10)
async def test_who_still_waits_when_a_block_ends_gets_an_answer(opened: OpenStore) -> None:
    """``asyncio.gather`` leaves behind what was asked for with what failed. Seen to fail where a block ends
    whatever is under way: it waited for ever.
    """
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def hang(step: Step) -> None:
        if step.operation == "aggregate" and step.moment == "before":
            began.set()
            await goes_on.wait()

    store = opened(hang)
    first = store.database.collection("first")
    await first.insert_many([{"_id": "first-1", "n": 1}])

    async def fail() -> None:
        await began.wait()
        raise OSError("lost")

    behind: list[asyncio.Future[Any]] = []

    async def ask() -> None:
        async with together():
            behind.append(asyncio.ensure_future(first.find({"n": 1})))
            await asyncio.gather(*behind, fail())

    with pytest.raises(OSError, match="lost"):
        await ask()
    goes_on.set()
    async with asyncio.timeout(5):
        assert await behind[0] == [{"_id": "first-1", "n": 1}]


async def test_what_nobody_waits_for_any_more_is_not_asked(store: Store, seen: Seen) -> None:
    """Whoever asked is cancelled before it is sent. Seen to fail where that is not looked at."""
    first = store.database.collection("first")
    async with together():
        asking = asyncio.ensure_future(first.find({"n": 1}))
        await asyncio.sleep(0)
        asking.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert seen.operations == []


@pytest.mark.timeout(10)
async def test_who_waits_until_reads_are_sent_goes_on_while_they_are_done(opened: OpenStore) -> None:
    """Seen to fail where it goes on at once: what it does then delays the reads."""
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def hang(step: Step) -> None:
        if step.operation == "aggregate" and step.moment == "before":
            began.set()
            await goes_on.wait()

    first = opened(hang).database.collection("first")
    async with together():
        asking = asyncio.ensure_future(first.find({"n": 1}))
        await asyncio.sleep(0)
        block = current()
        assert block is not None
        await block.sent()
        assert began.is_set()
        goes_on.set()
        assert await asking == []
        await block.sent()  # nothing waits
