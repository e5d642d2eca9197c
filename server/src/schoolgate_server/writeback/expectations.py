"""What a record must say once a write has taken effect: pure comparison of an action with a canonical record.

Only fields that both have are compared: a school's data profile leaves out what it does not ask for, and a
MIS may keep less than it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime
from zoneinfo import ZoneInfo

from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_DELETED_IN_MIS,
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_UNKNOWN_ABSENCE,
    Record,
)
from schoolgate_server.model.writes import action_of, operation_name

DEACTIVATE = "deactivate_record"
BY_RECORD = frozenset({DEACTIVATE, "correct_record"})
"""Operations on a record that is there already, named by its id."""

_SAME_NAME = (
    "type_code",
    "points",
    "comment",
    "date",
    "session",
    "period_name",
    "code",
    "minutes_late",
    "assessment_name",
    "result",
)
"""Fields that actions and records call the same; the day of a result is not the day of its entry."""

_REFERENCES = ("student_id", "staff_id", "subject_id")

_GONE = (TOMBSTONE_REASON_DELETED_IN_MIS, TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_UNKNOWN_ABSENCE)
"""Reasons by which the MIS says that it has the record no longer; others are ours, or a merge."""

Same = Callable[[str], Collection[str]]
"""Returns every id that means the entity of a record id: after a merge there are several."""


def just_itself(record_id: str) -> Collection[str]:
    """Return ``record_id`` alone, as if nothing had been merged."""
    return (record_id,)


def is_gone(record: Record) -> bool:
    """Say whether the MIS has the record's entity no longer."""
    return record.HasField("tombstone") and record.tombstone.reason in _GONE


def differences(
    operation: pb.WriteOperation, record: Record, zone: ZoneInfo, same: Same = just_itself
) -> list[str]:
    """Return the names of what ``record`` has otherwise than the action says; none where it took effect."""
    is_deactivation = operation_name(operation) == DEACTIVATE
    if is_deactivation or is_gone(record):
        return [] if is_deactivation == is_gone(record) else ["presence"]
    member = record.WhichOneof("body")
    if member is None or record.HasField("tombstone"):
        return []
    action: Message = action_of(operation)
    body: Message = getattr(record, member)
    return [
        *(name for name in _SAME_NAME if not _agree(action, body, name)),
        *(name for name in _REFERENCES if not _refer(action, body, name, same)),
        *(["occurred_at"] if not _at_once(action, body, zone) else []),
    ]


def _has(message: Message, name: str) -> bool:
    """Whether a message says something in a field; a required one always does, an empty text nothing."""
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None or (field.has_presence and not message.HasField(name)):
        return False
    return getattr(message, name) != "" and not (field.enum_type is not None and not getattr(message, name))


def _agree(action: Message, body: Message, name: str) -> bool:
    if not (_has(action, name) and _has(body, name)):
        return True
    wanted, there = getattr(action, name), getattr(body, name)
    if isinstance(wanted, str) and isinstance(there, str):
        return wanted.split() == there.split()
    return bool(wanted == there)


def _refer(action: Message, body: Message, name: str, same: Same) -> bool:
    if not (_has(action, name) and _has(body, name)):
        return True
    wanted, there = getattr(action, name), getattr(body, name)
    return wanted == there or there in same(wanted)


def _at_once(action: Message, body: Message, zone: ZoneInfo) -> bool:
    """Whether both happened at the same time, as precisely as the MIS gives it."""
    if not (_has(action, "occurred_at") and _has(body, "occurred_at")):
        return True
    wanted: str = getattr(action, "occurred_at")  # noqa: B009 - which action it is, only its fields say
    there: str = getattr(body, "occurred_at")  # noqa: B009
    try:
        moment = datetime.fromisoformat(wanted)
        if len(there) <= len("2026-09-01"):
            return moment.astimezone(zone).date() == date.fromisoformat(there)
        shown = datetime.fromisoformat(there)
    except ValueError:
        return wanted == there
    shown = shown if shown.tzinfo is not None else shown.replace(tzinfo=zone)
    return moment.astimezone(zone).replace(second=0, microsecond=0) == shown.astimezone(zone).replace(
        second=0, microsecond=0
    )
