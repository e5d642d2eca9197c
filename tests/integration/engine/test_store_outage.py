"""A run outlives an outage of the store at any moment, and whoever watches it sees its end."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.sync.progress import is_final
from tests.support.engine import SCHOOL, Engine
from tests.support.scripted import STUDENTS, student


async def test_g10_a_final_state_that_could_not_be_stored_is_reached_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.mis.rows[STUDENTS] = [student(n) for n in range(1, 9)]
    save = engine.store.runs.save
    refused: list[str] = []

    async def refuse_the_first_end(entry: RunEntry, epoch: int) -> None:
        if is_final(entry.run) and not refused:
            refused.append(entry.run.run_id)
            raise StoreUnavailable("no primary")
        await save(entry, epoch)

    monkeypatch.setattr(engine.store.runs, "save", refuse_the_first_end)
    async with asyncio.timeout(20):
        run = await engine.sync(STUDENTS)
    assert refused == [run.run_id]
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert (await engine.store.runs.get(SCHOOL, run.run_id)).run.state == pb.RUN_STATE_SUCCEEDED


async def test_g10_an_outage_while_another_server_has_the_school_does_not_end_the_wait(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.mis.rows[STUDENTS] = [student(n) for n in range(1, 9)]
    lease = await engine.store.leases.acquire(SCHOOL, "another server", timedelta(seconds=30))
    assert lease is not None
    get = engine.store.runs.get
    refused = asyncio.Event()

    async def refuse_the_first_look(school_id: str, run_id: str) -> RunEntry:
        task = asyncio.current_task()
        if task is not None and task.get_name() == run_id and not refused.is_set():
            refused.set()
            raise StoreUnavailable("no primary")
        return await get(school_id, run_id)

    monkeypatch.setattr(engine.store.runs, "get", refuse_the_first_look)
    async with asyncio.timeout(20):
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
        await refused.wait()
        await engine.store.leases.release(lease)
        run = await engine.finish(accepted.run_id)
    assert run.state == pb.RUN_STATE_SUCCEEDED
