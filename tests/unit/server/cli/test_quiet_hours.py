from __future__ import annotations

import pytest

from schoolgate.v1.school_service_pb2 import (
    GetSchoolResponse,
    QuietHours,
    School,
    UpdateSchoolRequest,
    UpdateSchoolResponse,
)
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer

REGISTRATION = QuietHours(begins="08:30", ends="09:30")


@pytest.fixture(autouse=True)
def school(fake: FakeServer) -> None:
    present = School(school_id="oak", etag="7", time_zone="Europe/London", quiet_hours=[REGISTRATION])
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=present))
    fake.on("SchoolService/UpdateSchool", lambda request: UpdateSchoolResponse(school=request.school))


def asked(fake: FakeServer) -> list[QuietHours]:
    request = fake.requests[-1]
    assert isinstance(request, UpdateSchoolRequest)
    assert (list(request.update_mask.paths), request.school.etag) == (["quiet_hours"], "7")
    return list(request.school.quiet_hours)


def test_hours_are_shown_with_their_days(ask: Run) -> None:
    for command in ("quiet-hours", "show"):
        assert "08:30 to 09:30 on Mon, Tue, Wed, Thu, Fri" in " ".join(
            ask("school", command, "oak").out.split()
        )


def test_hours_are_given_in_place_of_earlier_ones(ask: Run, fake: FakeServer) -> None:
    ask("school", "quiet-hours", "oak", "08:40-09:10", "13:00-13:30", "--day", "1", "--day", "5")
    assert asked(fake) == [
        QuietHours(begins="08:40", ends="09:10", weekdays=[1, 5]),
        QuietHours(begins="13:00", ends="13:30", weekdays=[1, 5]),
    ]


def test_hours_over_midnight_are_two(ask: Run, fake: FakeServer) -> None:
    ask("school", "quiet-hours", "oak", "22:00-24:00", "00:00-06:00")
    assert asked(fake) == [
        QuietHours(begins="22:00", ends="24:00"),
        QuietHours(begins="00:00", ends="06:00"),
    ]


def test_hours_are_taken_off(ask: Run, fake: FakeServer) -> None:
    assert "none" in ask("school", "quiet-hours", "oak", "--off").out
    assert asked(fake) == []


@pytest.mark.parametrize("given", [("half past eight",), ("8:30-9:30",), ("08:30-09:30", "--off")])
def test_what_is_not_understood_asks_for_nothing(ask: Run, fake: FakeServer, given: tuple[str, ...]) -> None:
    assert ask("school", "quiet-hours", "oak", *given).status == 2
    assert not any(isinstance(request, UpdateSchoolRequest) for request in fake.requests)
