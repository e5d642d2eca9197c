"""policy: what is set, how it looks, and the switch that stops all writing."""

from __future__ import annotations

import grpc
import pytest

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import ListSchoolsResponse, School
from schoolgate_server.model.writes import OPERATIONS
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, refusal


def policies(*values: pb.WritePolicy.ValueType) -> list[pb.OperationPolicy]:
    found = [
        pb.OperationPolicy(operation=name, policy=value, set_by="head" if value > 1 else "")
        for name, value in zip(OPERATIONS, values, strict=False)
    ]
    for each in found:
        if each.set_by:
            each.set_at.FromJsonString("2026-09-01T08:00:00Z")
            each.daily_quota = 500
    return found


def test_policies_are_shown_per_operation(ask: Run, fake: FakeServer) -> None:
    shown = policies(pb.WRITE_POLICY_DRY_RUN, pb.WRITE_POLICY_OFF)
    fake.on(
        "WritebackService/GetWritePolicy",
        pb.GetWritePolicyResponse(policies=shown, environment="production"),
    )
    outcome = ask("policy", "get", "oak")
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["record_behaviour_event", "dry-run", "500", "2026-09-01", "08:00:00", "by", "head"] in lines
    assert ["record_attendance_mark", "off", "–"] in lines
    assert "environment is production" in outcome.err


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("behaviour", "record_behaviour_event"),
        ("record-attendance-mark", "record_attendance_mark"),
        ("deactivate_record", "deactivate_record"),
        ("all", ""),
    ],
)
def test_a_policy_is_set(ask: Run, fake: FakeServer, said: str, meant: str) -> None:
    answer = pb.SetWritePolicyResponse(policies=policies(pb.WRITE_POLICY_ON), environment="staging")
    fake.on("WritebackService/SetWritePolicy", answer)
    options = ("--quota", "500", "--environment", "staging", "--comment", "agreed")
    assert ask("policy", "set", "oak", said, "approval", *options).status == 0
    [request] = fake.requests
    assert (request.operation, request.policy) == (meant, pb.WRITE_POLICY_APPROVAL)
    assert (request.daily_quota, request.environment, request.comment) == (500, "staging", "agreed")


def test_an_operation_that_there_is_not_is_a_usage_error(ask: Run, fake: FakeServer) -> None:
    assert ask("policy", "set", "oak", "exclusion", "on").status == 2
    assert ask("policy", "set", "oak", "behaviour", "maybe").status == 2
    assert fake.requests == []


def test_stopping_one_school_shows_what_had_left(ask: Run, fake: FakeServer) -> None:
    answer = pb.SetWritePolicyResponse(queued=3, in_flight=2, cancelled=1200)
    fake.on("WritebackService/SetWritePolicy", answer)
    outcome = ask("policy", "stop", "oak", "--cancel")
    assert outcome.status == 0
    assert ["oak", "3", "2", "1,200"] in [line.split() for line in outcome.out.splitlines()]
    assert "`schoolgate writes watch`" in outcome.err
    [request] = fake.requests
    assert (request.operation, request.policy, request.cancel_queued) == ("", pb.WRITE_POLICY_OFF, True)


def test_g19_a_school_that_cannot_be_stopped_keeps_no_other_from_it(ask: Run, fake: FakeServer) -> None:
    schools = [School(school_id=name) for name in ("ash", "elm", "oak")]
    fake.on("SchoolService/ListSchools", ListSchoolsResponse(schools=schools))
    stopped: list[str] = []

    def stop(request: pb.SetWritePolicyRequest) -> pb.SetWritePolicyResponse:
        if request.school_id == "elm":
            raise refusal(grpc.StatusCode.PERMISSION_DENIED, "SCHOOL_FORBIDDEN", "no")
        stopped.append(request.school_id)
        return pb.SetWritePolicyResponse()

    fake.on("WritebackService/SetWritePolicy", stop)
    outcome = ask("policy", "stop", "--all-schools")
    assert (outcome.status, stopped) == (1, ["ash", "oak"])
    assert "not stopped: elm" in outcome.err


@pytest.mark.parametrize("arguments", [(), ("oak", "--all-schools")])
def test_what_is_to_be_stopped_must_be_said(ask: Run, fake: FakeServer, arguments: tuple[str, ...]) -> None:
    assert ask("policy", "stop", *arguments).status == 2
    assert fake.requests == []
