"""A small run of the real engine that can be looked at, stalled or ended at every one of its steps.

A step is the moment before any operation on the store, after one that writes, before a request to the MIS,
and after it. (After one that reads nothing has changed until the next one begins.) The run changes a small
school that an earlier run has read (:func:`a_small_school`, :func:`edit`), so that it creates, updates and
tombstones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import EndOfSnapshot
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from tests.integration.engine.conftest import NoCredentials
from tests.support.engine import SCHOOL, Engine, TickingClock
from tests.support.faults import Step, WatchedHandle
from tests.support.scripted import STUDENTS, ScriptedMis, student

DATASETS = (STUDENTS,)
OPTIONS = SyncOptions(commit_batch=4, segment_rows=5)
MORNING, NOON, EVENING = (datetime(2026, 11, 2, hour, tzinfo=UTC) for hour in (6, 12, 18))
"""When the first run is made, when the second one, and when another server takes over, all leases over."""

_REQUEST = "22222222-2222-4222-8222-222222222222"

READS = " reads"

Look = Callable[[str], None]
"""Is told the name of each step as it comes, and may end the process."""


def a_small_school() -> ScriptedMis:
    mis = ScriptedMis(page_size=5)
    mis.rows[STUDENTS] = [student(n, f"Surname {n}", person=1000 + n) for n in range(1, 8)]
    return mis


def edit(mis: ScriptedMis) -> None:
    """One student changes, one leaves, one is new, and one row is in conflict with another."""
    rows = mis.rows
    rows[STUDENTS][2]["surname"] = "Changed 3"
    del rows[STUDENTS][6]
    rows[STUDENTS] += [student(11, "Joiner", person=1011), student(1, "Conflict", person=1001)]


class _WatchedRows(dict[str, list[dict[str, Any]]]):
    """The rows of a MIS; whoever looks at them has got a page, or an answer about some keys."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]], look: Look) -> None:
        super().__init__(rows)
        self._look = look

    def __getitem__(self, dataset: str) -> list[dict[str, Any]]:
        self._look(f"mis {dataset} answers")
        return super().__getitem__(dataset)


def watched_mis(look: Look) -> ScriptedMis:
    """Return the edited school; each request to it and each answer of it is a step."""
    mis = a_small_school()
    edit(mis)
    mis.rows = _WatchedRows(mis.rows, look)
    mis.on_page = lambda dataset, index: look(f"mis {dataset} is asked for page {index}")
    mis.ends = _ending(look)
    return mis


def _ending(look: Look) -> Callable[[str, int], EndOfSnapshot]:
    def ends(dataset: str, rows: int) -> EndOfSnapshot:
        look(f"mis {dataset} ends")
        return EndOfSnapshot(terminator_proven=True)

    return ends


def open_store(uri: str, database: str, begins: datetime, look: Look | None = None) -> Store:
    """Return a store over a real mongod; ``look`` sees its every operation."""
    handle: Any = AsyncMongoClient[Any](uri, serverMonitoringMode="poll")

    async def hook(step: Step) -> None:
        assert look is not None
        if step.moment == "before" or step.is_write:
            look(f"{step.moment} {step.collection}.{step.operation}{'' if step.is_write else READS}")

    store = Store.open(
        handle if look is None else WatchedHandle(handle, hook), database, TickingClock(begins)
    )
    store.credentials = NoCredentials()
    return store


async def run_to_the_end(engine: Engine) -> pb.Run:
    """Ask for the run, which has been asked for before or not, and return it when it has ended."""
    accepted = await engine.supervisor.start_sync(SCHOOL, DATASETS, _REQUEST, "tests")
    return await engine.finish(accepted.run_id)


def acts(step: str) -> bool:
    """Whether a step is before a write, or concerns the MIS."""
    return step.startswith("mis ") or (step.startswith("before ") and not step.endswith(READS))
