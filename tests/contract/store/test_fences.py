"""A commit whose messages come late: after its lease, after the grace, after the next owner has moved on.

No clock helps here. The owner's stands still, so that it never learns that its lease has expired, and a proxy
keeps one of its messages until another owner has recovered and committed. What is asked: no answer as of any
seq changes after that, and no document of a record differs.

Seen to fail: without touching the fence; with fences that are never shut; with a seq that is used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from schoolgate_server.store.errors import CommitConflict, LeaseLost, StoreUnavailable
from schoolgate_server.store.handles import Database
from schoolgate_server.store.leases import GRACE
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import Driver, OpenStore
from tests.support.faults import Step
from tests.support.holding_proxy import HoldingProxy
from tests.support.store_samples import (
    TTL,
    SettableClock,
    commit,
    leased,
    student,
    student_id,
    surnames,
)

BEFORE = {student_id(1): "Ash", student_id(2): "Bly"}
LATE = (student(1, "Ash-Fox", 1), student(3, "Cox"), student(4, "Dee"))
NEXT = (student(2, "Bly-Gum", 1), student(5, "Eve"))


def _the(*words: bytes) -> Callable[[bytes], bool]:
    return lambda message: all(word in message for word in words)


MESSAGES = {
    "touch of the fence": _the(b"update\0", b"fences\0", b"startTransaction\0"),
    "insert": _the(b"insert\0", b"records\0", b"txnNumber\0"),
    "copy to the history": _the(b"insert\0", b"history\0", b"txnNumber\0"),
    "deletion of what is replaced": _the(b"delete\0", b"records\0", b"txnNumber\0"),
    "commit": _the(b"commitTransaction\0"),
}


@pytest.fixture(params=["motor", "pymongo"])
def make_client(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    if request.param == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        client: Any = AsyncIOMotorClient
    else:
        client = AsyncMongoClient
    return lambda uri: client(uri, serverMonitoringMode="poll")


class Stage:
    """Two servers on one school: the owner, whose messages go through a proxy, and the next one."""

    def __init__(self, owner: Store, successor: Store, clock: SettableClock) -> None:
        self.owner = owner
        self.successor = successor
        self.clock = clock

    async def everything(self) -> tuple[Any, ...]:
        """Return every answer as of every seq, and every document."""
        published = (await self.successor.leases.head("oak")).published
        answers = [await surnames(self.successor, seq) for seq in range(published + 1)]
        documents = [
            sorted(
                await self.successor.database.collection(name).find({"school": "oak"}),
                key=lambda one: one["_id"],
            )
            for name in ("records", "history")
        ]
        return published, answers, documents


OpenStage = Callable[[HoldingProxy], AbstractAsyncContextManager[Stage]]


@pytest.fixture
def open_stage(mongo_uri: str, mongo_database: str, make_client: Callable[[str], Any]) -> OpenStage:
    @asynccontextmanager
    async def staged(proxy: HoldingProxy) -> AsyncGenerator[Stage]:
        clock = SettableClock()
        async with proxy.before(mongo_uri) as uri:
            stores = [
                Store.open(make_client(where), mongo_database, its_clock)
                for where, its_clock in ((uri, stopped(clock.now)), (mongo_uri, clock))
            ]
            await stores[1].prepare()
            yield Stage(stores[0], stores[1], clock)
        # After the proxy has gone: Motor says farewell to it in a call that would block the proxy's own loop.
        for store in stores:
            await store.close()

    return staged


def stopped(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


@pytest.mark.mongod
@pytest.mark.parametrize("message", MESSAGES)
async def test_g15_a_message_of_a_commit_that_comes_after_the_next_owner_has_committed_changes_nothing(
    open_stage: OpenStage, message: str
) -> None:
    """Seen to fail where the fence's filter does not ask for ``closed``, and where fences are not shut."""
    picking = False
    proxy = HoldingProxy(lambda sent: picking and MESSAGES[message](sent))
    async with open_stage(proxy) as stage:
        lease = await leased(stage.owner)
        await commit(stage.owner, lease, student(1, "Ash"), student(2, "Bly"))
        picking = True
        late = asyncio.create_task(commit(stage.owner, lease, *LATE, run="run_late"))
        await asyncio.wait_for(proxy.held.wait(), 20)

        stage.clock.advance(seconds=(TTL + GRACE).total_seconds())
        next_lease = await leased(stage.successor, owner="server-2")
        await stage.successor.commits.recover(next_lease)
        published = await commit(stage.successor, next_lease, *NEXT, run="run_next")
        before = await stage.everything()
        assert before[1][1] == BEFORE
        assert before[1][published] == {**BEFORE, student_id(2): "Bly-Gum", student_id(5): "Eve"}

        proxy.let_through()
        with pytest.raises(LeaseLost):
            await late
        assert await stage.everything() == before
        await stage.successor.commits.recover(next_lease)
        assert await commit(stage.successor, next_lease, student(3, "Cox")) > published


