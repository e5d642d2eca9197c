"""G15: an owner that stalled before it pruned retained rows takes none of its successor's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import EndOfSnapshot
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.raw_pages import RawPages
from schoolgate_server.store.store import Store
from tests.support.engine import engine_over, outcome
from tests.support.reparsed import SHOUTED, connector_with_versions, promote, reproject_only
from tests.support.scripted import STUDENTS, ScriptedMis, student

PUPILS = 30


async def test_g15_a_pruning_that_comes_late_leaves_the_rows_of_a_later_snapshot(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later run found its rows kept already, by the run whose owner stalls before it prunes them."""
    mis, stalled = ScriptedMis(), list[tuple[Lease, str, Collection[bytes]]]()
    mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, PUPILS + 1)]

    async def stall(self: RawPages, *given: Any) -> None:
        stalled.append(given)

    async with engine_over(store, mis, connector=connector_with_versions(mis)) as engine:
        await engine.sync(STUDENTS)
        mis.rows[STUDENTS][3]["surname"] = "Okafor"
        with monkeypatch.context() as patch:
            patch.setattr(RawPages, "prune", stall)
            mis.ends = lambda dataset, rows: EndOfSnapshot(False)
            part = outcome(await engine.sync(STUDENTS), STUDENTS)
            assert part.state == pb.DATASET_STATE_INCOMPLETE
        mis.ends = lambda dataset, rows: EndOfSnapshot(True)
        assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
        [late] = stalled
        await store.raw_pages.prune(*late)
        await promote(store, SHOUTED)
        part = outcome(await reproject_only(engine), STUDENTS)
        assert (part.state, part.reprojected) == (pb.DATASET_STATE_SUCCEEDED, PUPILS)
