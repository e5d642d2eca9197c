"""Number spaces of Wonde's ids, and references by them.

Ids are texts that look unique over all resources; nothing public says that they are, so each resource has a
space of its own, and where a dataset has two resources the resource is part of the key.
"""

from __future__ import annotations

from typing import Final

from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STAFF, KIND_STUDENT
from schoolgate_sdk import Ref, SourceKey

STUDENT: Final = "wonde/student"
STUDENT_UPI: Final = "wonde/student_upi"
STUDENT_MIS: Final = "wonde/student_mis_id"
STAFF: Final = "wonde/employee"
STAFF_UPI: Final = "wonde/employee_upi"
STAFF_MIS: Final = "wonde/employee_mis_id"
CONTACT: Final = "wonde/contact"
CONTACT_UPI: Final = "wonde/contact_upi"
CONTACT_MIS: Final = "wonde/contact_mis_id"
STUDENT_CONTACT: Final = "wonde/student_contact"
SUBJECT: Final = "wonde/subject"
ROOM: Final = "wonde/room"
PERIOD: Final = "wonde/period"
ATTENDANCE_CODE: Final = "wonde/attendance_code"
GROUP: Final = "wonde/group"
MEMBERSHIP: Final = "wonde/group_student"
ASSIGNMENT: Final = "wonde/group_employee"
LESSON: Final = "wonde/lesson"
ATTENDANCE: Final = "wonde/attendance"
BEHAVIOUR: Final = "wonde/behaviour"


def student_ref(number: str) -> Ref:
    """Return the reference to a pupil."""
    return Ref("student_id", KIND_STUDENT, SourceKey(STUDENT, (number,)))


def staff_ref(number: str) -> Ref:
    """Return the reference to a member of staff."""
    return Ref("staff_id", KIND_STAFF, SourceKey(STAFF, (number,)))


def group_ref(resource: str, number: str) -> Ref:
    """Return the reference to a class or a group."""
    return Ref("group_id", KIND_GROUP, SourceKey(GROUP, (resource, number)))
