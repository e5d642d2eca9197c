"""A change of MIS as callers meet it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncGenerator

import orjson
import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import identity_service_pb2 as i
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.second_mis import CLASSES, PEOPLE, REGISTER, SEATS, SECRET, SecondMis, second_connector
from tests.support.served import Client, Served, new_request_id, refused, served


def second_mis() -> SecondMis:
    mis = SecondMis()
    mis.rows[PEOPLE] = [{"uuid": f"p-{n}", "last": f"Surname{n:03}", "first": "A"} for n in range(20)]
    mis.rows[CLASSES] = [{"uuid": f"c-{n}", "name": f"7{n}"} for n in range(3)]
    mis.rows[SEATS] = [{"uuid": "s", "class": "c-0", "pupil": "p-0", "from": "2026-09-01"}]
    mis.rows[REGISTER] = [{"uuid": "m", "pupil": "p-0", "day": "2026-10-01", "code": "/"}]
    return mis


@pytest.fixture
async def running(store: Store, mis: ScriptedMis) -> AsyncGenerator[Served]:
    connectors = scripted_connector(mis), second_connector(second_mis())
    async with served(store, *connectors, clock=TickingClock()) as running:
        yield running


def wanted(**changes: object) -> i.PlanMisChangeRequest:
    fields: dict[str, object] = {
        "school_id": SCHOOL,
        "connector": "second",
        "settings": {"url": "https://second.example"},
        "credentials": {"password": SECRET},
        "request_id": new_request_id(),
    }
    return i.PlanMisChangeRequest(**{**fields, **changes})  # type: ignore[arg-type]


async def to_the_end(client: Client, run: pb.Run) -> pb.Run:
    latest = run
    async for state in client.sync.WatchRun(pb.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)):
        latest = state.run
    return latest


async def test_g16_a_school_moves_as_planned_and_nobody_sees_the_password(
    synced: Client, running: Served, store: Store
) -> None:
    """Neither in the run, nor in the plan, and the log knows it from the first moment."""
    request = wanted()
    planning = (await synced.identity.PlanMisChange(request)).run
    done = await to_the_end(synced, planning)
    assert (done.state, done.layer) == (pb.RUN_STATE_SUCCEEDED, pb.SYNC_LAYER_IDENTITY)
    again = (await synced.identity.PlanMisChange(request)).run
    assert again.run_id == planning.run_id
    # Credentials are no part of the digest that requests are told apart by, and count all the same.
    other = wanted(credentials={"password": f"{SECRET}-2"}, request_id=request.request_id)
    assert (await refused(synced.identity.PlanMisChange(other))).reason == "REQUEST_ID_REUSED"
    entry = await store.runs.get(SCHOOL, planning.run_id)
    carried = b64decode(orjson.loads(entry.operation)["sealed"])
    assert SECRET.encode() not in carried
    assert SECRET not in running.redactor.clean(f"with {SECRET}")

    plan = (await synced.identity.GetMisChangePlan(i.GetMisChangePlanRequest(school_id=SCHOOL))).plan
    assert plan.run_id == planning.run_id
    assert SECRET not in str(plan)
    order = i.ApplyMisChangeRequest(
        school_id=SCHOOL, digest=plan.digest, comment="moved", request_id=new_request_id()
    )
    applying = (await synced.identity.ApplyMisChange(order)).run
    assert (await to_the_end(synced, applying)).state == pb.RUN_STATE_SUCCEEDED
    assert (await synced.identity.ApplyMisChange(order)).run.run_id == applying.run_id
    school = (await synced.schools.GetSchool(s.GetSchoolRequest(school_id=SCHOOL))).school
    assert (school.connector, school.has_credentials) == ("second", True)
    failure = await refused(
        synced.identity.ApplyMisChange(
            i.ApplyMisChangeRequest(school_id=SCHOOL, digest=plan.digest, request_id=new_request_id())
        )
    )
    assert failure.reason == "MIS_CHANGE_PLAN_STALE"


async def test_a_plan_that_is_stale_or_none_is_refused_before_any_run(
    synced: Client, mis: ScriptedMis
) -> None:
    failure = await refused(synced.identity.GetMisChangePlan(i.GetMisChangePlanRequest(school_id=SCHOOL)))
    assert failure.reason == "MIS_CHANGE_PLAN_NOT_FOUND"
    await to_the_end(synced, (await synced.identity.PlanMisChange(wanted())).run)
    plan = (await synced.identity.GetMisChangePlan(i.GetMisChangePlanRequest(school_id=SCHOOL))).plan
    mis.rows["students"][0]["surname"] = "Renamed"
    await synced.sync_to_the_end(SCHOOL)
    for digest in (plan.digest, "0" * 64):
        order = i.ApplyMisChangeRequest(school_id=SCHOOL, digest=digest, request_id=new_request_id())
        failure = await refused(synced.identity.ApplyMisChange(order))
        assert failure.reason == reasons.ErrorReason.Name(
            reasons.ERROR_REASON_MIS_CHANGE_PLAN_STALE
        ).removeprefix("ERROR_REASON_")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"connector": "nobody"}, "connector"),
        ({"settings": {"elsewhere": "x"}}, "settings"),
        ({"credentials": {}}, "credentials['password']"),
        ({"request_id": "1"}, "request_id"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_without_its_values(
    synced: Client, change: dict[str, object], field: str
) -> None:
    failure = await refused(synced.identity.PlanMisChange(wanted(**change)))
    assert list(failure.violations) == [field]
    assert SECRET not in failure.message
