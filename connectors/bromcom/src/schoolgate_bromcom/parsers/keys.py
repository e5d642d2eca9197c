"""Number spaces of Bromcom's ids, and references by them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STAFF, KIND_STUDENT
from schoolgate_sdk import Ref, SourceKey

STUDENT: Final = "bromcom/student"
PERSON: Final = "bromcom/person"
ENROLMENT: Final = "bromcom/enrolment"
ADMISSION: Final = "bromcom/admission"
STAFF: Final = "bromcom/staff"
CONTACT: Final = "bromcom/student_contact_position"
STUDENT_CONTACT: Final = "bromcom/student_contact_position_link"
COLLECTION: Final = "bromcom/collection"
COLLECTION_ASSOCIATE: Final = "bromcom/collection_associate"
COLLECTION_EXECUTIVE: Final = "bromcom/collection_executive"
COLLECTION_TIMETABLE: Final = "bromcom/collection_timetable"
LOCATION: Final = "bromcom/location"
SUBJECT: Final = "bromcom/subject"
CALENDAR_MODEL: Final = "bromcom/calendar_model"
ATTENDANCE: Final = "bromcom/attendance"
BEHAVIOUR_EVENT_RECORD: Final = "bromcom/behaviour_event_record"
BEHAVIOUR_EVENT: Final = "bromcom/behaviour_event"
ASSESSMENT_RESULT: Final = "bromcom/assessment_result"

EMPLOYEE: Final = "bromcom/employee"
OWNER: Final = "bromcom/owner"
CLASS: Final = "bromcom/class"
"""Spaces of ``employeeID``, ``ownerId`` and ``classId`` while a school has not said that they agree with the
ids of staff and collections. No record is known by them, so that a reference stays open and is said to be.
"""


@lru_cache(maxsize=16_384)
def student_ref(namespace: str, number: int) -> tuple[Ref]:
    """Return the reference to a pupil by the number in ``namespace``."""
    return (Ref("student_id", KIND_STUDENT, SourceKey(namespace, (number,))),)


@lru_cache(maxsize=4096)
def group_ref(number: int) -> tuple[Ref]:
    """Return the reference to a group by its ``collectionID``."""
    return (Ref("group_id", KIND_GROUP, SourceKey(COLLECTION, (number,))),)


def staff_ref(number: int, settings: Mapping[str, str], agrees: str, otherwise: str) -> Ref:
    """Return the reference to a member of staff by a number that is a ``staffId`` where the school's setting
    ``agrees`` says so, and one of the space ``otherwise`` where it does not.
    """
    space = STAFF if settings.get(agrees) == "yes" else otherwise
    return Ref("staff_id", KIND_STAFF, SourceKey(space, (number,)))


def start(valid_from: str | None) -> tuple[str, ...]:
    """Return the last part of a dated row's key; a row without a first day is keyed without it."""
    return (valid_from,) if valid_from else ()