@pytest.mark.mongod
async def test_g15_where_mongodb_ends_no_sessions_a_new_owner_waits_for_the_open_transaction(
    open_stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old owner's commit arrives while the new one waits: it counts, and counts as a whole.

    Seen to fail without touching the fence: nobody waited, and the records of the rolled-back commit appeared
    afterwards in answers that had been given already.
    """

    async def refused(database: Database, numbers: object) -> None:
        """As where the user lacks the right to it."""

    monkeypatch.setattr(Database, "end_sessions", refused)
    picking = False
    proxy = HoldingProxy(lambda sent: picking and MESSAGES["commit"](sent))
    async with open_stage(proxy) as stage:
        lease = await leased(stage.owner)
        await commit(stage.owner, lease, student(1, "Ash"), student(2, "Bly"))
        picking = True
        late = asyncio.create_task(commit(stage.owner, lease, *LATE, run="run_late"))
        await asyncio.wait_for(proxy.held.wait(), 20)

        stage.clock.advance(seconds=(TTL + GRACE).total_seconds())
        next_lease = await leased(stage.successor, owner="server-2")
        recovering = asyncio.create_task(stage.successor.commits.recover(next_lease))
        done, _ = await asyncio.wait({recovering}, timeout=2)
        assert not done
        proxy.let_through()
        await recovering
        with pytest.raises(LeaseLost):  # it may not publish any more, and need not
            await late
        before = await stage.everything()
        assert before[:2] == (
            2,
            [
                {},
                BEFORE,
                {**BEFORE, student_id(1): "Ash-Fox", student_id(3): "Cox", student_id(4): "Dee"},
            ],
        )
        await commit(stage.successor, next_lease, *NEXT)
        assert (await stage.everything())[1][:3] == before[1]


async def test_g15_a_seq_is_never_used_again(opened: OpenStore) -> None:
    """Seen to fail where the next seq is the published one and one."""
    store = opened()
    await store.prepare()
    lease = await leased(store)
    assert await commit(store, lease, student(1, "Ash")) == 1
    with pytest.raises(CommitConflict):
        await commit(store, lease, student(1, "Bly"))
    assert await commit(store, lease, student(2, "Bly")) == 3

    async def gone(step: Step) -> None:
        if step.operation == "commit_transaction":
            raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        await commit(opened(gone), lease, student(3, "Cox"))
    await store.commits.recover(lease)
    seen = set(await surnames(store, 3))
    assert await commit(store, lease, student(3, "Cox")) > 4
    assert set(await surnames(store, 3)) == seen


async def test_g15_nothing_passes_a_fence_that_is_shut(opened: OpenStore, driver: Driver) -> None:
    """Seen to fail where the fence's filter does not ask for ``closed``."""
    store = opened()
    await store.prepare()
    lease = await leased(store)
    fences = store.database.collection("fences")
    await fences.insert_one({"_id": "oak:0", "school": "oak", "closed": 1})
    with pytest.raises(LeaseLost):
        await commit(store, lease, student(1, "Ash"))
    assert await store.database.collection("records").count({}) == 0
    await store.commits.recover(lease)
    assert await commit(store, lease, student(1, "Ash")) == 2
