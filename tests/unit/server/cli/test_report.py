from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.groups_pb2 import STAFF_ROLE_MAIN_TEACHER, Group, StaffAssignment
from schoolgate.v1.kind_pb2 import KIND_ACADEMIC_YEAR, KIND_STUDENT
from schoolgate.v1.people_pb2 import Staff, Student
from schoolgate.v1.query_service_pb2 import QueryRecordsResponse
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.timetable_pb2 import Period, Room
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, refusal

PUPILS = [f"stu_{n:032x}" for n in range(1, 4)]
GROUP = f"grp_{1:032x}"
TEACHER = f"stf_{1:032x}"
SPAN = ("--from", "2026-03-01", "--to", "2026-03-14")


def written(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def attendance(*students: pb.StudentAttendance, token: str = "", **page: Any) -> pb.GetAttendanceResponse:
    total = pb.AttendanceFigures()
    for one in students:
        figures = one.attendance.total
        total.possible_sessions += figures.possible_sessions
        total.attended_sessions += figures.attended_sessions
        total.not_possible += figures.not_possible
    return pb.GetAttendanceResponse(
        students=students, page_total=pb.Attendance(total=total), next_page_token=token, **page
    )


def of_pupil(number: int, attended: int, possible: int) -> pb.StudentAttendance:
    figures = pb.AttendanceFigures(attended_sessions=attended, possible_sessions=possible, not_possible=1)
    return pb.StudentAttendance(student_id=PUPILS[number], attendance=pb.Attendance(total=figures))


def test_attendance_adds_up_over_pages_and_names_the_pupils(ask: Run, fake: FakeServer) -> None:
    """The percentage of all is that of the sums, and no mean of percentages."""

    def answer(request: pb.GetAttendanceRequest) -> pb.GetAttendanceResponse:
        if not request.page_token:
            page = pb.Basis(seq=9)
            return attendance(of_pupil(0, 10, 20), of_pupil(1, 0, 0), token="on", basis=page, lesson_marks=1)
        return attendance(of_pupil(2, 2000, 2000), basis=pb.Basis(seq=9))

    names = [
        Record(id=PUPILS[number], kind=KIND_STUDENT, student=Student(forename="Ann", surname=surname))
        for number, surname in enumerate(("Reid", "Ní Bhriain", "Okafor"))
    ]
    fake.on("ReportingService/GetAttendance", answer)
    fake.on("QueryService/QueryRecords", [QueryRecordsResponse(records=names)])
    outcome = ask("report", "attendance", "oak", *SPAN)
    assert outcome.status == 0
    assert [line.split()[1:] for line in written(outcome.out)[2:]] == [
        ["Ann", "Reid", "50.0%", "10", "20", "0"],
        ["Ann", "Ní", "Bhriain", "–", "0", "0", "0"],
        ["Ann", "Okafor", "100.0%", "2,000", "2,000", "0"],
        ["pupils", "99.5%", "2,010", "2,020", "0"],
    ]
    assert max(map(len, written(outcome.out))) <= 100
    assert "3 more columns do not fit: --json has everything" in outcome.err
    assert "not counted, sessions: 3 not possible" in outcome.err
    assert "not counted: 1 mark of lessons" in outcome.err
    assert [request.known_at_seq for request in fake.requests if request.DESCRIPTOR.name[0] == "Q"] == [9, 9]


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ((), None, ""),
        (("--student", PUPILS[0]), "student_id", PUPILS[0]),
        (("--group", GROUP), "group_id", GROUP),
        (("--year-group", "Year 9"), "year_group_code", "Year 9"),
    ],
)
def test_whose_attendance(
    ask: Run, fake: FakeServer, arguments: tuple[str, ...], field: str | None, value: str
) -> None:
    fake.on("ReportingService/GetAttendance", attendance())
    outcome = ask("report", "attendance", "oak", *SPAN, *arguments, "--known-at", "2026-03-10T08:00")
    assert outcome.status == 0
    (request,) = fake.requests
    assert (request.WhichOneof("selection"), request.date_from, request.date_to) == (
        field,
        "2026-03-01",
        "2026-03-14",
    )
    assert not field or getattr(request, field) == value
    assert request.known_at.ToJsonString() == "2026-03-10T08:00:00Z"
    assert ("`schoolgate report roll oak` shows year groups" in outcome.err) == (field == "year_group_code")


def test_one_selection_of_attendance(ask: Run, fake: FakeServer) -> None:
    outcome = ask("report", "attendance", "oak", *SPAN, "--group", GROUP, "--year-group", "Year 9")
    assert outcome.status == 2
    assert not fake.requests


