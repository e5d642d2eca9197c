"""A run is cancelled by another server than the one that works on it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from tests.support.engine import SCHOOL, Engine, engine_over, outcome
from tests.support.scripted import GROUPS, STUDENTS, ScriptedMis, group, student

DATASETS = (STUDENTS, GROUPS)
OPTIONS = SyncOptions(commit_batch=7, segment_rows=10, lease_ttl=timedelta(seconds=6))
"""A lease that is renewed every other second."""


async def cancelled_by(rival: Engine, owner: Engine, page: int) -> pb.Run:
    """Return a run of ``owner`` that waits at ``page`` from when ``rival`` is asked to cancel it until a
    renewal of the lease that began after that has ended.
    """
    store, renew = owner.store, owner.store.leases.renew
    asked, renewed = asyncio.Event(), asyncio.Event()
    run_id = ""

    async def renew_and_tell(lease: Lease) -> Lease:
        is_after = asked.is_set()
        kept = await renew(lease)
        if is_after:
            renewed.set()
        return kept

    async def cancel(dataset: str, index: int) -> None:
        if (dataset, index) == (STUDENTS, page):
            assert (await rival.supervisor.cancel(SCHOOL, run_id)).cancel_requested
            asked.set()
            await renewed.wait()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store.leases, "renew", renew_and_tell)
        patched.setattr(owner.mis, "on_page", cancel)
        accepted = await owner.supervisor.start_sync(SCHOOL, DATASETS, str(uuid.uuid4()), "tests")
        run_id = accepted.run_id
        return await owner.finish(run_id)


@asynccontextmanager
async def two_servers(store: Store) -> AsyncGenerator[tuple[ScriptedMis, Engine, Engine]]:
    """Give a school's MIS, the server that is to own its runs, and another one."""
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 58)]
    mis.rows[GROUPS] = [group(1), group(2)]
    async with (
        engine_over(store, mis, options=OPTIONS) as owner,
        engine_over(store, mis, options=OPTIONS, owner="server-2") as rival,
    ):
        yield mis, owner, rival


async def test_a_run_stops_though_another_server_was_asked_to_cancel_it(store: Store) -> None:
    """Seen to fail, as a run that succeeds, where the renewal of the lease does not tell of it."""
    async with two_servers(store) as (mis, owner, rival):
        run = await cancelled_by(rival, owner, page=3)
        assert (run.state, run.cancel_requested) == (pb.RUN_STATE_CANCELLED, True)
        assert await rival.finish(run.run_id) == run
        assert {part.state for part in run.datasets} == {pb.DATASET_STATE_SKIPPED}
        assert (STUDENTS, 5) not in mis.pages_read
        assert 0 < await rival.live(kinds.KIND_STUDENT) < 57
        assert (await rival.sync(*DATASETS)).state == pb.RUN_STATE_SUCCEEDED


async def test_g01_a_run_that_another_server_was_asked_to_cancel_takes_nothing_for_gone(
    store: Store,
) -> None:
    async with two_servers(store) as (mis, owner, rival):
        assert (await owner.sync(*DATASETS)).state == pb.RUN_STATE_SUCCEEDED
        mis.rows[STUDENTS][:1] = [student(99, "Joiner")]  # another one has left
        run = await cancelled_by(rival, owner, page=3)
        assert (run.state, outcome(run, STUDENTS).tombstoned) == (pb.RUN_STATE_CANCELLED, 0)
        assert await rival.live(kinds.KIND_STUDENT) == 58
        run = await rival.sync(*DATASETS)
        assert (run.state, outcome(run, STUDENTS).tombstoned) == (pb.RUN_STATE_SUCCEEDED, 1)
        records = await rival.records(kinds.KIND_STUDENT, tombstones=False)
        assert {each.student.surname for each in records} == {row["surname"] for row in mis.rows[STUDENTS]}
