"""What callers ask for in a history, and what they were told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_AM, ATTENDANCE_SESSION_PM
from schoolgate.v1.kind_pb2 import KIND_STAFF, KIND_STUDENT
from schoolgate_sdk import encode_key, source_key
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.writes import slot_of
from tests.simulation.server import SCHOOL

DAY = "2026-11-02"
MARK, RESULT = "record_attendance_mark", "record_assessment_result"
EVENT, NOTE = "record_behaviour_event", "record_intervention_note"
OPERATIONS = (MARK, RESULT, EVENT, NOTE)


@dataclass
class Asked:
    """One action under one key; ``twins`` says that another key has the same action.

    ``began`` and ``answered`` are seconds of the loop: when it was first asked for, and when a caller first
    heard that it is durable.
    """

    request: pb.SubmitWriteRequest
    began: float
    twins: bool = False
    answered: float | None = None
    write_id: str = ""

    @property
    def key(self) -> str:
        return self.request.idempotency_key

    @property
    def operation(self) -> str:
        return self.request.operation.WhichOneof("operation") or ""

    @property
    def slot(self) -> str:
        return slot_of(self.request.operation)


def new_asked(rng: Random, number: int, students: int, now: float) -> Asked:
    """Return an action that nobody has asked for, about few pupils, so that some are about the same thing."""
    minter = Minter(SCHOOL)
    student = minter.mint(KIND_STUDENT, encode_key(source_key("ledgermis/student", rng.randint(1, students))))
    staff = minter.mint(KIND_STAFF, encode_key(source_key("ledgermis/staff", 1)))
    operation = pb.WriteOperation()
    match rng.choice(OPERATIONS):
        case "record_attendance_mark":
            operation.record_attendance_mark.student_id = student
            operation.record_attendance_mark.date = DAY
            operation.record_attendance_mark.session = rng.choice(
                (ATTENDANCE_SESSION_AM, ATTENDANCE_SESSION_PM)
            )
            operation.record_attendance_mark.code = rng.choice(("/", "N", "L"))
        case "record_assessment_result":
            operation.record_assessment_result.student_id = student
            operation.record_assessment_result.assessment_name = rng.choice(("Reading", "Writing"))
            operation.record_assessment_result.result = str(number)
            operation.record_assessment_result.date = DAY
        case "record_behaviour_event":
            operation.record_behaviour_event.student_id = student
            operation.record_behaviour_event.type_code = rng.choice(("P1", "S2"))
            operation.record_behaviour_event.occurred_at = f"{DAY}T05:{number % 60:02}:00+00:00"
            operation.record_behaviour_event.staff_id = staff
            operation.record_behaviour_event.points = rng.choice((1, 2))
        case _:
            operation.record_intervention_note.student_id = student
            operation.record_intervention_note.type_code = f"N{number}"
            operation.record_intervention_note.date = DAY
            operation.record_intervention_note.staff_id = staff
            operation.record_intervention_note.note = "Read with Robin."
    return Asked(_request(operation, f"key-{number}"), now)


def twin_of(asked: Asked, number: int, now: float) -> Asked:
    """Return the same action under another key: it is to take effect a second time."""
    asked.twins = True
    return Asked(_request(asked.request.operation, f"key-{number}"), now, twins=True)


def orders(entries: Sequence[Asked]) -> list[tuple[Asked, Asked]]:
    """Return the pairs about one thing of which the first was durable before the second was asked for."""
    return [
        (first, second)
        for first in entries
        for second in entries
        if first.answered is not None and first.answered < second.began and first.slot == second.slot
    ]


def _request(operation: pb.WriteOperation, key: str) -> pb.SubmitWriteRequest:
    return pb.SubmitWriteRequest(
        school_id=SCHOOL, operation=operation, idempotency_key=key, source_record_id=key
    )
