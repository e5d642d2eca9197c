"""Writes as a server answers them."""

from __future__ import annotations

from typing import Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import AUDIENCE_OPERATOR, FAILURE_TYPE_AUTH_INVALID, Failure

WRITE = "wrt_0123456789abcdef0123456789abcdef"
STUDENT = "stu_0123456789abcdef0123456789abcdef"
STAFF = "stf_0123456789abcdef0123456789abcdef"
PENDING, SYNCED = pb.WRITE_STATUS_PENDING_MIS_SYNC, pb.WRITE_STATUS_SYNCED
ATTENTION = pb.WRITE_STATUS_NEEDS_ATTENTION


def write_of(
    state: pb.WriteState.ValueType = pb.WRITE_STATE_PENDING,
    status: pb.WriteStatus.ValueType = PENDING,
    **changes: Any,
) -> pb.Write:
    event = pb.RecordBehaviourEvent(
        student_id=STUDENT,
        type_code="HW",
        occurred_at="2026-09-10T11:20:00+01:00",
        staff_id=STAFF,
        points=-1,
        comment="No homework",
    )
    write = pb.Write(
        write_id=WRITE,
        school_id="oak",
        idempotency_key="auto-1",
        operation=pb.WriteOperation(record_behaviour_event=event),
        operation_name="record_behaviour_event",
        state=state,
        status=status,
        submitted_by="tutor-app",
        environment="production",
        **changes,
    )
    for name, second in (("submitted_at", 1), ("updated_at", 2)):
        getattr(write, name).FromJsonString(f"2026-09-10T10:30:0{second}Z")
    write.expires_at.FromJsonString("2026-09-11T10:30:00Z")
    return write


def confirmed() -> pb.Write:
    attempt = pb.WriteAttempt(
        number=1,
        correlation_id="call-7",
        outcome=pb.WriteAttempt.OUTCOME_ACCEPTED,
        sent=pb.WritePayload(target="POST BehaviourEventRecords", body='{"studentId": 7}'),
        response='{"id": 4711}',
    )
    attempt.started_at.FromJsonString("2026-09-10T10:30:01Z")
    attempt.ended_at.FromJsonString("2026-09-10T10:30:01.400Z")
    return write_of(
        pb.WRITE_STATE_CONFIRMED,
        SYNCED,
        mis_ids=["4711"],
        record_ids=["beh_0123456789abcdef0123456789abcdef"],
        confirmed_seq=12,
        attempts=[attempt],
    )


def undecided() -> pb.Write:
    why = Failure(
        type=FAILURE_TYPE_AUTH_INVALID,
        message="the MIS refused the secret",
        audience=AUDIENCE_OPERATOR,
        remediation="Correct it.",
    )
    return write_of(pb.WRITE_STATE_NEEDS_ATTENTION, ATTENTION, failure=why)
