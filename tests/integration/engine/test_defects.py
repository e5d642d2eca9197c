"""Whose fault it was is said truly, and nothing grows while a dataset does not succeed."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import EndOfSnapshot
from schoolgate_server.ingest.projection import LARGEST_RECORD
from schoolgate_server.mis.connections import connection_of
from tests.support.engine import SCHOOL, Engine, TickingClock, outcome
from tests.support.scripted import STUDENTS, ScriptedSession, student


async def raising(*_: Any) -> Any:
    raise KeyError("Ora Klein")


async def first_run(engine: Engine) -> None:
    engine.mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 31)]
    await engine.sync(STUDENTS)


async def test_a_defect_of_the_server_is_not_blamed_on_the_connector(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first_run(engine)
    monkeypatch.setattr(engine.store.decisions, "known", raising)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.failure.type) == (pb.DATASET_STATE_FAILED, failures.FAILURE_TYPE_INTERNAL)
    assert (part.failure.connector, part.failure.audience) == ("", failures.AUDIENCE_OPERATOR)
    assert "schoolgate failed: KeyError" in part.failure.message
    assert "Klein" not in part.failure.message


async def test_a_defect_of_the_connector_is_named_wherever_it_is_called(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first_run(engine)
    engine.mis.rows[STUDENTS].pop()
    monkeypatch.setattr(ScriptedSession, "read_back", raising)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert (part.state, part.failure.connector) == (pb.DATASET_STATE_FAILED, "scripted")
    assert part.failure.audience == failures.AUDIENCE_CONNECTOR_AUTHOR
    assert await engine.live(kinds.KIND_STUDENT) == 30


async def test_g09_an_oversized_record_is_a_decision_and_stops_nobody(engine: Engine) -> None:
    await first_run(engine)
    engine.mis.rows[STUDENTS][3]["surname"] = "x" * (LARGEST_RECORD + 1)
    engine.mis.rows[STUDENTS].append(student(99, "Joiner"))
    run = await engine.sync(STUDENTS)
    part = outcome(run, STUDENTS)
    assert (run.state, part.created, part.rejected_rows) == (pb.RUN_STATE_SUCCEEDED, 1, 1)
    [decision] = await engine.decisions(STUDENTS)
    assert decision.reason == diagnostics.DECISION_REASON_VALUE_INVALID
    assert await engine.live(kinds.KIND_STUDENT) == 31


async def test_retained_rows_do_not_pile_up_while_nothing_succeeds(engine: Engine) -> None:
    await first_run(engine)
    kept = await engine.store.database.collection("raw_pages").count({})
    engine.mis.ends = lambda dataset, rows: EndOfSnapshot(False)
    for number in range(4):
        engine.mis.rows[STUDENTS][0]["surname"] = f"Changed {number}"
        assert outcome(await engine.sync(STUDENTS), STUDENTS).state == pb.DATASET_STATE_INCOMPLETE
    assert await engine.store.database.collection("raw_pages").count({}) == kept


async def test_g16_a_connectors_contradiction_is_cut_like_its_errors(engine: Engine) -> None:
    await first_run(engine)
    engine.mis.ends = lambda dataset, rows: EndOfSnapshot(True, contradiction="x" * 5_000)
    part = outcome(await engine.sync(STUDENTS), STUDENTS)
    assert part.state == pb.DATASET_STATE_INCOMPLETE
    assert len(part.failure.message) <= 500


async def test_g16_secrets_that_come_with_a_new_address_never_go_to_the_old_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = engine.store, list[str]()

    async def move_meanwhile(school_id: str) -> dict[str, str]:
        if not seen:
            moved = School(school_id=school_id, settings={"base_url": "https://new.example"})
            await store.schools.update(moved, ["settings"], "44444444-4444-4444-8444-444444444444", b"")
        seen.append("read")
        return {"secret": "for the new address"}

    monkeypatch.setattr(store.credentials, "get", move_meanwhile)
    school = await store.schools.get(SCHOOL)
    connector = engine.supervisor.connectors.get("scripted")
    connection = await connection_of(store, TickingClock(), school, connector)
    assert connection.settings["base_url"] == "https://new.example"
    assert len(seen) == 2
