"""report: answers to a school's own questions: timetable, teachers, attendance and roll."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.table import Table

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.people_pb2 import Staff, Student
from schoolgate.v1.query_service_pb2 import QueryRecordsRequest
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.cli import basis, console, questions, records
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.query import write_json

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
EffectiveOn = Annotated[str, typer.Option(metavar="DAY", help="The day that is asked about.")]
Json = Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")]

_MOST_PUPILS = 500
"""Pupils per page: the most that the server gives at once."""

_ROLL = {
    "on roll": "on_roll",
    "single": "single_registration",
    "dual main": "dual_main",
    "dual subsidiary": "dual_subsidiary",
    "FE college": "fe_college",
    "other provider": "other_provider",
    "guests": "guests",
    "unmapped": "unmapped",
}
_SESSIONS = {
    "attended": "attended_sessions",
    "possible": "possible_sessions",
    "authorised": "authorised_absence",
    "unauthorised": "unauthorised_absence",
    "late (L)": "late_before_close",
    "late (U)": "late_after_close",
}
_UNCOUNTED = {
    "not possible": "not_possible",
    "administrative": "administrative",
    "retired": "retired",
    "unmapped": "unmapped",
    "conflicting": "conflicting",
}


def timetable(
    client: Client,
    school: School,
    student_id: Annotated[
        str, typer.Argument(metavar="STUDENT", help="Id of the pupil's record.", show_default=False)
    ],
    effective_on: EffectiveOn = "today",
    cycle_week: Annotated[
        int, typer.Option(min=0, help="Week of the timetable's cycle that the day lies in; 0: not known.")
    ] = 0,
    known_at: questions.KnownAt = "",
    as_json: Json = False,
) -> None:
    """Show the lessons of one pupil on one day."""
    request = pb.GetTimetableRequest(
        school_id=school, student_id=student_id, date=questions.day(effective_on), cycle_week=cycle_week
    )
    questions.ask_as_known_at(request, known_at)
    answer = client.call(client.reporting.GetTimetable, request)
    if as_json:
        write_json(answer)
        return
    if answer.lessons:
        console.out().print(_lessons(answer.lessons))
    console.remark(f"{console.amount(len(answer.lessons), 'lesson')} on {request.date}{_meets(answer)}")
    basis.tell(answer.basis)


def _meets(answer: pb.GetTimetableResponse) -> str:
    match answer.school_day:
        case pb.SCHOOL_DAY_IN_TERM:
            return ", a day of term"
        case pb.SCHOOL_DAY_OUTSIDE_TERMS:
            return ", a day outside the school's terms"
        case pb.SCHOOL_DAY_OUTSIDE_YEARS:
            return ", a day outside the school's academic years"
        case _:
            return ""


def _lessons(lessons: Iterable[pb.Lesson]) -> Table:
    made = console.table("week", "from", "to", "slot", "group", "subject", "room", "teacher", "remarks")
    for one in lessons:
        remarks = [
            word
            for word, holds in (
                ("cover", one.is_cover),
                ("this week or another", one.week_uncertain),
                ("teachers of the group", any(_assigned(teacher) for teacher in one.teachers)),
            )
            if holds
        ]
        slot = one.period
        rooms = ", ".join(room.room.code or room.room.name or room.room_id for room in one.rooms)
        teachers = ", ".join(_name(teacher.staff) or teacher.staff_id for teacher in one.teachers)
        week = str(slot.week) if slot.week else ""
        group = one.group.name or one.group_id
        cells = [week, slot.start_time, slot.end_time, slot.name, group, one.subject.name, rooms, teachers]
        console.add_row(made, [*cells, ", ".join(remarks)])
    return made


def _assigned(teacher: pb.LessonTeacher) -> bool:
    return teacher.source == pb.TEACHER_SOURCE_ASSIGNMENT


def _name(person: Staff | Student) -> str:
    return " ".join(filter(None, (person.forename, person.surname)))


def teachers(
    client: Client,
    school: School,
    group_id: Annotated[
        str, typer.Argument(metavar="GROUP", help="Id of the group's record.", show_default=False)
    ],
    effective_on: EffectiveOn = "today",
    known_at: questions.KnownAt = "",
    as_json: Json = False,
) -> None:
    """List who works with one group on one day, main teachers and tutors first."""
    request = pb.ListTeachersRequest(
        school_id=school, group_id=group_id, effective_on=questions.day(effective_on)
    )
    questions.ask_as_known_at(request, known_at)
    answer = client.call(client.reporting.ListTeachers, request)
    if as_json:
        write_json(answer)
        return
    if answer.teachers:
        made = console.table("id", "name", "main", "in the timetable", "what they do")
        for one in answer.teachers:
            main, timetabled = ("yes" if holds else "" for holds in (one.is_main, one.is_timetabled))
            console.add_row(made, (one.staff_id, _name(one.staff), main, timetabled, _roles(one)))
        console.out().print(made)
    console.remark(f"{console.amount(len(answer.teachers), 'teacher')} on {request.effective_on}")
    basis.tell(answer.basis)


def _roles(teacher: pb.GroupTeacher) -> str:
    info = KINDS_BY_NAME["staff_assignment"]
    found: list[str] = []
    for assignment in teacher.assignments:
        shown = records.as_json(assignment)
        found.append(records.cell(info, "role", shown.get("role")) or assignment.role_code)
    return ", ".join(dict.fromkeys(filter(None, found)))


def attendance(  # noqa: PLR0913, PLR0917 - one parameter per argument and option
    client: Client,
    school: School,
    date_from: Annotated[str, typer.Option("--from", metavar="DAY", help="First day.", show_default=False)],
    date_to: Annotated[
        str, typer.Option("--to", metavar="DAY", help="First day after the span.", show_default=False)
    ],
    student: Annotated[str, typer.Option(metavar="RECORD", help="One pupil.")] = "",
    group: Annotated[str, typer.Option(metavar="RECORD", help="The members of a group.")] = "",
    year_group: Annotated[str, typer.Option(metavar="CODE", help='A year group, like "Year 9".')] = "",
    effective_on: Annotated[
        str, typer.Option(metavar="DAY", help="When members are taken. Default: the last day of the span.")
    ] = "",
    known_at: questions.KnownAt = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write the answer as JSON, a page a line.")] = False,
) -> None:
    """Show percentages of attendance by pupil over a span of days; without a choice, of all pupils."""
    if sum(map(bool, (student, group, year_group))) > 1:
        raise typer.BadParameter("give one of --student, --group and --year-group")
    request = pb.GetAttendanceRequest(
        school_id=school,
        date_from=date_from,
        date_to=questions.day(date_to),
        effective_on=questions.day(effective_on),
        page_size=_MOST_PUPILS,
    )
    for field, value in (("student_id", student), ("group_id", group), ("year_group_code", year_group)):
        if value:
            setattr(request, field, value)
    questions.ask_as_known_at(request, known_at)
    if as_json:
        for page in _pages(client, request):
            write_json(page)
        return
    rows: list[list[str]] = []
    total = pb.AttendanceFigures()
    lessons = 0
    bases: list[pb.Basis] = []
    for page in _pages(client, request):
        names = _students(client, school, [one.student_id for one in page.students], page.basis.seq)
        rows += [
            [one.student_id, names.get(one.student_id, ""), *_row(one.attendance.total)]
            for one in page.students
        ]
        _add(total, page.page_total.total)
        lessons += page.lesson_marks
        bases.append(page.basis)
    if rows:
        _show_attendance(rows, [console.amount(len(rows), "pupil"), "", *_row(total)])
    elif year_group:
        console.remark(f"no pupil is in {year_group!r}: `schoolgate report roll {school}` shows year groups")
    else:
        console.remark("no pupil is meant")
    console.remark(f"sessions, two a day, from {request.date_from} until before {request.date_to}")
    _tell_uncounted(total, lessons)
    basis.tell(*bases)


def _show_attendance(rows: list[list[str]], sums: list[str]) -> None:
    """Write the table, without the columns on the right that do not fit."""
    printer = console.out()
    heads = ["id", "name", "attendance", *_SESSIONS]
    fitting = console.fitting(heads, [*rows, sums], printer.width)
    made = console.table(*heads[:fitting], right=heads[2:])
    for row in rows:
        console.add_row(made, row[:fitting])
    console.add_row(made, sums[:fitting], style="bold")
    printer.print(made)
    if fitting < len(heads):
        console.remark(f"{console.does_not_fit(len(heads) - fitting)}: --json has everything")


def _pages(client: Client, request: pb.GetAttendanceRequest) -> Iterator[pb.GetAttendanceResponse]:
    while True:
        answer = client.call(client.reporting.GetAttendance, request)
        yield answer
        request.page_token = answer.next_page_token
        if not request.page_token:
            return


def _students(client: Client, school: str, ids: list[str], seq: int) -> dict[str, str]:
    """Return the names of pupils by id, as they were known at ``seq``."""
    if not ids:
        return {}
    request = QueryRecordsRequest(
        school_id=school,
        kind=KIND_STUDENT,
        ids=ids,
        include_tombstones=True,
        known_at_seq=seq,
        field_mask=FieldMask(paths=["forename", "surname"]),
    )
    return {
        record.id: _name(record.student)
        for page in client.stream(client.query.QueryRecords, request)
        for record in page.records
    }


def _row(figures: pb.AttendanceFigures) -> list[str]:
    possible = figures.possible_sessions
    share = f"{100 * figures.attended_sessions / possible:.1f}%" if possible else console.NOTHING
    return [share, *(console.number(getattr(figures, name)) for name in _SESSIONS.values())]


def _add(total: pb.AttendanceFigures, part: pb.AttendanceFigures) -> None:
    for name in (*_SESSIONS.values(), *_UNCOUNTED.values()):
        setattr(total, name, getattr(total, name) + getattr(part, name))


def _tell_uncounted(total: pb.AttendanceFigures, lessons: int) -> None:
    """Say what stands in neither number of the percentage."""
    told = [
        f"{console.number(getattr(total, name))} {what}"
        for what, name in _UNCOUNTED.items()
        if getattr(total, name)
    ]
    if told:
        console.remark(f"not counted, sessions: {', '.join(told)}")
    if lessons:
        console.remark(f"not counted: {console.amount(lessons, 'mark')} of lessons, which are no sessions")


def roll(
    client: Client,
    school: School,
    effective_on: EffectiveOn = "today",
    known_at: questions.KnownAt = "",
    as_json: Json = False,
) -> None:
    """Count the pupils on roll on one day, by year group."""
    request = pb.GetRollRequest(school_id=school, effective_on=questions.day(effective_on))
    questions.ask_as_known_at(request, known_at)
    answer = client.call(client.reporting.GetRoll, request)
    if as_json:
        write_json(answer)
        return
    # Columns that are empty everywhere say nothing, but for those of whom the roll consists.
    shown = {
        head: name
        for head, name in _ROLL.items()
        if getattr(answer.total, name) or name in {"on_roll", "single_registration", "dual_main"}
    }
    made = console.table("year group", *shown, right=shown)
    for one in answer.year_groups:
        counts = [int(getattr(one.figures, name)) for name in shown.values()]
        console.add_row(made, [one.year_group_code or console.NOTHING, *counts])
    sums = [int(getattr(answer.total, name)) for name in shown.values()]
    console.add_row(made, ["all", *sums], style="bold")
    console.out().print(made)
    console.remark(f"pupils on {request.effective_on}, each counted once")
    basis.tell(answer.basis)


def register(app: typer.Typer) -> None:
    """Add the group ``report`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Answer a school's own questions (docs/reporting.md).")
    client_command(group, "timetable")(timetable)
    client_command(group, "teachers")(teachers)
    client_command(group, "attendance")(attendance)
    client_command(group, "roll")(roll)
    app.add_typer(group, name="report")
