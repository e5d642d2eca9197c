"""A pupil's lessons on a day, and who works with a group: from entries, slots and assignments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from schoolgate.v1 import groups_pb2 as g
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.timetable_pb2 import Period
from schoolgate_server.reporting.standing import Unresolved, covers

MOST_LESSONS = 500
MOST_TEACHERS = 500

_MAIN = frozenset({g.STAFF_ROLE_MAIN_TEACHER, g.STAFF_ROLE_MAIN_TUTOR, g.STAFF_ROLE_HEAD_OF_HOUSE})


def school_day(academic_years: Iterable[Record], day: str) -> pb.SchoolDay.ValueType:
    """Return whether the school meets on ``day``, as far as its academic years tell."""
    years = [record.academic_year for record in academic_years]
    if not years:
        return pb.SCHOOL_DAY_UNSPECIFIED
    current = [year for year in years if covers(year.valid_from, year.valid_to, day)]
    if not current:
        return pb.SCHOOL_DAY_OUTSIDE_YEARS
    terms = [term for year in current for term in year.terms]
    if any(covers(term.valid_from, term.valid_to, day) for term in terms):
        return pb.SCHOOL_DAY_IN_TERM
    # A year whose terms are not known says nothing of holidays.
    return pb.SCHOOL_DAY_OUTSIDE_TERMS if all(year.terms for year in current) else pb.SCHOOL_DAY_UNSPECIFIED


@dataclass
class Meeting:
    """The entries of one group in one slot on the day."""

    entries: list[Record]
    week_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """Records by id, of everything that lessons refer to; ``assigned`` has the assignments of each group."""

    records: Mapping[str, Record] = field(default_factory=dict[str, Record])
    assigned: Mapping[str, Sequence[Record]] = field(default_factory=dict[str, Sequence[Record]])

    def find(self, record_id: str) -> Record | None:
        return self.records.get(record_id)


def cycle_of(periods: Iterable[Record]) -> int:
    """Return how many weeks the cycle of the timetable has; slots without a week are of every one."""
    return max((record.period.week for record in periods), default=0) or 1


def meetings(
    entries: Iterable[Record],
    periods: Mapping[str, Record],
    day: str,
    cycle_week: int,
    unresolved: Unresolved,
    *,
    meets: bool = True,
) -> list[Meeting]:
    """Return the meetings of ``day``, from entries that apply on it.

    ``periods`` are all slots of the school, by id. ``cycle_week`` is the week that the day lies in, 0 where
    that is not known: then meetings of all weeks are returned, and marked where the cycle has several. Where
    the school does not meet (``meets``), only entries for this very day make a meeting.
    """
    weeks = cycle_of(periods.values())
    found: dict[tuple[str, str], list[Record]] = {}
    doubtful: set[str] = set()
    for record in sorted(entries, key=lambda record: record.id):
        entry = record.timetable_entry
        period = periods.get(entry.period_id)
        if is_one_day(entry.valid_from, entry.valid_to):
            if period is None:
                unresolved.note(pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN, entry.period_id, detail="period")
        elif not meets:
            continue
        elif period is None or not period.period.weekday:
            unresolved.note(pb.UNRESOLVED_REASON_PERIOD_UNKNOWN, record.id)
            continue
        elif not _may_be_on(period.period, day, cycle_week):
            continue
        elif weeks > 1 and period.period.week and not cycle_week:
            doubtful.add(record.id)
        found.setdefault((entry.group_id, entry.period_id), []).append(record)
    made = [Meeting([one for one in some if one.timetable_entry.is_cover] or some) for some in found.values()]
    for meeting in made:
        # One entry for this very day makes the meeting certain.
        meeting.week_uncertain = all(record.id in doubtful for record in meeting.entries)
    uncertain = sum(meeting.week_uncertain for meeting in made)
    if uncertain:
        unresolved.note(pb.UNRESOLVED_REASON_CYCLE_WEEK_UNKNOWN, count=uncertain, detail=str(weeks))
    return made


def _may_be_on(period: Period, day: str, cycle_week: int) -> bool:
    """Whether a slot can be on ``day``: it can where its week, or the day's (0), is not known."""
    if period.weekday != date.fromisoformat(day).isoweekday():
        return False
    return not cycle_week or period.week in {0, cycle_week}


def is_one_day(begins: str, ends: str) -> bool:
    """Whether the half-open span of ISO dates is a single day."""
    if not begins or not ends:
        return False
    return date.fromisoformat(begins) + timedelta(days=1) == date.fromisoformat(ends)


