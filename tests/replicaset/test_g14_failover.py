"""G14: the primary is lost again and again while a run is at work, and nothing is lost or doubled.

The real engine over a real replica set of three. At each chosen moment the primary is killed, or stalled and
woken as one that does not know yet that another has been elected: what was on its way to it then may have
taken effect or not, and a stale primary takes writes that no majority will ever confirm.

Seen to fail with writes at ``w: 1`` (runs that had been begun were gone after the first failover).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from pymongo import AsyncMongoClient

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import EndOfSnapshot
from schoolgate_server.model.clock import system_clock
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from tests.integration.engine.conftest import NoCredentials
from tests.support.engine import EVERYTHING, SCHOOL, Engine, engine_over
from tests.support.faults import Hook, Step, WatchedHandle
from tests.support.lives import lives
from tests.support.mongomock_handle import MockHandle
from tests.support.replica_set import Node, ReplicaSet, new_database, replica_set, three_nodes
from tests.support.scripted import GROUPS, MARKS, STUDENTS, ScriptedMis, group, mark, student

__all__ = ["new_database", "replica_set", "three_nodes"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("replica set")]

KINDS = (kinds.KIND_STUDENT, kinds.KIND_GROUP, kinds.KIND_ATTENDANCE_MARK)
DATASETS = (STUDENTS, GROUPS, MARKS)
OPTIONS = SyncOptions(commit_batch=100, segment_rows=200)


def a_school() -> ScriptedMis:
    mis = ScriptedMis(page_size=100)
    mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 1201)]
    mis.rows[GROUPS] = [group(n) for n in range(1, 31)]
    mis.rows[MARKS] = [mark(n, "2026-10-01") for n in range(1, 601)]
    return mis


def edit(mis: ScriptedMis) -> None:
    """Change 400 students and 200 marks, let 15 students leave, and let 300 join."""
    mis.rows[STUDENTS] = [
        student(row["id"], f"Changed {row['id']}") if row["id"] % 3 == 0 else row
        for row in mis.rows[STUDENTS][15:]
    ]
    mis.rows[STUDENTS] += [student(n, f"Joiner {n}") for n in range(2001, 2301)]
    mis.rows[MARKS] = [
        mark(row["student"], row["date"], "L") if row["student"] % 3 == 0 else row for row in mis.rows[MARKS]
    ]


Strike = Callable[[], Awaitable[None]]


@dataclass
class Disturber:
    """Strikes each time that a moment comes for which it waits, when the set is whole again."""

    replica_set: ReplicaSet
    strike: Strike
    struck: list[str] = field(default_factory=list[str])
    moments: dict[str, Callable[[Step], bool]] = field(default_factory=dict[str, Callable[[Step], bool]])
    reading: tuple[str, int] = ("", 0)
    ended: set[str] = field(default_factory=set[str])

    async def look(self, step: Step) -> None:
        """Be the hook of a watched handle."""
        for name, has_come in self.moments.items():
            if has_come(step):
                del self.moments[name]
                await self.hit(name)
                return

    async def on_page(self, dataset: str, index: int) -> None:
        """Be a scripted MIS's ``on_page``."""
        if (dataset, index) == self.reading:
            self.reading = ("", 0)
            await self.hit("reading")

    def ends(self, dataset: str, rows: int) -> EndOfSnapshot:
        """Be a scripted MIS's ``ends``: the last page goes out, and the snapshot can be sealed."""
        self.ended.add(dataset)
        return EndOfSnapshot(terminator_proven=True)

    async def hit(self, name: str) -> None:
        await asyncio.to_thread(self.replica_set.heal)
        self.struck.append(name)
        await self.strike()


def nth(number: int, collection: str, moment: str) -> Callable[[Step], bool]:
    """Return what notices the moment before or after the ``number``-th write of a collection."""
    count = 0

    def has_come(step: Step) -> bool:
        nonlocal count
        count += (step.is_write, step.collection, step.moment) == (True, collection, moment)
        return count == number

    return has_come


@asynccontextmanager
async def opened(replica_set: ReplicaSet, database: str, hook: Hook) -> AsyncGenerator[Store]:
    """A store over the set, whose every operation ``hook`` sees."""
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(replica_set.uri)
    store = Store.open(WatchedHandle(client, hook), database, system_clock)
    store.credentials = NoCredentials()
    await store.prepare()
    try:
        yield store
    finally:
        await store.close()


async def finished(engine: Engine) -> pb.Run:
    """Sync to the end; whoever watches while MongoDB has no primary is told so, and watches again."""
    request_id = str(uuid.uuid4())
    while True:
        try:
            accepted = await engine.supervisor.start_sync(SCHOOL, DATASETS, request_id, "tests")
            return await engine.finish(accepted.run_id)
        except StoreUnavailable:
            await asyncio.sleep(0.1)


async def known_at(store: Store, seq: int) -> list[Record]:
    """Return all records as they were known at ``seq``."""
    return [
        record
        for kind in KINDS
        for record in await store.records.query(SCHOOL, kind, EVERYTHING, seq, "", 100_000)
    ]


