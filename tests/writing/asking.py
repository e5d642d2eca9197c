"""The writes of the volume test: what is asked for, of which class, and who hears what of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_LESSON
from schoolgate.v1.kind_pb2 import KIND_STAFF, KIND_STUDENT
from schoolgate_sdk import WriteSafety, encode_key, source_key
from schoolgate_server.model.ids import Minter
from tests.support.write_mis.connector import NAME

DAY = str(datetime.now(UTC).date() - timedelta(days=1))


@dataclass
class Asked:
    """One action under one key of one school; ``write_id`` is known once somebody heard that it is durable.

    ``answers`` counts who was told, ``tries`` who asked.
    """

    school: str
    safety: WriteSafety
    request: pb.SubmitWriteRequest
    write_id: str = ""
    answers: int = 0
    tries: int = 0

    @property
    def key(self) -> str:
        return self.request.idempotency_key


def asked(school: str, safety: WriteSafety, number: int, pupils: int) -> Asked:
    """Return the ``number``-th action of a class; none of them is about the same thing as another."""
    minter = Minter(school)
    student = minter.mint(KIND_STUDENT, encode_key(source_key(f"{NAME}/student", number % pupils + 1)))
    staff = minter.mint(KIND_STAFF, encode_key(source_key(f"{NAME}/staff", 1)))
    operation, part = pb.WriteOperation(), number // pupils
    match safety:
        case WriteSafety.NATIVE_KEY:
            mark = operation.record_attendance_mark
            mark.student_id, mark.date, mark.code = student, DAY, "/"
            mark.session, mark.period_name = ATTENDANCE_SESSION_LESSON, f"P{part}"
        case WriteSafety.EXTERNAL_ID:
            result = operation.record_assessment_result
            result.student_id, result.date = student, DAY
            result.assessment_name, result.result = f"Test {part}", "7"
        case WriteSafety.NATURAL_KEY_READBACK:
            event = operation.record_behaviour_event
            event.student_id, event.staff_id = student, staff
            event.type_code, event.points = "P1", 1
            event.occurred_at = f"{DAY}T{part // 60 % 24:02}:{part % 60:02}:00+00:00"
        case WriteSafety.NONE:
            note = operation.record_intervention_note
            note.student_id, note.staff_id = student, staff
            note.date, note.note = DAY, "Read with Robin."
            note.type_code = f"N{part}"
    key = f"{school}/{safety.value}/{number}"
    request = pb.SubmitWriteRequest(
        school_id=school, operation=operation, idempotency_key=key, source_record_id=key
    )
    return Asked(school, safety, request)
