"""Reads of changes after which the MIS does not answer about what it deleted."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Row, Scope, SourceKey, Transient
from schoolgate_server.store.store import Store
from tests.support.changing import ChangingMis, ChangingSession, changing_connector
from tests.support.engine import SCHOOL, engine_over, outcome
from tests.support.scripted import STUDENTS, student


class MuteSession(ChangingSession):
    """Answers nothing about single entities."""

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        raise Transient("HTTP 502")


async def test_what_is_stored_is_counted_where_the_mis_does_not_answer_about_deletions(store: Store) -> None:
    """Seen to fail where rows were counted only once all was decided: nothing seemed to be written."""
    mis = ChangingMis()
    mis.rows[STUDENTS] = [student(number, f"Surname{number}") for number in range(60)]
    async with engine_over(store, mis, connector=changing_connector(mis, MuteSession)) as engine:
        await engine.sync(STUDENTS)
        mis.put(STUDENTS, student(3, "Okafor"))
        mis.drop(STUDENTS, student(7))
        accepted = await engine.supervisor.start_sync(
            SCHOOL, (STUDENTS,), str(uuid.uuid4()), "tests", layer=pb.SYNC_LAYER_CHANGES
        )
        run = await engine.finish(accepted.run_id)
        part = outcome(run, STUDENTS)
        assert part.state == pb.DATASET_STATE_FAILED
        assert run.seq_after == run.seq_before + 1
        assert (part.updated, part.tombstoned) == (1, 0)
        position = await engine.store.checkpoints.get(SCHOOL, STUDENTS)
        assert position is not None
        assert position.cursor == "0", "the deletion comes again"
