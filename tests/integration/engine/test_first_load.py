"""What a first load does besides storing rows, and what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Row
from schoolgate_server.ingest import pipeline
from schoolgate_server.ingest.projection import Projection, Projector
from schoolgate_server.store.records import Records
from schoolgate_server.store.store import Store
from schoolgate_server.sync import memos
from tests.support.changing import ChangingMis, changing_connector
from tests.support.engine import engine_over, outcome
from tests.support.scripted import MARKS, mark

DAYS = [f"2026-{month:02d}-{day:02d}" for month in (9, 10, 11) for day in range(1, 31)]


def marks(pupils: int) -> list[dict[str, Any]]:
    return [mark(pupil, day) for pupil in range(1, pupils + 1) for day in DAYS]


async def test_marks_are_looked_up_only_once_there_are_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    states_of = Records.states_of

    def noting(self: Records, school_id: str, record_ids: Sequence[str]) -> Any:
        asked.append(len(record_ids))
        return states_of(self, school_id, record_ids)

    monkeypatch.setattr(Records, "states_of", noting)
    mis = ChangingMis()
    mis.rows[MARKS] = marks(1)
    async with engine_over(store, mis, connector=changing_connector(mis)) as engine:
        first = await engine.sync(MARKS)
        assert (first.state, outcome(first, MARKS).created) == (pb.RUN_STATE_SUCCEEDED, len(DAYS))
        assert not asked
        mis.rows[MARKS] = marks(2)
        second = await engine.sync(MARKS)
        assert (second.state, outcome(second, MARKS).created) == (pb.RUN_STATE_SUCCEEDED, len(DAYS))
        assert sum(asked) == len(DAYS)  # they might be stored under days of another year
        assert len(await engine.records(kinds.KIND_ATTENDANCE_MARK)) == 2 * len(DAYS)


async def test_others_have_their_turns_while_rows_are_projected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with one turn after each slice, and where rows whose records are looked up had none."""
    longest = since = turns = 0
    between: list[int] = []
    project = Projector.project

    def counting(self: Projector, row: Row) -> Projection:
        nonlocal longest, since, turns
        if turns:
            between.append(turns)
        since, turns = since + 1, 0
        longest = max(longest, since)
        return project(self, row)

    async def look() -> None:
        nonlocal since, turns
        while True:
            since, turns = 0, turns + 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Projector, "project", counting)
    for module in (pipeline, memos):
        monkeypatch.setattr(module, "SLICE_ROWS", 3)
    mis = ChangingMis()
    async with engine_over(store, mis, connector=changing_connector(mis)) as engine:
        looking = asyncio.create_task(look())
        try:
            for pupils in (1, 2):  # once there are marks, further ones are looked up
                mis.rows[MARKS] = marks(pupils)
                assert (await engine.sync(MARKS)).state == pb.RUN_STATE_SUCCEEDED
        finally:
            looking.cancel()
    assert longest == 3
    assert len(between) > len(DAYS)
    assert min(between) >= 10  # what an operation of the driver takes until its next one leaves
