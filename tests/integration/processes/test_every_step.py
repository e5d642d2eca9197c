"""G10 and G15 with real processes: killed, or stalled and overtaken, at every step of a run.

Steps are before every operation on the store (reads too), after every one that writes, and before and after
every request to the MIS. At each of them a process ends itself by SIGKILL; or, except where it reads the
store, it stalls itself by SIGSTOP while another server takes its run over. One that stalls here is worse than
any real one: its clock stands still too, so that on waking up it takes its lease for valid, and only what the
store enforces keeps it from writing.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.store.store import Store
from tests.support.documents import documents, take_retained
from tests.support.engine import SCHOOL, TickingClock, engine_over
from tests.support.lives import State, lives
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.step_process import Reached, StepProcesses
from tests.support.stepping import (
    DATASETS,
    EVENING,
    MORNING,
    OPTIONS,
    a_small_school,
    open_store,
    run_to_the_end,
    watched_mis,
)

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(300)]

MOST_STEPS = 2000
"""Far more than the run has: a run that never ends must not be waited for."""

Totals = list[tuple[int, int, int, int, int]]


@dataclass
class Outcome:
    """How a school stands at the end: every life of every record, and what the run says of itself."""

    lives: dict[str, list[State]]
    state: pb.RunState.ValueType
    totals: Totals


class Stage:
    """A database that is set back to the morning for each process."""

    def __init__(self, uri: str, database: str, store: Store) -> None:
        self.store = store
        self.processes = StepProcesses(uri, database)
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            uri, serverMonitoringMode="poll", tz_aware=True
        )
        self._database = self._client[database]
        self._morning = {
            name: list(self._database[name].find({})) for name in self._database.list_collection_names()
        }

    def set_back(self) -> None:
        for name in self._database.list_collection_names():
            self._database[name].delete_many({})
            if self._morning.get(name):
                self._database[name].insert_many(self._morning[name])

    async def finish(self) -> Outcome:
        """Let another server see the run to its end, which takes it over where it is unfinished."""
        mis, clock = watched_mis(lambda name: None), TickingClock(EVENING)
        async with engine_over(self.store, mis, options=OPTIONS, owner="server-2", clock=clock) as engine:
            run = await run_to_the_end(engine)
        totals = [
            (part.rows_read, part.created, part.updated, part.tombstoned, part.rejected_rows)
            for part in run.datasets
        ]
        return Outcome(await lives(self.store, SCHOOL), run.state, totals)

    async def undisturbed(self) -> Outcome:
        """Return how the school stands after a process that nothing happened to."""
        self.set_back()
        reached = self.processes.run(0, signal.SIGKILL)
        assert reached.status == 0
        return await self.finish()

    def close(self) -> None:
        self.processes.close()
        self._client.close()


@asynccontextmanager
async def staged(uri: str, database: str) -> AsyncGenerator[Stage]:
    morning = open_store(uri, database, MORNING)
    await morning.prepare()
    async with engine_over(morning, a_small_school(), options=OPTIONS) as engine:
        accepted = await engine.supervisor.start_sync(SCHOOL, DATASETS, str(uuid.uuid4()), "tests")
        assert (await engine.finish(accepted.run_id)).state == pb.RUN_STATE_SUCCEEDED
    await morning.close()
    store = open_store(uri, database, EVENING)
    stage = Stage(uri, database, store)
    try:
        yield stage
    finally:
        stage.close()
        await store.close()


def steps(stage: Stage, number: signal.Signals) -> Generator[Reached]:
    """Yield processes that have ended or stalled at the first step, at the second, and so on to the last."""
    for step in range(1, MOST_STEPS):
        stage.set_back()
        reached = stage.processes.run(step, number)
        if not reached.at:
            assert reached.status == 0
            return
        yield reached
    raise AssertionError(f"the run had not ended after {MOST_STEPS} steps")


async def test_g10_a_process_killed_at_any_step_leaves_a_run_that_ends_like_an_undisturbed_one(
    mongo_uri: str, mongo_database: str
) -> None:
    async with staged(mongo_uri, mongo_database) as stage:
        twin = await stage.undisturbed()
        assert twin.state == pb.RUN_STATE_SUCCEEDED
        seen: list[str] = []
        for reached in steps(stage, signal.SIGKILL):
            assert reached.killed
            seen.append(reached.at)
            assert await stage.finish() == twin, f"killed {reached.at} (step {len(seen)})"
    assert_every_part_was_met(seen, "before", "after")


def assert_every_part_was_met(seen: list[str], *moments: str) -> None:
    """A run of which hardly a step is seen would make its test pass."""
    for moment in moments:
        for part in ("records", "history", "heads", "runs", "raw_pages", "memos", "decisions", "identities"):
            assert any(step.startswith(f"{moment} {part}.") for step in seen), (moment, part)
    assert {f"mis {dataset} ends" for dataset in DATASETS} <= set(seen)


async def test_g15_an_owner_that_stalls_at_any_step_and_wakes_up_changes_nothing(
    mongo_uri: str, mongo_database: str
) -> None:
    """Seen to fail where rows were pruned before the run's state was stored under the lease's epoch."""
    async with staged(mongo_uri, mongo_database) as stage:
        twin = await stage.undisturbed()
        seen: list[str] = []
        for reached in steps(stage, signal.SIGSTOP):
            assert reached.stalled
            seen.append(reached.at)
            where = f"stalled {reached.at} (step {len(seen)})"
            assert await stage.finish() == twin, where
            before = await documents(stage.store)
            # It comes to the end of its run: it has noticed that another one brought it there.
            assert stage.processes.wake(reached).status == 0, where
            after = await documents(stage.store)
            for heads in (before["heads"], after["heads"]):
                for head in heads.values():  # it may ask for the lease, which is free
                    del head["lease"], head["epoch"]
            kept = take_retained(before)
            assert all(kept.values()), where
            assert take_retained(after) == kept, where
            assert after == before, where
    assert_every_part_was_met(seen, "before")
