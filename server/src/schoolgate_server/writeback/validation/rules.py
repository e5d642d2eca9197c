"""What the school's own data says against an operation; pure.

Each rule returns what is wrong, or ``None``. What the copy cannot know is nothing wrong: a kind that has
never been synced, a field that the data profile does not keep, and records that left without a reason that
says anything of their days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_RETIRED, AttendanceCode
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.reporting.roll import is_on_roll
from schoolgate_server.reporting.standing import Unresolved, valid_on
from schoolgate_server.reporting.timetable import Meeting

RETIRED_FROM = "2024-08-19"
"""First day on which the retired codes are none any more (SI 2024/208)."""

BEHAVIOUR_TYPE = "behaviour_type"
"""The category of the local codes that are types of behaviour events."""


def roll_problem(enrolments: Sequence[Record], day: str, *, are_known: bool) -> str | None:
    """Return what is wrong with the pupil on ``day``, by all of their enrolments.

    Single and dual registrations count, main and subsidiary ones. ``are_known``: the school has enrolments
    of anybody.
    """
    if not are_known or is_on_roll(enrolments, day) is not False:
        return None
    return "must be a pupil who is on roll on that day"


def code_problem(code: str, day: str, table: Sequence[Record], retired: Set[str]) -> str | None:
    """Return what is wrong with an attendance code on ``day``.

    ``table`` are all attendance codes of the school; where it says nothing, only the ``retired`` ones are
    refused from :data:`RETIRED_FROM` on. A code that the school's table dates past that day, or has begin
    after it, is one of the school's however it is called elsewhere. Codes are compared whole: "J1" is not
    "J".
    """
    if not any(record.attendance_code.code for record in table):
        return _RETIRED if code in retired and day >= RETIRED_FROM else None
    named = [record for record in table if record.attendance_code.code == code]
    if not named:
        return "must be one of the school's attendance codes"
    unresolved = Unresolved()
    valid = [record.attendance_code for record in valid_on(named, day, unresolved)]
    if not valid:
        return (
            None if _left_unexplained(unresolved) else "must be an attendance code that is valid on that day"
        )
    if day >= RETIRED_FROM and all(_is_retired(each, day) for each in valid):
        return _RETIRED
    return None


_RETIRED = "must not be a retired attendance code"


def _is_retired(code: AttendanceCode, day: str) -> bool:
    says_otherwise = code.valid_from >= RETIRED_FROM or code.valid_to > day
    return code.meaning == ATTENDANCE_MEANING_RETIRED and not says_otherwise


def _left_unexplained(unresolved: Unresolved) -> bool:
    return any(one.reason == pb.UNRESOLVED_REASON_LEFT_UNEXPLAINED for one in unresolved.told())


def type_problem(code: str, local_codes: Iterable[Record]) -> str | None:
    """Return what is wrong with the type of a behaviour event; a school may have no table of types."""
    types = [
        record.local_code
        for record in local_codes
        if record.local_code.category == BEHAVIOUR_TYPE
        and record.local_code.code
        and not record.HasField("tombstone")
    ]
    if not types:
        return None
    of_code = [each for each in types if each.code == code]
    if not of_code:
        return "must be one of the school's types of behaviour"
    if all(each.HasField("active") and not each.active for each in of_code):
        return "must be a type of behaviour that the school still offers"
    return None


@dataclass(frozen=True, slots=True)
class Teachers:
    """Ids of who teaches a pupil in one period of a day; ``are_all``: it can be nobody else."""

    ids: frozenset[str] = frozenset()
    are_all: bool = False


@dataclass(frozen=True, slots=True)
class Lessons:
    """The names of the periods of a pupil's lessons on one day; ``are_all``: there can be no others.

    ``teachers`` are those of the one period that was asked about.
    """

    names: frozenset[str]
    are_all: bool
    teachers: Teachers = Teachers()


def lessons_of(meetings: Iterable[Meeting], periods: Mapping[str, Record], unresolved: Unresolved) -> Lessons:
    """Return the periods of a pupil's ``meetings`` on a day; ``unresolved`` is what could not be told."""
    found = {period_name(meeting, periods) for meeting in meetings}
    return Lessons(frozenset(found - {""}), "" not in found and _is_certain(unresolved))


def period_name(meeting: Meeting, periods: Mapping[str, Record]) -> str:
    """Return the name of the period in which a group meets, "" where that is not known."""
    period = periods.get(meeting.entries[0].timetable_entry.period_id)
    return "" if period is None else period.period.name


def _is_certain(unresolved: Unresolved) -> bool:
    doubtful = {pb.UNRESOLVED_REASON_PERIOD_UNKNOWN, pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN}
    doubtful.add(pb.UNRESOLVED_REASON_LEFT_UNEXPLAINED)
    return not any(one.reason in doubtful for one in unresolved.told())


def teachers_in(
    meetings: Iterable[Meeting], assigned: Mapping[str, Sequence[Record]], unresolved: Unresolved
) -> Teachers:
    """Return who teaches at ``meetings``, which are the pupil's in one period.

    That is whom the timetable names, and where it names nobody who is ``assigned`` to the group on that day.
    Who covers a lesson for somebody else without being named can be anybody.
    """
    found: set[str] = set()
    certain = _is_certain(unresolved)
    for meeting in meetings:
        entries = [record.timetable_entry for record in meeting.entries]
        named = {entry.staff_id for entry in entries if entry.staff_id}
        if not named and not entries[0].is_cover:
            named = {one.staff_assignment.staff_id for one in assigned.get(entries[0].group_id, ())}
        certain = certain and bool(named) and "" not in named
        found |= named - {""}
    return Teachers(frozenset(found), certain and bool(found))


def staff_problem(staff_ids: Set[str], lessons: Lessons | None) -> str | None:
    """Return what is wrong with who takes the register of a lesson; ``staff_ids`` are all ids of theirs."""
    if lessons is None or not lessons.are_all or not lessons.teachers.are_all:
        return None
    if staff_ids & lessons.teachers.ids:
        return None
    return "must be somebody who teaches the pupil in that period"


def period_problem(name: str, lessons: Lessons | None) -> str | None:
    """Return what is wrong with the period of a lesson's mark; ``None`` for ``lessons`` nobody knows."""
    if lessons is None or name in lessons.names or not lessons.are_all:
        return None
    return "must be a period in which the pupil has a lesson on that day"
