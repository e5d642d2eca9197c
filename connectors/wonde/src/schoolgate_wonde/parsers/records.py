"""Parsers of attendance codes, marks of sessions and of lessons, behaviours and achievements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.attendance_pb2 import (
    ATTENDANCE_SESSION_AM,
    ATTENDANCE_SESSION_LESSON,
    ATTENDANCE_SESSION_PM,
    AttendanceCode,
    AttendanceMark,
)
from schoolgate.v1.behaviour_pb2 import BehaviourEvent
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_CODE, KIND_ATTENDANCE_MARK, KIND_BEHAVIOUR_EVENT
from schoolgate_sdk import Parsed, Row, RowRejected
from schoolgate_wonde import values
from schoolgate_wonde.parsers import keys
from schoolgate_wonde.rows import RowReader

SESSION: Final = "attendance/session"
LESSON: Final = "attendance/lesson"
_SESSIONS: Final = {"AM": ATTENDANCE_SESSION_AM, "PM": ATTENDANCE_SESSION_PM}


def parse_attendance_code(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the code."""
    reader = RowReader(row, settings, "attendance-codes")
    key = reader.set_key(keys.ATTENDANCE_CODE, reader.key_id())
    code = AttendanceCode(code=reader.text("code"), description=reader.text("description"))
    return (Parsed(KIND_ATTENDANCE_CODE, key, code),)


def parse_mark(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the mark of a session, which is AM or PM, or of a lesson, which has the name of its period.

    Raises:
        RowRejected: a mark is nobody's or of no day, or the session is neither.
    """
    reader = RowReader(row, settings, SESSION, LESSON)
    key = reader.set_key(keys.ATTENDANCE, reader.resource, reader.key_id())
    student, date = reader.id("student"), reader.field("date", values.day)
    if student is None or date is None:
        raise _without(reader, "student" if student is None else "date")
    if reader.resource == SESSION:
        name = reader.text("session")
        session = _SESSIONS.get(name or "")
        if session is None:
            raise _without(reader, "session")
    else:
        name, session = reader.text("period_name"), ATTENDANCE_SESSION_LESSON
    late = reader.field("minutes_late", values.whole)
    mark = AttendanceMark(
        date=date,
        session=session,
        period_name=name,
        code=reader.text("code"),
        comment=reader.text("comment"),
        minutes_late=late,
    )
    return (Parsed(KIND_ATTENDANCE_MARK, key, mark, (keys.student_ref(student),)),)


def _without(reader: RowReader, what: str) -> RowRejected:
    reason = diagnostics.DECISION_REASON_VALUE_INVALID
    return RowRejected(reason, what, "is missing or not known, and a mark is nothing without it", reader.key)


def parse_behaviour(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the event from a behaviour or an achievement."""
    reader = RowReader(row, settings, "behaviours", "achievements")
    key = reader.set_key(keys.BEHAVIOUR, reader.resource, reader.key_id())
    event = BehaviourEvent(
        type_code=reader.text("type"),
        occurred_at=reader.field("date", values.moment),
        points=reader.field("points", values.whole),
        comment=reader.text("comment"),
    )
    student, employee = reader.id("student"), reader.id("employee")
    refs = [] if student is None else [keys.student_ref(student)]
    if employee is not None:
        refs.append(keys.staff_ref(employee))
    return (Parsed(KIND_BEHAVIOUR_EVENT, key, event, tuple(refs)),)
