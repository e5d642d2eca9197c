from __future__ import annotations

import pytest

from schoolgate.v1.school_service_pb2 import (
    GetSchoolResponse,
    School,
    SyncSchedule,
    UpdateSchoolRequest,
    UpdateSchoolResponse,
)
from schoolgate.v1.sync_service_pb2 import SYNC_LAYER_CHANGES, SYNC_LAYER_FULL, SYNC_LAYER_WINDOW
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer

FULL = SyncSchedule(layer=SYNC_LAYER_FULL, every_minutes=1440)
WINDOW = SyncSchedule(layer=SYNC_LAYER_WINDOW, every_minutes=1, window_days=30)


@pytest.fixture(autouse=True)
def school(fake: FakeServer) -> None:
    present = School(school_id="oak", etag="7", schedules=[WINDOW, FULL])
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=present))
    fake.on(
        "SchoolService/UpdateSchool",
        lambda request: UpdateSchoolResponse(school=request.school),
    )


def asked(fake: FakeServer) -> list[SyncSchedule]:
    request = fake.requests[-1]
    assert isinstance(request, UpdateSchoolRequest)
    assert (list(request.update_mask.paths), request.school.etag) == (["schedules"], "7")
    return list(request.school.schedules)


def test_what_starts_by_itself_is_shown(ask: Run, fake: FakeServer) -> None:
    shown = "full every 1,440 minutes; window every 1 minute, 30 days back"
    for command in ("schedule", "show"):
        assert shown in " ".join(ask("school", command, "oak").out.split())
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=School(school_id="oak")))
    assert "nothing" in ask("school", "schedule", "oak").out


def test_a_layer_gets_a_schedule_in_place_of_its_earlier_one(ask: Run, fake: FakeServer) -> None:
    ask("school", "schedule", "oak", "window", "--every", "60", "--days", "14")
    assert asked(fake) == [FULL, SyncSchedule(layer=SYNC_LAYER_WINDOW, every_minutes=60, window_days=14)]
    outcome = ask("school", "schedule", "oak", "changes", "--every", "5")
    assert asked(fake) == [WINDOW, FULL, SyncSchedule(layer=SYNC_LAYER_CHANGES, every_minutes=5)]
    assert "changes every 5 minutes" in " ".join(outcome.out.split())


def test_a_layer_is_taken_off(ask: Run, fake: FakeServer) -> None:
    ask("school", "schedule", "oak", "full", "--off")
    assert asked(fake) == [WINDOW]


@pytest.mark.parametrize(
    "given", [("full",), ("full", "--every", "5", "--off"), ("targeted", "--every", "5")]
)
def test_what_is_not_understood_ends_with_2(ask: Run, given: tuple[str, ...]) -> None:
    assert ask("school", "schedule", "oak", *given).status == 2
