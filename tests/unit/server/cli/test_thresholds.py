from __future__ import annotations

import pytest

from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STUDENT
from schoolgate.v1.school_service_pb2 import (
    GetSchoolResponse,
    HoldThreshold,
    School,
    UpdateSchoolRequest,
    UpdateSchoolResponse,
)
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer

STUDENTS = HoldThreshold(kind=KIND_STUDENT, deletions_fraction=0.2)
OTHERS = HoldThreshold(deletions_count=1500, updates_fraction=0.0)


@pytest.fixture(autouse=True)
def school(fake: FakeServer) -> None:
    present = School(school_id="oak", etag="7", hold_thresholds=[OTHERS, STUDENTS])
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=present))
    fake.on(
        "SchoolService/UpdateSchool",
        lambda request: UpdateSchoolResponse(school=request.school),
    )


def asked(fake: FakeServer) -> list[HoldThreshold]:
    request = fake.requests[-1]
    assert isinstance(request, UpdateSchoolRequest)
    assert (list(request.update_mask.paths), request.school.etag) == (["hold_thresholds"], "7")
    return list(request.school.hold_thresholds)


def test_what_is_set_is_shown_one_kind_after_the_other(ask: Run, fake: FakeServer) -> None:
    shown = "student: deletions fraction 0.2; every other kind: deletions count 1,500, updates fraction 0"
    for command in ("hold-when", "show"):
        assert shown in " ".join(ask("school", command, "oak").out.split())
    assert not any(isinstance(request, UpdateSchoolRequest) for request in fake.requests)


def test_a_school_without_thresholds_has_the_servers(ask: Run, fake: FakeServer) -> None:
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=School(school_id="oak")))
    assert "the server's defaults" in ask("school", "hold-when", "oak").out


def test_a_value_is_added_to_those_of_its_kind(ask: Run, fake: FakeServer) -> None:
    ask("school", "hold-when", "oak", "--kind", "student", "--updates-count", "0")
    merged = HoldThreshold(kind=KIND_STUDENT, deletions_fraction=0.2, updates_count=0)
    assert asked(fake) == [OTHERS, merged]


def test_a_kind_may_get_its_first(ask: Run, fake: FakeServer) -> None:
    outcome = ask("school", "hold-when", "oak", "--kind", "groups", "--deletions-fraction", "1")
    assert asked(fake) == [OTHERS, STUDENTS, HoldThreshold(kind=KIND_GROUP, deletions_fraction=1.0)]
    assert "group: deletions fraction 1" in outcome.out


def test_reset_forgets_what_there_was(ask: Run, fake: FakeServer) -> None:
    ask("school", "hold-when", "oak", "--kind", "student", "--reset")
    assert asked(fake) == [OTHERS]
    ask("school", "hold-when", "oak", "--reset", "--deletions-count", "5")
    assert asked(fake) == [STUDENTS, HoldThreshold(deletions_count=5)]


@pytest.mark.parametrize(
    "options",
    [
        ("--deletions-fraction", "1.5"),
        ("--updates-count", "-1"),
        ("--kind", "pupil", "--updates-count", "1"),
        ("--kind", "student"),
    ],
)
def test_what_makes_no_sense_ends_with_2(ask: Run, options: tuple[str, ...]) -> None:
    assert ask("school", "hold-when", "oak", *options).status == 2
