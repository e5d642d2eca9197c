"""Schedules of a registration: one per layer, within bounds."""

from __future__ import annotations

import pytest

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School, SyncSchedule
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.registration import check_fields

FULL, WINDOW, CHANGES = pb.SYNC_LAYER_FULL, pb.SYNC_LAYER_WINDOW, pb.SYNC_LAYER_CHANGES


def told(*schedules: SyncSchedule) -> list[str]:
    """Return the fields of a registration with ``schedules`` that are refused."""
    violations = Violations()
    check_fields(School(schedules=schedules), ["schedules"], violations)
    try:
        violations.raise_any()
    except ServiceError as error:
        return [violation.field for violation in error.violations]
    return []


def test_one_schedule_per_layer_is_fine() -> None:
    assert told() == []
    assert (
        told(
            SyncSchedule(layer=FULL, every_minutes=44_640),
            SyncSchedule(layer=WINDOW, every_minutes=1, window_days=400),
            SyncSchedule(layer=CHANGES, every_minutes=5),
        )
        == []
    )


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (SyncSchedule(every_minutes=5), "layer"),
        (SyncSchedule(layer=pb.SYNC_LAYER_TARGETED, every_minutes=5), "layer"),
        (SyncSchedule(layer=CHANGES), "every_minutes"),
        (SyncSchedule(layer=CHANGES, every_minutes=-1), "every_minutes"),
        (SyncSchedule(layer=CHANGES, every_minutes=44_641), "every_minutes"),
        (SyncSchedule(layer=CHANGES, every_minutes=5, window_days=3), "window_days"),
        (SyncSchedule(layer=WINDOW, every_minutes=5), "window_days"),
        (SyncSchedule(layer=WINDOW, every_minutes=5, window_days=401), "window_days"),
    ],
)
def test_a_malformed_schedule_is_refused_by_its_field(schedule: SyncSchedule, field: str) -> None:
    fine = SyncSchedule(layer=FULL, every_minutes=60)
    assert told(fine, schedule) == [f"school.schedules[1].{field}"]


def test_a_second_schedule_of_a_layer_is_refused() -> None:
    changes = SyncSchedule(layer=CHANGES, every_minutes=5)
    assert told(changes, changes) == ["school.schedules[1].layer"]
    assert told(changes, changes, changes, changes) == ["school.schedules"]
