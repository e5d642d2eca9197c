"""Rows of behaviour and assessment, and of what their columns refer to.

Nothing public shows the columns of ``Locations`` and ``Subjects``, nor those of ``BehaviourEvents`` with the
names of the types: ``locationCode``, ``subjectCode`` and ``eventName`` are made up here, and the others are
those by which other entities name the same things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from schoolgate_bromcom.simulator.rows import Entity, TypedRow, View

SAVE_RESULT: Final = "simulatedSaveOfAResult"
"""The operation that saves a result. What Bromcom calls it is not public; this is nobody's name for it."""
TERMS: Final = {
    "Autumn": {"id": 31, "from": "2026-08-01", "to": "2027-01-01"},
    "Spring": {"id": 32, "from": "2027-01-01", "to": "2027-04-10"},
    "Summer": {"id": 33, "from": "2027-04-10", "to": "2027-08-01"},
}
ASSESSMENT_TYPES: Final = {
    name: 40 + number
    for number, name in enumerate(
        ("Reading age", *(f"{term} assessment" for term in TERMS), "Kit's own test"), start=1
    )
}
"""Also of the conformance kit's test, which it writes."""
YEAR_GROUPS: Final = {f"Year {year}": 100 + year for year in range(7, 14)}

SETTINGS: Final = {
    "employee_id_is_staff_id": "yes",
    "owner_id_is_staff_id": "yes",
    "class_id_is_collection_id": "yes",
    "column_room_code": "locationCode",
    "column_subject_code": "subjectCode",
    "column_behaviour_type_name": "eventName",
}
"""What a simulated school's registration has to say of number spaces and columns that are not public."""

RESULT_SETTINGS: Final = {
    "result_write_operation": SAVE_RESULT,
    "result_subject_id_is_subject_id": "yes",
    "result_assessment_types": orjson.dumps(ASSESSMENT_TYPES).decode(),
    "result_year_groups": orjson.dumps(YEAR_GROUPS).decode(),
    "result_terms": orjson.dumps(TERMS).decode(),
}
"""And what of names and ids to have results written, beside ``soap_write_url``."""


def _locations(view: View) -> Iterator[TypedRow]:
    for room in view.world.rooms.values():
        yield {"locationID": room.number, "locationCode": room.code, "locationName": room.name}


def subject_numbers(view: View) -> dict[str, int]:
    """Return the number of each subject, which the world has none of."""
    return {code: number for number, code in enumerate(view.world.subjects, start=1)}


def _subjects(view: View) -> Iterator[TypedRow]:
    numbers = subject_numbers(view)
    for subject in view.world.subjects.values():
        yield {
            "subjectID": numbers[subject.code],
            "subjectCode": subject.code,
            "subjectName": subject.name,
        }


def _behaviour_events(view: View) -> Iterator[TypedRow]:
    for kind in view.world.behaviour_types.values():
        yield {"eventId": kind.number, "eventName": kind.name, "adjustment": kind.points}


def _behaviour_event_records(view: View) -> Iterator[TypedRow]:
    withheld = view.world.withheld
    for event in view.world.behaviour.values():
        if event.pupil not in withheld:
            yield {
                "eventRecordId": event.number,
                "studentId": event.pupil,
                "eventId": event.event_type,
                "ownerId": event.staff,
                "classId": event.group,
                "locationId": event.room,
                "eventDate": event.occurred_at,
                "adjustment": event.points,
                "comment": event.comment,
                "internalComment": event.internal_comment,
            }


def _assessment_results(view: View) -> Iterator[TypedRow]:
    world, withheld = view.world, view.world.withheld
    for result in world.assessments.values():
        if result.pupil in withheld:
            continue
        for _ in range(1 + (result.number in view.doubled)):
            yield {
                "studentId": result.pupil,
                "assessmentTypeName": result.assessment,
                "result": result.result,
                "enteredDate": result.entered_on,
                "termName": result.term,
                "yearGroupName": result.year_group,
                "subjectName": world.subjects[result.subject].name if result.subject else None,
                "isGrade": result.is_grade,
            }


RECORD_ENTITIES: Final = (
    Entity("Locations", ("locationID", "locationCode", "locationName"), _locations),
    Entity("Subjects", ("subjectID", "subjectCode", "subjectName"), _subjects),
    Entity("BehaviourEvents", ("eventId", "eventName", "adjustment"), _behaviour_events),
    Entity(
        "BehaviourEventRecords",
        (
            "eventRecordId",
            "studentId",
            "eventId",
            "ownerId",
            "classId",
            "locationId",
            "eventDate",
            "adjustment",
            "comment",
            "internalComment",
        ),
        _behaviour_event_records,
    ),
    Entity(
        "AssociationAssessmentResultsRaw",
        (
            "studentId",
            "assessmentTypeName",
            "result",
            "enteredDate",
            "termName",
            "yearGroupName",
            "subjectName",
            "isGrade",
        ),
        _assessment_results,
    ),
)
