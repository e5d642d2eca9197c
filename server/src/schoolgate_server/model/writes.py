"""Writes as the ledger keeps them, the table of operations, and which states may follow which."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import Failure
from schoolgate.v1.kind_pb2 import (
    KIND_ASSESSMENT_RESULT,
    KIND_ATTENDANCE_MARK,
    KIND_BEHAVIOUR_EVENT,
    Kind,
)

_WRITES = uuid.UUID("2f1c0a52-8d8c-5b0e-8f4e-0f4b8a5d7c31")
"""Namespace of all writes; changing it would let a key take effect a second time."""


class OperationInfo(NamedTuple):
    """What is fixed about one operation.

    ``kind`` is that of the record that it makes, where the canonical model has one. ``order`` names the
    fields of what it is about: writes of one school that agree in them are sent one after the other.
    """

    name: str
    kind: Kind.ValueType | None
    order: tuple[str, ...]


OPERATIONS: Mapping[str, OperationInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            # The pupil, and what else tells two events apart for a MIS that knows no id of ours: of two that
            # are the same the second must not be taken for the first.
            OperationInfo(
                "record_behaviour_event",
                KIND_BEHAVIOUR_EVENT,
                ("student_id", "type_code", "occurred_at", "staff_id"),
            ),
            OperationInfo(
                "record_attendance_mark",
                KIND_ATTENDANCE_MARK,
                ("student_id", "date", "session", "period_name"),
            ),
            OperationInfo(
                "record_assessment_result",
                KIND_ASSESSMENT_RESULT,
                ("student_id", "assessment_name", "subject_id"),
            ),
            OperationInfo("record_consent", None, ("student_id", "type_code")),
            OperationInfo("record_intervention_note", None, ("student_id", "type_code", "date", "staff_id")),
            OperationInfo("deactivate_record", None, ("record_id",)),
            OperationInfo("correct_record", None, ("record_id",)),
        )
    }
)
"""Every operation by its name, which is that of its field in ``WriteOperation``."""

_FOLLOWING: Mapping[pb.WriteState.ValueType, frozenset[pb.WriteState.ValueType]] = MappingProxyType(
    {
        pb.WRITE_STATE_PENDING: frozenset(
            {
                pb.WRITE_STATE_SENDING,
                pb.WRITE_STATE_CANCELLED,
                pb.WRITE_STATE_FAILED,
                pb.WRITE_STATE_REJECTED,
                pb.WRITE_STATE_NEEDS_ATTENTION,
                pb.WRITE_STATE_SENT,  # a stalled server comes with the receipt after all
            }
        ),
        pb.WRITE_STATE_SENDING: frozenset(
            {
                pb.WRITE_STATE_SENT,
                pb.WRITE_STATE_PENDING,
                pb.WRITE_STATE_UNKNOWN,
                pb.WRITE_STATE_REJECTED,
                pb.WRITE_STATE_FAILED,
                pb.WRITE_STATE_NEEDS_ATTENTION,
            }
        ),
        pb.WRITE_STATE_UNKNOWN: frozenset(
            {
                pb.WRITE_STATE_SENT,
                pb.WRITE_STATE_PENDING,
                pb.WRITE_STATE_NEEDS_ATTENTION,
                pb.WRITE_STATE_SENDING,  # again under a key that the MIS heeds; it is not queued meanwhile
            }
        ),
        pb.WRITE_STATE_SENT: frozenset(
            {
                pb.WRITE_STATE_CONFIRMED,
                pb.WRITE_STATE_DIVERGED,
                pb.WRITE_STATE_NEEDS_ATTENTION,
                pb.WRITE_STATE_REVERSED,  # undone before its record had come
            }
        ),
        pb.WRITE_STATE_NEEDS_ATTENTION: frozenset(
            {
                pb.WRITE_STATE_SENT,
                pb.WRITE_STATE_CONFIRMED,
                pb.WRITE_STATE_PENDING,
                pb.WRITE_STATE_FAILED,
                pb.WRITE_STATE_REVERSED,  # undone while nobody knew whether its record would come
            }
        ),
        pb.WRITE_STATE_CONFIRMED: frozenset({pb.WRITE_STATE_DIVERGED, pb.WRITE_STATE_REVERSED}),
        pb.WRITE_STATE_DIVERGED: frozenset({pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_REVERSED}),
        pb.WRITE_STATE_REJECTED: frozenset(),
        # The MIS took it, as a stalled server tells that comes with the receipt only now.
        pb.WRITE_STATE_FAILED: frozenset({pb.WRITE_STATE_SENT, pb.WRITE_STATE_NEEDS_ATTENTION}),
        pb.WRITE_STATE_REVERSED: frozenset(),
        pb.WRITE_STATE_CANCELLED: frozenset({pb.WRITE_STATE_SENT, pb.WRITE_STATE_NEEDS_ATTENTION}),
    }
)
"""From each state, those that may follow."""

_STATUS: Mapping[pb.WriteState.ValueType, pb.WriteStatus.ValueType] = MappingProxyType(
    {
        pb.WRITE_STATE_PENDING: pb.WRITE_STATUS_PENDING_MIS_SYNC,
        pb.WRITE_STATE_SENDING: pb.WRITE_STATUS_PENDING_MIS_SYNC,
        pb.WRITE_STATE_SENT: pb.WRITE_STATUS_PENDING_MIS_SYNC,
        pb.WRITE_STATE_UNKNOWN: pb.WRITE_STATUS_PENDING_MIS_SYNC,
        pb.WRITE_STATE_CONFIRMED: pb.WRITE_STATUS_SYNCED,
        pb.WRITE_STATE_NEEDS_ATTENTION: pb.WRITE_STATUS_NEEDS_ATTENTION,
        pb.WRITE_STATE_REJECTED: pb.WRITE_STATUS_NEEDS_ATTENTION,
        pb.WRITE_STATE_FAILED: pb.WRITE_STATUS_NEEDS_ATTENTION,
        pb.WRITE_STATE_DIVERGED: pb.WRITE_STATUS_NEEDS_ATTENTION,
        pb.WRITE_STATE_CANCELLED: pb.WRITE_STATUS_WITHDRAWN,
        pb.WRITE_STATE_REVERSED: pb.WRITE_STATUS_WITHDRAWN,
    }
)

OPEN = frozenset(
    {
        pb.WRITE_STATE_PENDING,
        pb.WRITE_STATE_SENDING,
        pb.WRITE_STATE_SENT,
        pb.WRITE_STATE_UNKNOWN,
        pb.WRITE_STATE_NEEDS_ATTENTION,
    }
)
"""States from which a write has yet to come to its end."""

LEFT = frozenset({pb.WRITE_STATE_SENDING, pb.WRITE_STATE_SENT, pb.WRITE_STATE_UNKNOWN})
"""States of a write that has left, or may have, and of which it is not known what came of it."""


class WriteConditions(NamedTuple):
    """Which writes are listed: those for which each condition holds that is given.

    ``states`` that are empty mean all. ``mis_id`` is one that the MIS gave what came to be, ``record_id`` the
    record of it, and ``student_id`` the record of the pupil that the write is about.
    """

    states: frozenset[pb.WriteState.ValueType] = frozenset()
    mis_id: str = ""
    record_id: str = ""
    student_id: str = ""
    idempotency_key: str = ""


class SealedContent(NamedTuple):
    """What an attempt sent and was answered, as the store has it: ``sealed`` is ``plain`` encrypted."""

    plain: bytes
    sealed: bytes


class IllegalMove(RuntimeError):
    """A write was to go from one state into another that cannot follow: a defect."""


@dataclass(slots=True)
class WriteEntry:
    """One write with what only the engine needs.

    ``write`` is the public message. Its operation, and what was sent and answered, are sealed apart where the
    store keeps them. ``slot`` is what it is about: of open writes in one slot, the one with the smallest
    ``position`` goes first. ``due_at`` is when somebody is to look at it next; ``None`` where nothing is to
    be done.

    ``sending_until`` is when the attempt at work must have ended, by the sender's own doing.
    ``first_left_at`` is when the first attempt began that may have left. ``settles_at`` is from when on its
    absence in the MIS proves something. ``keys`` are the encoded source keys of what came to be; ``found``
    says that the MIS has been seen to have it. ``seq_sent`` is the school's published seq when it was sent;
    ``looks`` counts what was done in vain in its present state. ``sent_to`` says, opaque, to which MIS: what
    may have left for one is not looked for in another.

    ``voided`` is the number of the last attempt that a person has said had no effect: what it came to, and
    those before it, counts no more. ``vouched`` says that a person has said that the write took effect.
    ``requeued_at`` is when a person last said that it is to be sent again.

    ``sealed`` is the store's own: what it has encrypted of the attempts, by their numbers, and under 0 of
    what came to be.
    """

    write: pb.Write
    slot: str = ""
    position: int = 0
    student_id: str = ""
    due_at: datetime | None = None
    sending_until: datetime | None = None
    first_left_at: datetime | None = None
    settles_at: datetime | None = None
    keys: list[str] = field(default_factory=list[str])
    found: bool = False
    seq_sent: int = 0
    looks: int = 0
    sent_to: str = ""
    voided: int = 0
    vouched: bool = False
    requeued_at: datetime | None = None
    sealed: dict[int, SealedContent] = field(
        default_factory=dict[int, SealedContent], repr=False, compare=False
    )

    @property
    def write_id(self) -> str:
        """The write's id."""
        return self.write.write_id

    @property
    def school_id(self) -> str:
        """The school."""
        return self.write.school_id

    @property
    def attempt(self) -> pb.WriteAttempt:
        """The latest attempt; raises ``IndexError`` where there is none."""
        return self.write.attempts[-1]

    def move(
        self,
        state: pb.WriteState.ValueType,
        now: datetime,
        *,
        failure: Failure | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Go into ``state``, for the reason ``failure`` where there is one.

        Raises:
            IllegalMove: that state cannot follow.
        """
        if state != self.write.state:
            if state not in _FOLLOWING[self.write.state]:
                before, after = pb.WriteState.Name(self.write.state), pb.WriteState.Name(state)
                raise IllegalMove(f"a write in {before} cannot go into {after}")
            self.looks = 0
        self.write.state, self.write.status = state, _STATUS[state]
        self.write.ClearField("failure")
        if failure is not None:
            self.write.failure.CopyFrom(failure)
        self.due_at = due_at
        self.touch(now)

    def touch(self, now: datetime) -> None:
        """Note that the write changes now."""
        self.write.updated_at.FromDatetime(now)


def status_of(state: pb.WriteState.ValueType) -> pb.WriteStatus.ValueType:
    """Return what a state is called for people."""
    return _STATUS[state]


def operation_name(operation: pb.WriteOperation) -> str:
    """Return the name of the operation that is set; empty where none is."""
    return operation.WhichOneof("operation") or ""


def action_of(operation: pb.WriteOperation) -> Message:
    """Return the operation that is set; raises ``ValueError`` where none is."""
    name = operation_name(operation)
    if not name:
        raise ValueError("no operation is set")
    action: Message = getattr(operation, name)
    return action


def normalised(operation: pb.WriteOperation) -> pb.WriteOperation:
    """Return an operation with its moment in UTC: one moment is one, however it is written.

    What is no moment with an offset stays as it is, and so does what has no action.
    """
    same = pb.WriteOperation()
    same.CopyFrom(operation)
    name = operation_name(same)
    action: Any = getattr(same, name) if name else same
    if "occurred_at" in action.DESCRIPTOR.fields_by_name:
        action.occurred_at = _in_utc(action.occurred_at)
    return same


def slot_of(operation: pb.WriteOperation) -> str:
    """Return what an operation is about, opaque: writes about the same keep their order.

    It says nothing to who reads it, for it is stored beside what is encrypted.
    """
    return _digest(operation_name(operation), *_about(operation))


def derived_key(school_id: str, operation: pb.WriteOperation, source_record_id: str) -> str:
    """Return the idempotency key of an action that came without one: the same action has the same key.

    The caller's record that it comes from says which action it is, with what it is about: whatever else it
    says then is another content under the same key. Without one it is the whole of what it says.
    """
    if source_record_id:
        said = _about(operation)
    else:
        said = [action_of(normalised(operation)).SerializeToString(deterministic=True).hex()]
    return f"auto-{_digest(school_id, operation_name(operation), *said, source_record_id)}"


def _about(operation: pb.WriteOperation) -> list[str]:
    action = action_of(normalised(operation))
    return [str(getattr(action, field)) for field in OPERATIONS[operation_name(operation)].order]


def _in_utc(moment: str) -> str:
    try:
        at = datetime.fromisoformat(moment)
        return moment if at.tzinfo is None else at.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return moment


def write_id_of(school_id: str, idempotency_key: str) -> str:
    """Return the id of the write under a key: one key has one write, whoever asks and how often."""
    named = f"{school_id}\n{idempotency_key}"  # a school's id has no line ends
    return f"wrt_{uuid.uuid5(_WRITES, named).hex}"


def _digest(*parts: str) -> str:
    sha = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        sha.update(len(encoded).to_bytes(4, "big") + encoded)
    return sha.hexdigest()[:40]
