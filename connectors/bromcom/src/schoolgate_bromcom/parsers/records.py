"""Parsers of what is recorded about pupils: behaviour events with their types, and assessment results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.behaviour_pb2 import BehaviourEvent
from schoolgate.v1.kind_pb2 import (
    KIND_ASSESSMENT_RESULT,
    KIND_BEHAVIOUR_EVENT,
    KIND_GROUP,
    KIND_LOCAL_CODE,
    KIND_ROOM,
)
from schoolgate.v1.roll_pb2 import LocalCode
from schoolgate_bromcom import values
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.parsers import keys
from schoolgate_sdk import KeyPart, Parsed, Ref, Row, SourceKey

BEHAVIOUR_TYPE: Final = "behaviour_type"
"""The category of the local codes that ``BehaviourEvents`` yields."""


def parse_behaviour_type(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield a type of behaviour as a local code from a row of ``BehaviourEvents``.

    Events name their type by the same number (``BehaviourEvent.type_code``).
    """
    reader = RowReader(row)
    number = reader.key_number(settings["column_behaviour_type_id"])
    key = reader.key = SourceKey(keys.BEHAVIOUR_EVENT, (number,))
    code = LocalCode(
        category=BEHAVIOUR_TYPE,
        code=str(number),
        description=reader.configured_text(settings.get("column_behaviour_type_name", "")),
    )
    return (Parsed(KIND_LOCAL_CODE, key, code),)


def parse_behaviour_event(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the event from a row of ``BehaviourEventRecords``; 0 is no class, no room and nobody."""
    reader = RowReader(row)
    number = reader.key_number("eventRecordId")
    key = reader.key = SourceKey(keys.BEHAVIOUR_EVENT_RECORD, (number,))
    student, kind = reader.number("studentId"), reader.number("eventId")
    event = BehaviourEvent(
        type_code=None if kind is None else str(kind),
        occurred_at=reader.value("eventDate", values.moment),
        points=reader.value("adjustment", values.points),
        comment=reader.text("comment"),
        internal_comment=reader.text("internalComment"),
    )
    refs = [] if student is None else [*keys.student_ref(keys.STUDENT, student)]
    owner, group, room = (reader.number(name) for name in ("ownerId", "classId", "locationId"))
    if owner is not None:
        refs.append(keys.staff_ref(owner, settings, "owner_id_is_staff_id", keys.OWNER))
    if group is not None:
        space = keys.COLLECTION if settings.get("class_id_is_collection_id") == "yes" else keys.CLASS
        refs.append(Ref("group_id", KIND_GROUP, SourceKey(space, (group,))))
    if room is not None:
        refs.append(Ref("room_id", KIND_ROOM, SourceKey(keys.LOCATION, (room,))))
    return (Parsed(KIND_BEHAVIOUR_EVENT, key, event, tuple(refs)),)


def parse_assessment_result(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the result from a row of ``AssociationAssessmentResultsRaw``, which has no id.

    A result is known by pupil, assessment, subject, term and year group, so that one which is entered anew
    is the same result. The last three may be missing: the key says by a bit each which of them follow.
    """
    reader = RowReader(row)
    student = reader.key_number("studentId")
    assessment = reader.value("assessmentTypeName", values.short_name)
    if assessment is None:
        raise reader.key_missing("assessmentTypeName")
    subject, term, year_group = names = [
        reader.value(column, values.short_name) for column in ("subjectName", "termName", "yearGroupName")
    ]
    given = sum(1 << place for place, name in enumerate(names) if name)
    parts: tuple[KeyPart, ...] = (student, assessment, given, *(name for name in names if name))
    key = reader.key = SourceKey(keys.ASSESSMENT_RESULT, parts)
    result = AssessmentResult(
        assessment_name=assessment,
        result=reader.text("result"),
        is_grade=reader.flag("isGrade"),
        entered_on=reader.day("enteredDate"),
        term_name=term,
        year_group_code=year_group,
        subject_name=subject,
    )
    return (Parsed(KIND_ASSESSMENT_RESULT, key, result, keys.student_ref(keys.STUDENT, student)),)
