"""Dated records whose day changes across the edge of what is read, under keys that do not hold the day."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_OUT_OF_SCOPE, Record
from schoolgate_sdk import Connector, Parsed, Row, Scope, SourceKey, source_key
from schoolgate_server.store.store import Store
from tests.support.changing import ChangingMis, ChangingSession, changing_connector
from tests.support.engine import SCHOOL, Engine, engine_over, outcome, record_id
from tests.support.scripted import MARKS

DAYS = [(date(2026, 9, 1) + timedelta(days=number)).isoformat() for number in range(60)]


def parse(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    mark = AttendanceMark(date=row["date"], code=row["code"], period_name="AM")
    yield Parsed(kinds.KIND_ATTENDANCE_MARK, source_key("scripted/marks", row["n"]), mark)


class NumberedMarks(ChangingSession):
    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        wanted = {key.parts for key in keys}
        return [row for row in self._mis.rows[scope.dataset] if (row["n"],) in wanted]


def connector_of(mis: ChangingMis) -> Connector:
    plain = changing_connector(mis, NumberedMarks)
    datasets = (replace(each, parser=parse) if each.name == MARKS else each for each in plain.datasets)
    return replace(plain, datasets=tuple(datasets))


async def window(engine: Engine) -> pb.DatasetRun:
    accepted = await engine.supervisor.start_sync(
        SCHOOL,
        [MARKS],
        str(uuid.uuid4()),
        "tests",
        layer=pb.SYNC_LAYER_WINDOW,
        date_from=DAYS[40],
        date_to=DAYS[50],
    )
    return outcome(await engine.finish(accepted.run_id), MARKS)


async def mark_of(engine: Engine, number: int) -> Record:
    wanted = record_id(kinds.KIND_ATTENDANCE_MARK, MARKS, number)
    return next(each for each in await engine.records(kinds.KIND_ATTENDANCE_MARK) if each.id == wanted)


@pytest.mark.parametrize(("number", "to"), [(41, 10), (10, 41)], ids=["out of the window", "into it"])
async def test_g01_a_mark_that_moves_across_a_windows_edge_lives(store: Store, number: int, to: int) -> None:
    """Seen to fail: out of the window it was tombstoned, and into it the whole dataset failed."""
    mis = ChangingMis()
    mis.rows[MARKS] = [{"n": n, "date": day, "code": "/"} for n, day in enumerate(DAYS)]
    async with engine_over(store, mis, connector=connector_of(mis)) as engine:
        assert (await engine.sync(MARKS)).state == pb.RUN_STATE_SUCCEEDED
        mis.rows[MARKS][number]["date"] = DAYS[to]
        part = await window(engine)
        assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 0)
        await engine.sync(MARKS)
        found = await mark_of(engine, number)
        assert (found.HasField("tombstone"), found.attendance_mark.date) == (False, DAYS[to])
        assert await engine.live(kinds.KIND_ATTENDANCE_MARK) == len(DAYS)


async def test_g08_a_mark_that_moves_out_of_the_year_is_out_of_scope(store: Store) -> None:
    mis = ChangingMis()
    mis.rows[MARKS] = [{"n": n, "date": day, "code": "/"} for n, day in enumerate(DAYS)]
    async with engine_over(store, mis, connector=connector_of(mis)) as engine:
        await engine.sync(MARKS)
        mis.rows[MARKS][5]["date"] = "2027-10-01"
        part = outcome(await engine.sync(MARKS), MARKS)
        assert (part.state, part.tombstoned) == (pb.DATASET_STATE_SUCCEEDED, 1)
        assert (await mark_of(engine, 5)).tombstone.reason == TOMBSTONE_REASON_OUT_OF_SCOPE
