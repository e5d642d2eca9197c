"""G10: a run that was interrupted resumes where it was, to the state of an undisturbed one."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, engine_over, outcome
from tests.support.scripted import STUDENTS, ScriptedMis, student


@pytest.mark.parametrize("stopped_at", [0, 1, 4, 5])
async def test_g10_a_stopped_run_resumes_from_its_last_page(store: Store, stopped_at: int) -> None:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 58)]
    mis.rows[STUDENTS] += [student(3, "Surname 3"), student(4, "Conflict"), student(5, "Surname 5")]
    reached = asyncio.Event()

    async def hang(dataset: str, index: int) -> None:
        if index == stopped_at:
            reached.set()
            await asyncio.Event().wait()

    mis.on_page = hang
    async with engine_over(store, mis) as engine:
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
        await reached.wait()
    entry = await store.runs.get(SCHOOL, accepted.run_id)
    assert entry.run.state == pb.RUN_STATE_RUNNING

    mis.on_page = lambda dataset, index: None
    mis.pages_read.clear()
    async with engine_over(store, mis, owner="server-2") as engine:
        run = await engine.finish(accepted.run_id)
        part = outcome(run, STUDENTS)
        assert (run.state, run.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
        assert (part.created, part.rows_read, part.rejected_rows) == (57, 60, 3)
        # The next page is fetched while one is taken in, so the last one may be read again.
        assert min(index for _, index in mis.pages_read) >= stopped_at - 1
        assert await engine.live(kinds.KIND_STUDENT) == 57
        again = await engine.sync(STUDENTS)
        assert (again.state, again.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_after)


async def test_g10_a_queued_run_is_taken_up_by_the_next_server(store: Store) -> None:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n) for n in range(1, 5)]
    async with engine_over(store, mis) as engine:
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
    async with engine_over(store, mis, owner="server-2") as engine:
        run = await engine.finish(accepted.run_id)
        assert run.state == pb.RUN_STATE_SUCCEEDED
