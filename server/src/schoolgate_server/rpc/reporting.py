"""ReportingService: a school's own questions, answered as of one instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import islice

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.reporting_service_pb2_grpc import ReportingServiceServicer
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.checks import is_iso_date
from schoolgate_server.model.questions import Condition
from schoolgate_server.reporting import timetable
from schoolgate_server.reporting.attendance import Registers, all_together
from schoolgate_server.reporting.roll import ON_ROLL, registered, roll, survivors
from schoolgate_server.reporting.standing import Unresolved, cut, standing, valid_on
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.instants import Timed, check_instant, instant_of, published_seq
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.reporting_reads import Reads
from schoolgate_server.rpc.tokens import make_token, not_the_token, question_of, read_token

MOST_DAYS = 400
MOST_PUPILS = 500
_USUAL_PUPILS = 50
_PUPILS_AT_ONCE = 25
"""Pupils whose marks are in memory at a time: a year of sessions and lessons is about 1,500 marks each."""
_MOST_CYCLE_WEEKS = 10
_LONGEST_CODE = 100

_OF_TIMETABLE = (
    *("period.name", "period.week", "period.weekday", "period.start_time", "period.end_time"),
    *("timetable_entry.is_cover", "academic_year.terms", "group.name", "subject.name", "room.name"),
    *("staff.forename", "staff.surname"),
)
_OF_TEACHERS = ("staff_assignment.role_code", "staff.forename", "staff.surname")
_OF_ATTENDANCE = ("attendance_mark.code", "attendance_mark.session")
_OF_YEAR_GROUPS = ("enrolment.status_code", "enrolment.year_group_code", "student.year_group_code")


class Reporting(ReportingServiceServicer):
    """Serves answers to domain questions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetTimetable(
        self, request: pb.GetTimetableRequest, context: Context
    ) -> pb.GetTimetableResponse:
        violations = _common(request)
        _reference(violations, request.student_id, k.KIND_STUDENT, "student_id")
        violations.iso_date(request.date, "date")
        if not 0 <= request.cycle_week <= _MOST_CYCLE_WEEKS:
            violations.add("cycle_week", f"must be between 1 and {_MOST_CYCLE_WEEKS}, or 0 for unknown")
        violations.raise_any()
        reads = await self._reads(request)
        student, day, unresolved = await reads.one(request.student_id), request.date, reads.unresolved
        years = standing(await reads.every(k.KIND_ACADEMIC_YEAR), Unresolved())
        meets = timetable.school_day(years, day)
        if meets == pb.SCHOOL_DAY_UNSPECIFIED:
            unresolved.note(pb.UNRESOLVED_REASON_SCHOOL_DAY_UNKNOWN)
        pupil = await reads.same([student.id])
        memberships = await reads.referring(k.KIND_GROUP_MEMBERSHIP, "student_id", pupil, day)
        groups = {record.group_membership.group_id for record in valid_on(memberships, day, unresolved)} - {
            ""
        }
        entries = await reads.referring(k.KIND_TIMETABLE_ENTRY, "group_id", await reads.same(groups), day)
        periods = {record.id: record for record in standing(await reads.every(k.KIND_PERIOD), Unresolved())}
        applying = valid_on(entries, day, unresolved)
        may_meet = meets not in {pb.SCHOOL_DAY_OUTSIDE_TERMS, pb.SCHOOL_DAY_OUTSIDE_YEARS}
        if may_meet and not applying:
            await _note_unknown_timetable(reads, day)
        found = timetable.meetings(applying, periods, day, request.cycle_week, unresolved, meets=may_meet)
        lookup = await _lookup(reads, found, periods, day)
        lessons = [timetable.lesson_of(meeting, lookup, unresolved) for meeting in found]
        shown = cut(timetable.in_order(lessons), timetable.MOST_LESSONS, unresolved)
        return pb.GetTimetableResponse(
            student_id=student.id, school_day=meets, lessons=shown, basis=reads.basis(*_OF_TIMETABLE)
        )

    async def ListTeachers(
        self, request: pb.ListTeachersRequest, context: Context
    ) -> pb.ListTeachersResponse:
        violations = _common(request)
        _reference(violations, request.group_id, k.KIND_GROUP, "group_id")
        violations.iso_date(request.effective_on, "effective_on")
        violations.raise_any()
        reads = await self._reads(request)
        group, day, unresolved = await reads.one(request.group_id), request.effective_on, reads.unresolved
        ids = await reads.same([group.id])
        assignments = valid_on(
            await reads.referring(k.KIND_STAFF_ASSIGNMENT, "group_id", ids, day), day, unresolved
        )
        entries = valid_on(
            await reads.referring(k.KIND_TIMETABLE_ENTRY, "group_id", ids, day), day, unresolved
        )
        if not entries:
            await _note_unknown_timetable(reads, day)
        named = [record.staff_assignment.staff_id for record in assignments]
        named += [record.timetable_entry.staff_id for record in entries]
        staff = await reads.by_id(named)
        teachers = timetable.teachers_of(assignments, entries, staff, unresolved)
        return pb.ListTeachersResponse(
            group_id=group.id,
            teachers=cut(teachers, timetable.MOST_TEACHERS, unresolved),
            basis=reads.basis(*_OF_TEACHERS),
        )

    async def GetAttendance(
        self, request: pb.GetAttendanceRequest, context: Context
    ) -> pb.GetAttendanceResponse:
        violations = _common(request)
        _check_attendance(request, violations)
        size = violations.size(request.page_size, default=_USUAL_PUPILS, maximum=MOST_PUPILS)
        violations.raise_any()
        bound_to = question_of(request)
        seq, after = 0, ""
        if request.page_token:
            seq, after = read_token(bound_to, request.page_token, int, str)
        reads = await self._reads(request, seq)
        reads.require(*_OF_ATTENDANCE)
        selected = await _selected(reads, request)
        pupils = sorted(set(selected.values()))
        page = list(islice((pupil for pupil in pupils if pupil > after), size + 1))
        more, page = len(page) > size, page[:size]
        counted = Registers(reads.unresolved)
        for first in range(0, len(page), _PUPILS_AT_ONCE):
            some = set(page[first : first + _PUPILS_AT_ONCE])
            ids = {record_id: pupil for record_id, pupil in selected.items() if pupil in some}
            counted.count(await _marks(reads, request, ids), ids)
        return pb.GetAttendanceResponse(
            students=[
                pb.StudentAttendance(student_id=pupil, attendance=counted.attendance[pupil]) for pupil in page
            ],
            page_total=all_together([counted.attendance[pupil] for pupil in page]),
            codes=counted.codes,
            lesson_marks=counted.lesson_marks,
            student_count=len(pupils),
            next_page_token=make_token(bound_to, reads.seq, page[-1]) if more else "",
            basis=reads.basis(*(_OF_YEAR_GROUPS if request.year_group_code else ())),
        )

    async def GetRoll(self, request: pb.GetRollRequest, context: Context) -> pb.GetRollResponse:
        violations = _common(request)
        violations.iso_date(request.effective_on, "effective_on")
        violations.raise_any()
        reads = await self._reads(request)
        reads.require("enrolment.status_code")
        enrolments = await reads.every(k.KIND_ENROLMENT)
        students = await reads.every(k.KIND_STUDENT)
        pupils = registered(enrolments, students, request.effective_on, reads.unresolved)
        year_groups, total = roll(pupils.values())
        return pb.GetRollResponse(year_groups=year_groups, total=total, basis=reads.basis(*_OF_YEAR_GROUPS))

    async def _reads(self, request: Timed, seq: int = 0) -> Reads:
        """Return the school as of ``seq``, of a page token, or of the instant that is asked for.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``; what ``instant_of`` raises.
        """
        school = await self._store.schools.get(request.school_id)
        if seq and seq > await published_seq(self._store, request.school_id):
            raise not_the_token()
        return Reads(self._store, school, seq or await instant_of(self._store, request))


