"""G10: a run that was interrupted resumes where it was, to the state of an undisturbed one."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, engine_over, move_site, outcome, record_id
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


async def stopped_run(store: Store, mis: ScriptedMis, at: int) -> str:
    """Start a run, stop its server while page ``at`` is awaited, and return the run's id."""
    reached = asyncio.Event()

    async def hang(dataset: str, index: int) -> None:
        if index == at:
            reached.set()
            await asyncio.Event().wait()

    mis.on_page = hang
    async with engine_over(store, mis) as engine:
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
        await reached.wait()
        while not (await store.runs.get(SCHOOL, accepted.run_id)).manifest.get(STUDENTS):
            await asyncio.sleep(0.01)
    mis.on_page = lambda dataset, index: None
    mis.pages_read.clear()
    return accepted.run_id


async def test_g06_a_resumed_run_does_not_delete_what_it_wrote_before_it_stopped(store: Store) -> None:
    """Nor is it sealed, for its rows are not all that is stored: seen to fail where it is.

    Another reading of sealed rows drops what they do not have.
    """
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n) for n in range(1, 58)]
    run_id = await stopped_run(store, mis, 4)
    entry = await store.runs.get(SCHOOL, run_id)
    entry.manifest.clear()  # as if the server had died between a commit and the note of how far it had come
    await store.runs.save(entry, 1)
    gone = mis.rows[STUDENTS].pop(0)
    async with engine_over(store, mis, owner="server-2") as engine:
        part = outcome(await engine.finish(run_id), STUDENTS)
        assert (part.tombstoned, part.state) == (0, pb.DATASET_STATE_INCOMPLETE)
        assert part.failure.message.startswith("1 records were written before the run was interrupted")
        assert await store.runs.last_sealed(SCHOOL, STUDENTS) is None
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.tombstoned, part.state) == (1, pb.DATASET_STATE_SUCCEEDED)
        [dead] = [r for r in await engine.records(kinds.KIND_STUDENT) if r.HasField("tombstone")]
        assert dead.id == record_id(kinds.KIND_STUDENT, STUDENTS, gone["id"])


async def test_what_was_read_under_another_scope_is_read_again(store: Store) -> None:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n) for n in range(1, 58)]
    run_id = await stopped_run(store, mis, 4)
    await move_site(store)
    mis.pages_read.clear()
    async with engine_over(store, mis, owner="server-2") as engine:
        run = await engine.finish(run_id)
    assert (run.state, outcome(run, STUDENTS).rows_read) == (pb.RUN_STATE_SUCCEEDED, 57)
    assert (STUDENTS, 0) in mis.pages_read


async def test_g08_what_another_parser_read_before_a_stop_is_read_differently_and_not_again(
    store: Store,
) -> None:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n) for n in range(1, 58)]
    run_id = await stopped_run(store, mis, 4)
    mis.pages_read.clear()
    async with engine_over(store, mis, owner="server-2", parser_version=2) as engine:
        run = await engine.finish(run_id)
    assert (run.state, outcome(run, STUDENTS).rows_read) == (pb.RUN_STATE_SUCCEEDED, 57)
    assert (STUDENTS, 0) not in mis.pages_read


async def test_g10_a_queued_run_is_taken_up_by_the_next_server(store: Store) -> None:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n) for n in range(1, 5)]
    async with engine_over(store, mis) as engine:
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
    async with engine_over(store, mis, owner="server-2") as engine:
        run = await engine.finish(accepted.run_id)
        assert run.state == pb.RUN_STATE_SUCCEEDED
