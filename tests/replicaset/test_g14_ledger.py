"""G14: the primary is lost while writes are stored and changed, and the ledger loses and doubles nothing.

Seen to fail with writes at ``w: 1`` (writes that were acknowledged were gone, and changes with them).
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from pymongo import AsyncMongoClient

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.clock import system_clock
from schoolgate_server.model.writes import WriteConditions, WriteEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from tests.support.replica_set import ReplicaSet, new_database, replica_set, three_nodes
from tests.support.writes import BEHAVIOUR, ShiftSeal, behaviour, new_write

__all__ = ["new_database", "replica_set", "three_nodes"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("replica set")]

WORKERS = 4
LOSSES = 2
BETWEEN = 60
"""Writes that are acknowledged before the primary is lost, and once more afterwards."""


class Book:
    """What the ledger has acknowledged, and how often nobody knew."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stored: list[str] = []
        self.is_new: Counter[str] = Counter()
        self.counted = 0
        self.unknown = 0
        self.over = asyncio.Event()

    async def work(self, worker: int) -> None:
        """Submit one write after the other, the same ones as every worker, and count in a shared one."""
        number = 0
        while not self.over.is_set():
            number += 1
            key = f"key-{number}"
            await self._submit(new_write(key, operation=behaviour(f"stu_{number}", f"by {worker}")))
            await self._count()

    async def _submit(self, entry: WriteEntry) -> None:
        while True:
            try:
                kept, is_new = await self.store.writes.insert(entry)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
            else:
                self.stored.append(kept.write_id)
                self.is_new[kept.write_id] += is_new
                return

    async def _count(self) -> None:
        """Add one, to what nobody else has added to since it was read."""
        while True:
            try:
                shared = await self.store.writes.get("oak", new_write("shared").write_id)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
                continue
            shared.looks += 1
            try:
                if await self.store.writes.save(shared):
                    self.counted += 1
                    return
            except StoreUnavailable:
                self.unknown += 1
                return


async def lose(replica_set: ReplicaSet, loss: str) -> None:
    """Kill the primary; or stall it, and wake it as one that does not know yet that another was elected."""
    await asyncio.to_thread(replica_set.heal)
    primary = await asyncio.to_thread(replica_set.primary)
    if loss == "killed":
        await asyncio.to_thread(replica_set.kill, primary)
        return
    replica_set.pause(primary)
    await asyncio.to_thread(replica_set.wait_for_primary, primary)
    replica_set.resume(primary)


@pytest.mark.parametrize("loss", ["killed", "stalled"])
async def test_g14_the_ledger_outlives_the_loss_of_the_primary(
    replica_set: ReplicaSet, new_database: str, loss: str
) -> None:
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(replica_set.uri)
    store = Store.open(client, new_database, system_clock)
    store.row_seal = ShiftSeal()
    await store.prepare()
    await store.writes.insert(new_write("shared"))
    book = Book(store)
    async with asyncio.TaskGroup() as workers:
        for worker in range(WORKERS):
            workers.create_task(book.work(worker))
        for number in range(1, LOSSES + 1):
            await _until(book, number * BETWEEN)
            await lose(replica_set, loss)
        await _until(book, len(book.stored) + BETWEEN)
        book.over.set()

    kept = {
        entry.write_id: entry for entry in await store.writes.list("oak", WriteConditions(), None, 100_000)
    }
    shared = kept.pop(new_write("shared").write_id)
    assert kept.keys() == set(book.stored)
    assert max(book.is_new.values()) == 1
    assert all(entry.write.revision == 1 for entry in kept.values())
    assert book.counted <= shared.looks <= book.counted + book.unknown
    assert shared.write.revision == shared.looks + 1
    assert await store.writes.counts("oak", "live", [BEHAVIOUR]) == (len(kept) + 1, 0)
    assert {entry.write.state for entry in kept.values()} == {pb.WRITE_STATE_PENDING}
    await store.close()


async def _until(book: Book, stored: int) -> None:
    while len(book.stored) < stored:
        await asyncio.sleep(0.02)