def lesson_of(meeting: Meeting, lookup: Lookup, unresolved: Unresolved) -> pb.Lesson:
    """Return the lesson that a meeting is, with everything that it refers to."""
    first = meeting.entries[0].timetable_entry
    lesson = pb.Lesson(
        period_id=first.period_id,
        group_id=first.group_id,
        is_cover=first.is_cover,
        week_uncertain=meeting.week_uncertain,
        timetable_entry_ids=[record.id for record in meeting.entries],
    )
    period, group = lookup.find(first.period_id), lookup.find(first.group_id)
    if period is not None:
        lesson.period.CopyFrom(period.period)
    if group is not None:
        lesson.group.CopyFrom(group.group)
    else:
        unresolved.note(pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN, first.group_id, detail="group")
    subjects = [record.timetable_entry.subject_id for record in meeting.entries]
    subjects.append(group.group.subject_id if group is not None else "")
    lesson.subject_id = next(filter(None, subjects), "")
    subject = _referred(lesson.subject_id, "subject", lookup, unresolved)
    if subject is not None:
        lesson.subject.CopyFrom(subject.subject)
    for room_id in _distinct(record.timetable_entry.room_id for record in meeting.entries):
        room = _referred(room_id, "room", lookup, unresolved)
        lesson.rooms.add(room_id=room_id, room=room.room if room is not None else None)
    _add_teachers(lesson, meeting, lookup, unresolved)
    return lesson


def _add_teachers(lesson: pb.Lesson, meeting: Meeting, lookup: Lookup, unresolved: Unresolved) -> None:
    named = _distinct(record.timetable_entry.staff_id for record in meeting.entries)
    source = pb.TEACHER_SOURCE_TIMETABLE
    if not named:
        source = pb.TEACHER_SOURCE_ASSIGNMENT
        assigned = lookup.assigned.get(lesson.group_id, ())
        named = _distinct(record.staff_assignment.staff_id for record in assigned)
    for staff_id in named:
        staff = _referred(staff_id, "staff", lookup, unresolved)
        lesson.teachers.add(
            staff_id=staff_id, staff=staff.staff if staff is not None else None, source=source
        )


def _referred(record_id: str, kind: str, lookup: Lookup, unresolved: Unresolved) -> Record | None:
    found = lookup.find(record_id) if record_id else None
    if record_id and found is None:
        unresolved.note(pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN, record_id, detail=kind)
    return found


def _distinct(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, ids)))


def in_order(lessons: Iterable[pb.Lesson]) -> list[pb.Lesson]:
    """Return lessons in order of their week, their start, and the names of slot and group."""
    return sorted(
        lessons,
        key=lambda one: (
            one.period.week,
            one.period.start_time or "99:99",
            one.period.name,
            one.group.name,
            one.group_id,
            one.period_id,
        ),
    )


def teachers_of(
    assignments: Iterable[Record],
    entries: Iterable[Record],
    staff: Mapping[str, Record],
    unresolved: Unresolved,
) -> list[pb.GroupTeacher]:
    """Return who works with a group, from its assignments and entries that apply on the day."""
    found: dict[str, pb.GroupTeacher] = {}

    def teacher(staff_id: str) -> pb.GroupTeacher:
        return found.setdefault(staff_id, pb.GroupTeacher(staff_id=staff_id))

    for record in sorted(assignments, key=lambda record: record.id):
        assignment = record.staff_assignment
        if not assignment.staff_id:
            unresolved.note(pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN, record.id, detail="staff")
            continue
        one = teacher(assignment.staff_id)
        one.assignments.append(assignment)
        one.is_main = one.is_main or assignment.role in _MAIN
        if not assignment.role and assignment.role_code:
            unresolved.note(pb.UNRESOLVED_REASON_CODE_WITHOUT_MEANING, record.id, detail=assignment.role_code)
        elif not assignment.role:
            unresolved.note(pb.UNRESOLVED_REASON_CODE_MISSING, record.id)
    for record in entries:
        if record.timetable_entry.staff_id:
            teacher(record.timetable_entry.staff_id).is_timetabled = True
    for staff_id, one in found.items():
        person = staff.get(staff_id)
        if person is None:
            unresolved.note(pb.UNRESOLVED_REASON_REFERENCE_UNKNOWN, staff_id, detail="staff")
        else:
            one.staff.CopyFrom(person.staff)
    return sorted(found.values(), key=lambda one: (not one.is_main, one.staff_id))