async def undisturbed() -> tuple[object, object]:
    """Return the lives of the records of a twin, after each of its two runs."""
    mis = a_school()
    store = Store.open(MockHandle(), "schoolgate", system_clock)
    store.credentials = NoCredentials()
    await store.prepare()
    async with engine_over(store, mis, options=OPTIONS) as engine:
        await finished(engine)
        first = await lives(store, SCHOOL)
        edit(mis)
        await finished(engine)
        return first, await lives(store, SCHOOL)


@asynccontextmanager
async def steady_reader(store: Store, seq: int, expected: list[Record]) -> AsyncGenerator[list[int]]:
    """Ask again and again, while the block runs, what was known at ``seq``; give the numbers of answers."""
    answers: list[int] = []
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            try:
                assert await known_at(store, seq) == expected
                answers.append(len(expected))
            except StoreUnavailable:
                pass
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group_of_one:
        group_of_one.create_task(read())
        yield answers
        over.set()


def killing(replica_set: ReplicaSet) -> Strike:
    async def strike() -> None:
        await asyncio.to_thread(lambda: replica_set.kill(replica_set.primary()))

    return strike


def stalling(replica_set: ReplicaSet, waking: list[asyncio.Task[None]]) -> Strike:
    """Stall the primary, and wake it as soon as another one is elected."""

    async def strike() -> None:
        stalled = await asyncio.to_thread(replica_set.primary)
        replica_set.pause(stalled)

        async def wake() -> None:
            await asyncio.to_thread(replica_set.wait_for_primary, stalled)
            replica_set.resume(stalled)

        waking.append(asyncio.create_task(wake()))

    return strike


@pytest.mark.parametrize("loss", ["killed", "stalled"])
async def test_g14_a_run_outlives_every_loss_of_the_primary(
    replica_set: ReplicaSet, new_database: str, loss: str
) -> None:
    twin_first, twin = await undisturbed()
    waking: list[asyncio.Task[None]] = []
    strike = killing(replica_set) if loss == "killed" else stalling(replica_set, waking)
    disturber = Disturber(replica_set, strike)
    mis = a_school()
    mis.on_page, mis.ends = disturber.on_page, disturber.ends
    async with (
        opened(replica_set, new_database, disturber.look) as store,
        engine_over(store, mis, options=OPTIONS, clock=system_clock) as engine,
    ):
        disturber.moments = {
            "in the middle of a commit": nth(3, "records", "before"),
            "between two commits": nth(8, "runs", "after"),
        }
        assert (await finished(engine)).state == pb.RUN_STATE_SUCCEEDED
        assert await lives(store, SCHOOL) == twin_first
        seq = (await store.leases.head(SCHOOL)).published
        before = await known_at(store, seq)

        edit(mis)
        disturber.ended.clear()
        disturber.reading = (STUDENTS, 7)
        disturber.moments = {
            "copied into the history": nth(1, "history", "after"),
            "written and not yet published": nth(4, "records", "after"),
            "sealing": lambda step: (
                step.is_write and step.collection == "runs" and STUDENTS in disturber.ended
            ),
        }
        async with steady_reader(store, seq, before) as answers:
            assert (await finished(engine)).state == pb.RUN_STATE_SUCCEEDED
        assert answers
        assert await lives(store, SCHOOL) == twin
        assert await known_at(store, seq) == before
    await asyncio.gather(*waking)
    assert sorted(disturber.struck) == [
        "between two commits",
        "copied into the history",
        "in the middle of a commit",
        "reading",
        "sealing",
        "written and not yet published",
    ]


async def test_g14_a_run_goes_on_while_its_old_primary_never_answers(
    replica_set: ReplicaSet, new_database: str
) -> None:
    """The stalled primary wakes only after the run; what waited for it has run out of time, lease and all."""
    _, twin = await undisturbed()
    stalled: list[Node] = []

    async def strike() -> None:
        stalled.append(await asyncio.to_thread(replica_set.primary))
        replica_set.pause(stalled[0])

    disturber = Disturber(replica_set, strike)
    mis = a_school()
    options = SyncOptions(commit_batch=100, segment_rows=200, lease_ttl=timedelta(seconds=3))
    async with (
        opened(replica_set, new_database, disturber.look) as store,
        engine_over(store, mis, options=options, clock=system_clock) as engine,
    ):
        await finished(engine)
        seq = (await store.leases.head(SCHOOL)).published
        before = await known_at(store, seq)
        edit(mis)
        disturber.moments = {"in the middle of a commit": nth(2, "records", "before")}
        assert (await finished(engine)).state == pb.RUN_STATE_SUCCEEDED
        assert await lives(store, SCHOOL) == twin
        replica_set.resume(stalled[0])
        await asyncio.to_thread(replica_set.heal)
        assert await lives(store, SCHOOL) == twin
        assert await known_at(store, seq) == before
    assert disturber.struck == ["in the middle of a commit"]
