"""Rows that carry several records each, in a read of changes: a later row may overtake one of them only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.timetable_pb2 import Room
from schoolgate_sdk import Connector, KindSpec, Parsed, Row, source_key
from schoolgate_server.store.store import Store
from tests.support.changing import ChangingMis, changing_connector
from tests.support.engine import SCHOOL, Engine, engine_over, outcome
from tests.support.scripted import STUDENTS, parse_student, student

_ROOMS = "scripted/rooms"


def _with_room(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    """Yield the pupil, and the form room of which the row brings the name."""
    yield from parse_student(row, settings)
    yield Parsed(kinds.KIND_ROOM, source_key(_ROOMS, row["room"]), Room(name=row["named"]))


def connector_of(mis: ChangingMis) -> Connector:
    connector = changing_connector(mis)
    pupils = next(dataset for dataset in connector.datasets if dataset.name == STUDENTS)
    both = replace(pupils, kinds=(*pupils.kinds, KindSpec(kinds.KIND_ROOM, _ROOMS)), parser=_with_room)
    return replace(connector, datasets=(both,))


def pupil(number: int, named: str, surname: str = "Adeyemi") -> dict[str, Any]:
    return student(number, surname, room=1, named=named)


async def rooms(engine: Engine) -> list[str]:
    return [record.room.name for record in await engine.records(kinds.KIND_ROOM, tombstones=False)]


@pytest.mark.parametrize("names", [("Oak", "Elm"), ("Elm", "Oak")])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_g07_a_row_of_which_one_record_changed_again_is_left_to_a_whole_snapshot(
    store: Store, names: Sequence[str], order: Sequence[int]
) -> None:
    mis = ChangingMis()
    mis.rows[STUDENTS] = [pupil(number, "Ash") for number in range(1, 31)]
    async with engine_over(store, mis, connector=connector_of(mis)) as engine:
        await engine.sync(STUDENTS)
        for number, name in zip(order, names, strict=True):
            for row in mis.rows[STUDENTS]:
                row["named"] = name  # everybody's row shows it; that of one pupil is logged
            mis.put(STUDENTS, pupil(number, name, "Okafor"))
        accepted = await engine.supervisor.start_sync(
            SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_CHANGES
        )
        part = outcome(await engine.finish(accepted.run_id), STUDENTS)
        assert await rooms(engine) == [names[1]]
        assert (part.state, part.layer) == (pb.DATASET_STATE_SUCCEEDED, pb.SYNC_LAYER_FULL)
        assert "some changed again" in part.fallback
        assert part.updated == 3
        again = await engine.sync(STUDENTS)
        assert again.seq_before == again.seq_after
