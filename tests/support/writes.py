"""Writes, and a seal, for tests of the ledger and of what stands on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import WriteEntry, operation_name, slot_of, status_of, write_id_of

START = datetime(2026, 9, 7, 8, 0, tzinfo=UTC)
BEHAVIOUR, MARK = "record_behaviour_event", "record_attendance_mark"
COMMENT = "Threw Zebedee's shoe"
PUPIL = "stu_1"


class ShiftSeal:
    """Hides what it is given well enough that a search for its text finds nothing, and says whose it is."""

    def __init__(self) -> None:
        self.sealed = 0

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        self.sealed += 1
        return bytes(byte ^ 0x55 for byte in school_id.encode() + b"\0" + plain)

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        owner, _, plain = bytes(byte ^ 0x55 for byte in sealed).partition(b"\0")
        assert owner.decode() == school_id
        return plain


def behaviour(student_id: str = PUPIL, comment: str = COMMENT) -> pb.WriteOperation:
    event = pb.RecordBehaviourEvent(student_id=student_id, type_code="B1", comment=comment, points=-1)
    return pb.WriteOperation(record_behaviour_event=event)


def mark(student_id: str = PUPIL, code: str = "L", date: str = "2026-09-07") -> pb.WriteOperation:
    made = pb.RecordAttendanceMark(student_id=student_id, date=date, code=code)
    return pb.WriteOperation(record_attendance_mark=made)


def new_write(
    key: str = "key-1",
    *,
    school: str = "oak",
    environment: str = "live",
    operation: pb.WriteOperation | None = None,
    state: pb.WriteState.ValueType = pb.WRITE_STATE_PENDING,
    minute: int = 0,
    **engine: Any,
) -> WriteEntry:
    """Return a write submitted ``minute`` minutes after the start; ``engine`` are fields of the entry."""
    operation = operation or behaviour()
    at = START + timedelta(minutes=minute)
    write = pb.Write(
        write_id=write_id_of(school, key),
        school_id=school,
        idempotency_key=key,
        operation=operation,
        state=state,
        status=status_of(state),
        environment=environment,
        operation_name=operation_name(operation),
        submitted_by="teacher-app",
    )
    write.submitted_at.FromDatetime(at)
    write.updated_at.FromDatetime(at)
    entry = WriteEntry(write, slot=slot_of(operation), position=minute + 1, student_id=PUPIL, due_at=at)
    for name, value in engine.items():
        setattr(entry, name, value)
    return entry


def attempted(entry: WriteEntry, number: int, *, body: str = "", response: str = "") -> None:
    """Add an attempt."""
    attempt = entry.write.attempts.add(number=number, correlation_id=f"corr-{number}", response=response)
    if body:
        attempt.sent.target, attempt.sent.body = "POST events", body
