"""Parsers of Bromcom's entities: pure functions from one row to canonical messages.

Every change of what a parser yields raises its version in ``datasets``. Canonical meanings and references
are left to the server, as the SDK asks. Columns are those of the public field lists, or those that a school's
settings name where the lists have none; others are ignored.
"""

from schoolgate_bromcom.parsers.attendance import parse_attendance_mark, parse_attendance_mark_2
from schoolgate_bromcom.parsers.groups import (
    parse_group,
    parse_group_membership,
    parse_staff_assignment,
    parse_subject,
)
from schoolgate_bromcom.parsers.people import (
    parse_contacts,
    parse_staff,
    parse_student,
    parse_student_2,
)
from schoolgate_bromcom.parsers.records import (
    parse_assessment_result,
    parse_behaviour_event,
    parse_behaviour_type,
)
from schoolgate_bromcom.parsers.timetable import parse_period, parse_room, parse_timetable_entry

__all__ = [
    "parse_assessment_result",
    "parse_attendance_mark",
    "parse_attendance_mark_2",
    "parse_behaviour_event",
    "parse_behaviour_type",
    "parse_contacts",
    "parse_group",
    "parse_group_membership",
    "parse_period",
    "parse_room",
    "parse_staff",
    "parse_staff_assignment",
    "parse_student",
    "parse_student_2",
    "parse_subject",
    "parse_timetable_entry",
]
