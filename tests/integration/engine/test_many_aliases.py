"""A school whose aliases are too many to be held: rows find their records all the same."""

from __future__ import annotations

import uuid

import orjson
import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.ingest import identity
from schoolgate_server.store.store import Store
from tests.support.changing import ChangingMis, changing_connector
from tests.support.engine import SCHOOL, Engine, engine_over, outcome, record_id
from tests.support.scripted import MARKS, STUDENTS, key_of, mark, student

PUPILS = 30


def pupil(number: int) -> str:
    return record_id(kinds.KIND_STUDENT, STUDENTS, number)


def filled() -> ChangingMis:
    mis = ChangingMis()
    mis.rows[STUDENTS] = [student(n, f"Surname {n}", person=100 + n) for n in range(1, PUPILS + 1)]
    mis.rows[MARKS] = [mark(n, "2026-10-01") for n in range(1, PUPILS + 1)]
    return mis


async def merge(engine: Engine, merged: int, survivor: int) -> None:
    data = {"type": "merge", "merged_id": pupil(merged), "survivor_id": pupil(survivor)}
    run = await engine.supervisor.start_operation(SCHOOL, orjson.dumps(data), str(uuid.uuid4()), "tests")
    assert (await engine.finish(run.run_id)).state == pb.RUN_STATE_SUCCEEDED


async def changes(engine: Engine) -> pb.DatasetRun:
    accepted = await engine.supervisor.start_sync(
        SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_CHANGES
    )
    return outcome(await engine.finish(accepted.run_id), STUDENTS)


@pytest.fixture(params=["held", "looked up"])
def are_held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether aliases are held, or looked up and forgotten after each look."""
    if request.param == "looked up":
        monkeypatch.setattr(identity, "MOST_HELD", 0)
        monkeypatch.setattr(identity, "MOST_REMEMBERED", 0)
    return bool(request.param == "held")


async def test_g03_rows_find_their_records_by_aliases_that_are_looked_up(
    store: Store, are_held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where a look-up left out linked keys, further keys, or what rows refer to."""
    mis = filled()
    looks = 0
    of_keys = type(store.identities).of_keys

    async def counted(self: object, *given: object) -> object:
        nonlocal looks
        looks += 1
        return await of_keys(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store.identities), "of_keys", counted)
    async with engine_over(store, mis, connector=changing_connector(mis)) as engine:
        await engine.sync(STUDENTS, MARKS)
        await merge(engine, 2, 1)
        run = await engine.sync(STUDENTS, MARKS)
        assert (run.state, run.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_before)
        # A new number with the further key of a pupil, whose own row is gone; a change of a merged row.
        mis.drop(STUDENTS, student(5))
        mis.put(STUDENTS, student(500, "Surname 5", person=105))
        for number in (1, 2):
            mis.put(STUDENTS, student(number, "Okafor", person=100 + number))
        for number in (7, 8):  # all that the overlap of a read of changes goes back to
            mis.put(STUDENTS, student(number, f"Surname {number}", person=100 + number))
        part = outcome(await engine.sync(STUDENTS, MARKS), STUDENTS)
        assert (part.updated, part.created, part.tombstoned) == (2, 0, 0)
        assert await engine.live(kinds.KIND_STUDENT) == PUPILS - 1
        record = await store.records.get(SCHOOL, pupil(5))
        assert record is not None
        assert len(record.source_keys) == 3
        # A read of changes, one of them a deletion, and one of what a notification names.
        mis.drop(STUDENTS, student(9))
        mis.put(STUDENTS, student(7, "Reid", person=107))
        part = await changes(engine)
        assert (part.state, part.layer) == (pb.DATASET_STATE_SUCCEEDED, pb.SYNC_LAYER_UNSPECIFIED)
        assert (part.updated, part.tombstoned) == (1, 1)
        mis.put(STUDENTS, student(6, "Reid", person=106))
        told = await engine.supervisor.notify(
            SCHOOL, kinds.KIND_STUDENT, [key_of(STUDENTS, {"id": 6})], str(uuid.uuid4()), "tests"
        )
        assert outcome(await engine.finish(told.run_id), STUDENTS).updated == 1
        run = await engine.sync(STUDENTS, MARKS)
        assert (run.state, run.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_before)
        mis.drop(STUDENTS, student(10))
        assert outcome(await engine.sync(STUDENTS, MARKS), STUDENTS).tombstoned == 1
    assert (looks == 0) == are_held
