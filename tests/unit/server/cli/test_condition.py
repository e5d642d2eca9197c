from __future__ import annotations

from datetime import UTC, datetime

from schoolgate.v1 import failure_pb2 as f
from schoolgate.v1.school_service_pb2 import GetSchoolResponse, School, SchoolCondition
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer


def test_what_is_wrong_with_a_school_is_shown_with_whom_to_ask(ask: Run, fake: FakeServer) -> None:
    condition = SchoolCondition(
        run_id="run_7",
        failure=f.Failure(
            type=f.FAILURE_TYPE_AUTH_REVOKED,
            message="access was withdrawn",
            audience=f.AUDIENCE_SCHOOL,
            remediation="Ask the school.",
        ),
        missing_entities=["Collections", "Staff"],
        refusals=3,
    )
    condition.schedules_wait_until.FromDatetime(datetime(2026, 11, 4, 12, 0, tzinfo=UTC))
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=School(school_id="oak"), condition=condition))
    out = " ".join(ask("school", "show", "oak").out.split())
    for part in (
        "run_7 did not succeed",
        "AUTH_REVOKED: access was withdrawn next: Ask the school. (school)",
        "not granted in run_7: Collections, Staff",
        "refused 3 times in a row",
        "schedules wait until 2026-11-0",
    ):
        assert part in out


def test_a_school_with_which_all_is_well_has_nothing_said_of_it(ask: Run, fake: FakeServer) -> None:
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=School(school_id="oak")))
    out = ask("school", "show", "oak").out
    assert "succeed" not in out
    assert "wait" not in out