def _common(request: Timed) -> Violations:
    """Return what is wrong with the fields that every request has."""
    violations = Violations()
    violations.school_id(request.school_id)
    check_instant(request, violations)
    return violations


def _reference(violations: Violations, value: str, kind: k.Kind.ValueType, field: str) -> None:
    """Note a value that cannot be the id of a record of ``kind``."""
    info = KINDS[kind]
    violations.record_id(value, field)
    if not value.startswith(f"{info.prefix}_"):
        violations.add(field, f'must be the id of a {info.name} ("{info.prefix}_…")')


def _check_attendance(request: pb.GetAttendanceRequest, violations: Violations) -> None:
    match request.WhichOneof("selection"):
        case "student_id":
            _reference(violations, request.student_id, k.KIND_STUDENT, "student_id")
        case "group_id":
            _reference(violations, request.group_id, k.KIND_GROUP, "group_id")
        case "year_group_code":
            violations.text(request.year_group_code, "year_group_code", maximum=_LONGEST_CODE, required=True)
        case None:
            pass
    violations.iso_date(request.date_from, "date_from")
    violations.iso_date(request.date_to, "date_to")
    if request.effective_on:
        violations.iso_date(request.effective_on, "effective_on")
    if is_iso_date(request.date_from) and is_iso_date(request.date_to):
        days = (date.fromisoformat(request.date_to) - date.fromisoformat(request.date_from)).days
        if not 1 <= days <= MOST_DAYS:
            violations.add("date_to", f"must lie 1 to {MOST_DAYS} days after date_from")


