"""Operations as callers give them, right in every field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import action_of
from schoolgate_server.writeback.validation.shape import Today

ANN, BEN = f"stu_{1:032x}", f"stu_{2:032x}"
TEACHER, SUBJECT = f"stf_{1:032x}", f"sub_{1:032x}"
MARK, EVENT, RESULT = f"mrk_{1:032x}", f"beh_{1:032x}", f"asr_{1:032x}"

TODAY = Today(datetime(2026, 11, 2, 9, 30, tzinfo=UTC), ZoneInfo("Europe/London"))

_RIGHT: dict[str, dict[str, Any]] = {
    "record_behaviour_event": {
        "student_id": ANN,
        "type_code": "12",
        "occurred_at": "2026-11-02T09:15:00+00:00",
        "staff_id": TEACHER,
        "points": -1,
    },
    "record_attendance_mark": {
        "student_id": ANN,
        "date": "2026-11-02",
        "session": a.ATTENDANCE_SESSION_AM,
        "code": "/",
    },
    "record_assessment_result": {
        "student_id": ANN,
        "assessment_name": "Autumn",
        "result": "7+",
        "date": "2026-10-30",
    },
    "record_consent": {"student_id": ANN, "type_code": "PHOTO", "granted": True, "date": "2026-11-02"},
    "record_intervention_note": {
        "student_id": ANN,
        "type_code": "READ",
        "date": "2026-11-02",
        "note": "Read two chapters.\nWill go on.",
        "staff_id": TEACHER,
    },
    "deactivate_record": {"record_id": EVENT},
    "correct_record": {"record_id": MARK, "code": "L"},
}
OPERATIONS = tuple(_RIGHT)


def operation(name: str, **changes: Any) -> pb.WriteOperation:
    """Return an operation with ``changes``; ``None`` leaves a field out."""
    made = pb.WriteOperation()
    getattr(made, name).SetInParent()
    action = action_of(made)
    for field, value in {**_RIGHT[name], **changes}.items():
        if value is not None:
            setattr(action, field, value)
    return made


def mark(**changes: Any) -> pb.WriteOperation:
    return operation("record_attendance_mark", **changes)


def event(**changes: Any) -> pb.WriteOperation:
    return operation("record_behaviour_event", **changes)