def test_the_roll(ask: Run, fake: FakeServer) -> None:
    nine = pb.RollFigures(on_roll=1_501, single_registration=1_500, dual_main=1, guests=2)
    answer = pb.GetRollResponse(total=nine, basis=pb.Basis(seq=9))
    answer.year_groups.add(year_group_code="Year 9", figures=nine)
    fake.on("ReportingService/GetRoll", answer)
    outcome = ask("report", "roll", "oak", "--effective-on", "2026-03-03")
    assert written(outcome.out) == [
        "year group  on roll  single  dual main  guests",
        "──────────────────────────────────────────────",
        "Year 9        1,501   1,500          1       2",
        "all           1,501   1,500          1       2",
    ]
    assert fake.requests[0].effective_on == "2026-03-03"
    as_json = ask("report", "roll", "oak", "--effective-on", "2026-03-03", "--json")
    assert json.loads(as_json.out)["total"]["on_roll"] == "1501"
    assert as_json.err == ""


def test_a_timetable(ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    def lesson(name: str, starts: str, **rest: Any) -> pb.Lesson:
        slot = Period(name=name, week=1, start_time=starts, end_time="15:00")
        return pb.Lesson(period=slot, group=Group(name="9Ma1"), **rest)

    staff = Staff(forename="Ann", surname="Reid")
    answer = pb.GetTimetableResponse(
        school_day=pb.SCHOOL_DAY_IN_TERM,
        lessons=[
            lesson(
                "Mon P1",
                "09:00",
                teachers=[
                    pb.LessonTeacher(staff_id=TEACHER, staff=staff, source=pb.TEACHER_SOURCE_ASSIGNMENT)
                ],
                rooms=[pb.LessonRoom(room=Room(code="M1"))],
                week_uncertain=True,
            ),
            lesson("Mon P2", "10:00", teachers=[pb.LessonTeacher(staff_id=TEACHER)], is_cover=True),
        ],
        basis=pb.Basis(seq=9),
    )
    fake.on("ReportingService/GetTimetable", answer)
    outcome = ask(
        "report", "timetable", "oak", PUPILS[0], "--effective-on", "2026-03-02", "--cycle-week", "2"
    )
    first, second = (" ".join(line.split()) for line in written(outcome.out)[2:])
    assert first == "1 09:00 15:00 Mon P1 9Ma1 M1 Ann Reid this week or another, teachers of the group"
    assert second == f"1 10:00 15:00 Mon P2 9Ma1 {TEACHER} cover"
    assert "2 lessons on 2026-03-02, a day of term" in outcome.err
    (request,) = fake.requests
    assert (request.student_id, request.date, request.cycle_week) == (PUPILS[0], "2026-03-02", 2)


def test_teachers(ask: Run, fake: FakeServer) -> None:
    one = pb.GroupTeacher(staff_id=TEACHER, staff=Staff(forename="Ann", surname="Reid"), is_main=True)
    one.assignments.append(StaffAssignment(role=STAFF_ROLE_MAIN_TEACHER))
    one.assignments.append(StaffAssignment(role_code="Librarian"))
    fake.on("ReportingService/ListTeachers", pb.ListTeachersResponse(teachers=[one], basis=pb.Basis(seq=9)))
    outcome = ask("report", "teachers", "oak", GROUP, "--effective-on", "2026-03-02")
    assert " ".join(written(outcome.out)[2].split()) == f"{TEACHER} Ann Reid yes main teacher, Librarian"
    assert fake.requests[0].group_id == GROUP


def test_what_could_not_be_told_is_told(ask: Run, fake: FakeServer) -> None:
    answer = pb.GetRollResponse(
        basis=pb.Basis(
            seq=9, fields_not_kept=["enrolment.status_code"], kinds_without_records=[KIND_ACADEMIC_YEAR]
        )
    )
    for reason in pb.UnresolvedReason.values():
        answer.basis.unresolved.add(reason=reason, count=1_234, detail="detail", record_ids=PUPILS)
    answer.basis.unresolved.add(reason=99, count=5, detail="news")  # a newer server's
    fake.on("ReportingService/GetRoll", answer)
    told = " ".join(ask("report", "roll", "oak").err.split())
    assert f"1,234: pupils without a year group, as {PUPILS[0]}" in told
    assert "1,234: records (detail) without a first day" in told
    assert "5: reason 99 news" in told
    assert "the school's data profile drops enrolment.status_code" in told
    assert "no records at all of: academic_year" in told
    assert told.count("reason ") == 2, "every reason but the one that is never sent has a sentence"


def test_a_refusal_tells_the_next_step(ask: Run, fake: FakeServer) -> None:
    def refuse(_: object) -> pb.GetRollResponse:
        raise refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "FIELDS_NOT_KEPT",
            "the school's data profile does not keep enrolment.status_code",
            fields="enrolment.status_code",
        )

    fake.on("ReportingService/GetRoll", refuse)
    outcome = ask("report", "roll", "oak")
    assert outcome.status == 1
    assert outcome.out == ""
    assert "next:  let the school's data profile keep enrolment.status_code" in outcome.err
