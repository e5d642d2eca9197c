"""Runs that stop on their way, and others that begin though those have not ended."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.store import Store
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.engine import SCHOOL, Engine


async def interrupted(engine: Engine, *datasets: str, at: tuple[str, int]) -> str:
    """Start a run of ``datasets``, and return its id once it waits for the page ``at`` of a dataset."""
    reached = asyncio.Event()

    async def hang(dataset: str, index: int) -> None:
        if (dataset, index) == at:
            reached.set()
            await asyncio.Event().wait()

    engine.mis.on_page = hang
    accepted = await engine.supervisor.start_sync(SCHOOL, datasets, str(uuid.uuid4()), "tests")
    await reached.wait()
    engine.mis.on_page = lambda dataset, index: None
    return accepted.run_id


async def stand_aside(store: Store, run_id: str) -> None:
    """Let another run of the school begin, as a notification's may, though this one has not ended."""
    runs = store.database.collection("runs")
    await runs.update_one({"_id": run_id}, {"$set": {"unfinished": f"{SCHOOL}:aside"}})


def launching_all_but(run_id: str) -> Callable[[Supervisor, RunEntry], None]:
    """Return a ``Supervisor._launch`` that leaves one run alone."""
    launch: Callable[[Supervisor, RunEntry], None] = vars(Supervisor)["_launch"]

    def launch_others(self: Supervisor, entry: RunEntry) -> None:
        if entry.run.run_id != run_id:
            launch(self, entry)

    return launch_others