async def _selected(reads: Reads, request: pb.GetAttendanceRequest) -> dict[str, str]:
    """Return the pupils whose attendance is asked for: every id that means one of them, with theirs."""
    last = date.fromisoformat(request.date_to) - timedelta(days=1)
    day = request.effective_on or last.isoformat()
    if request.student_id:
        student = await reads.one(request.student_id)
        return dict.fromkeys(await reads.same([student.id]), student.id)
    students = await reads.every(k.KIND_STUDENT)
    means = survivors(students)
    if request.group_id:
        wanted = await _members(reads, request.group_id, day, means)
    elif request.year_group_code:
        wanted = await _of_year_group(reads, request.year_group_code, day, students)
    else:
        wanted = {record.id for record in standing(students, reads.unresolved)}
    return {record_id: pupil for record_id, pupil in means.items() if pupil in wanted}


async def _members(reads: Reads, group_id: str, day: str, means: Mapping[str, str]) -> set[str]:
    group = await reads.one(group_id)
    ids = await reads.same([group.id])
    found: set[str] = set()
    for record in valid_on(
        await reads.referring(k.KIND_GROUP_MEMBERSHIP, "group_id", ids, day), day, reads.unresolved
    ):
        pupil = means.get(record.group_membership.student_id, "")
        if pupil:
            found.add(pupil)
        else:
            reads.unresolved.note(pb.UNRESOLVED_REASON_STUDENT_UNKNOWN, record.id, detail="group_membership")
    return found


async def _of_year_group(reads: Reads, code: str, day: str, students: list[Record]) -> set[str]:
    enrolments = await reads.every(k.KIND_ENROLMENT)
    if not enrolments:
        # A MIS without enrolments says of its present pupils alone which year group they are in.
        return {
            record.id
            for record in students
            if not record.HasField("tombstone") and record.student.year_group_code == code
        }
    reads.require("enrolment.status_code")
    pupils = registered(enrolments, students, day, reads.unresolved)
    return {pupil for pupil, one in pupils.items() if one.year_group_code == code and one.figure in ON_ROLL}


async def _marks(reads: Reads, request: pb.GetAttendanceRequest, ids: Mapping[str, str]) -> list[Record]:
    return await reads.every(
        k.KIND_ATTENDANCE_MARK,
        Condition("student_id", q.FILTER_OPERATOR_IN, tuple(sorted(ids))),
        Condition("date", q.FILTER_OPERATOR_GREATER_OR_EQUAL, (request.date_from,)),
        Condition("date", q.FILTER_OPERATOR_LESS, (request.date_to,)),
    )


async def _note_unknown_timetable(reads: Reads, day: str) -> None:
    """Note where no entry of the whole school applies on ``day``: its MIS may not show that day."""
    if not standing(await reads.every(k.KIND_TIMETABLE_ENTRY, effective_on=day), Unresolved()):
        reads.unresolved.note(pb.UNRESOLVED_REASON_TIMETABLE_UNKNOWN)


async def _lookup(
    reads: Reads, found: list[timetable.Meeting], periods: Mapping[str, Record], day: str
) -> timetable.Lookup:
    """Return everything that the meetings refer to."""
    entries = [record.timetable_entry for meeting in found for record in meeting.entries]
    taught = {
        meeting.entries[0].timetable_entry.group_id
        for meeting in found
        if not any(record.timetable_entry.staff_id for record in meeting.entries)
    }
    assigned: dict[str, list[Record]] = {}
    for group_id in sorted(taught):
        ids = await reads.same([group_id])
        of_group = await reads.referring(k.KIND_STAFF_ASSIGNMENT, "group_id", ids, day)
        assigned[group_id] = valid_on(of_group, day, reads.unresolved)
    wanted = {name for entry in entries for name in (entry.group_id, entry.room_id, entry.staff_id)}
    wanted |= {entry.subject_id for entry in entries}
    wanted |= {one.staff_assignment.staff_id for some in assigned.values() for one in some}
    records = await reads.by_id(wanted)
    subjects = {record.group.subject_id for record in records.values() if record.HasField("group")}
    records |= await reads.by_id(subjects - records.keys())
    return timetable.Lookup({**periods, **records}, assigned)
