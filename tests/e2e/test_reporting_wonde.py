"""Answers about a school that was read through Wonde, which shows less than a MIS of its own interface does.

The numbers come from the world that the simulator serves, by no code of the server; what Wonde does not show
has to be said, and never made up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1.reporting_service_pb2_grpc import ReportingServiceStub
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.simulator.entities import group_resource, lesson_days
from schoolgate_wonde.simulator.ids import number_id
from tests.e2e.conftest import service
from tests.e2e.test_reporting import ABSENT, ATTENDED, covers, shown
from tests.support.live import Live, live, wire_key
from tests.support.served import new_request_id

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

SCHOOL = "through-wonde"
SEED, PUPILS, UNTIL = 5, 40, date(2026, 9, 26)
MONDAY = date(2026, 9, 14)
AHEAD = date(2026, 10, 12)
"""A Monday of term that Wonde shows no lessons of yet."""
SPAN: dict[str, Any] = {"date_from": "2026-09-01", "date_to": "2026-10-01"}


class Reports:
    """A school that was read with the core profile, and the world that it is."""

    def __init__(self, client: Live) -> None:
        self.client = client
        self.answers = ReportingServiceStub(client.channel)
        self.world = World.build(SEED, PUPILS, marks_until=UNTIL)
        assert MONDAY in self.world.year.days
        assert AHEAD in self.world.year.days

    def id_of(self, kind: k.Kind.ValueType, namespace: str, *parts: str) -> str:
        key = wire_key(f"wonde/{namespace}", *parts)
        request = q.GetRecordRequest(school_id=SCHOOL, kind=kind, source_key=key)
        return self.client.query.GetRecord(request).record.id

    def student(self, number: int) -> str:
        return self.id_of(k.KIND_STUDENT, "student", number_id("students", number))

    def staff(self, number: int) -> str:
        return self.id_of(k.KIND_STAFF, "employee", number_id("employees", number))

    def group(self, number: int) -> str:
        resource = group_resource(self.world.groups[number])
        return self.id_of(k.KIND_GROUP, "group", resource, number_id(resource, number))

    def present(self) -> set[int]:
        """Return the pupils who are there today: Wonde's list has no others."""
        today = self.world.today
        held = self.world.enrolments.values()
        return {one.pupil for one in held if one.valid_to is None or one.valid_to > today}

    def members(self, group: int) -> set[int]:
        """Return who is in a group today: Wonde shows no other day's members."""
        held = self.world.memberships.values()
        return {
            one.pupil for one in held if one.group == group and covers(one, self.world.today)
        } & self.present()

    def week_of(self, day: date) -> int:
        return dict(lesson_days(self.world))[day]


def counted(world: World, pupil: int) -> tuple[int, int]:
    """Return possible and attended sessions of the span."""
    codes = Counter(mark.code for mark in world.marks(pupils={pupil}))
    return sum(codes[one] for one in ATTENDED | ABSENT), sum(codes[one] for one in ATTENDED)


def told(basis: pb.Basis) -> dict[str, int]:
    """Return what an answer could not tell, by reason, with how often."""
    found: Counter[str] = Counter()
    for one in basis.unresolved:
        found[pb.UnresolvedReason.Name(one.reason).removeprefix("UNRESOLVED_REASON_")] += one.count
    return dict(found)


@contextmanager
def wonde() -> Generator[dict[str, Any]]:
    """Serve the world as Wonde does; yields what the simulator says of itself."""
    world = ("--seed", str(SEED), "--pupils", str(PUPILS), "--marks-until", str(UNTIL))
    process = subprocess.Popen(
        [sys.executable, "-m", "schoolgate_wonde.simulator", *world], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Generator[Reports]:
    folder = tmp_path_factory.mktemp("wonde")
    with (
        wonde() as mis,
        service(folder, {"SCHOOLGATE_CONNECTORS": "wonde"}) as running,
        live(running.target, folder / "data") as client,
    ):
        school = schools.School(
            school_id=SCHOOL,
            connector="wonde",
            settings={"base_url": mis["base_url"], "school_id": mis["schools"][0]},
            academic_year=schools.AcademicYearSpan(
                name="2026/27", valid_from="2026-09-01", valid_to="2027-09-01"
            ),
        )
        client.schools.CreateSchool(
            schools.CreateSchoolRequest(
                school=school, credentials={"token": mis["token"]}, request_id=new_request_id()
            )
        )
        client.sync(SCHOOL)
        yield Reports(client)


def test_the_roll_says_that_nothing_tells_it(reports: Reports) -> None:
    """No enrolments, no roll: a number from the list of pupils would pass for one."""
    answer = reports.answers.GetRoll(pb.GetRollRequest(school_id=SCHOOL, effective_on=MONDAY.isoformat()))
    assert answer.total == pb.RollFigures()
    assert not answer.year_groups
    assert told(answer.basis) == {"STUDENT_WITHOUT_ENROLMENT": len(reports.present())}
    assert list(answer.basis.kinds_without_records) == [k.KIND_ENROLMENT]


def test_attendance_is_the_worlds(reports: Reports) -> None:
    answer = reports.answers.GetAttendance(pb.GetAttendanceRequest(school_id=SCHOOL, page_size=500, **SPAN))
    found = {one.student_id: shown(one.attendance.total) for one in answer.students}
    assert found == {reports.student(one): counted(reports.world, one) for one in reports.present()}
    assert sum(possible for possible, _ in found.values()) > 0
    assert told(answer.basis) == {}


def test_attendance_of_a_year_group_is_that_of_its_present_pupils(reports: Reports) -> None:
    answer = reports.answers.GetAttendance(
        pb.GetAttendanceRequest(school_id=SCHOOL, year_group_code="Year 9", **SPAN)
    )
    pupils = {one for one in reports.present() if reports.world.pupils[one].year_group == "Year 9"}
    assert pupils
    assert {one.student_id: shown(one.attendance.total) for one in answer.students} == {
        reports.student(one): counted(reports.world, one) for one in pupils
    }
    assert list(answer.basis.kinds_without_records) == [k.KIND_ENROLMENT]


def test_attendance_of_a_group_says_that_its_members_have_no_days(reports: Reports) -> None:
    group = reports.world.tutor_groups()[min(reports.present())].number
    answer = reports.answers.GetAttendance(
        pb.GetAttendanceRequest(school_id=SCHOOL, group_id=reports.group(group), **SPAN)
    )
    members = reports.members(group)
    assert {one.student_id for one in answer.students} == {reports.student(one) for one in members}
    assert told(answer.basis) == {"SPAN_UNKNOWN": len(members)}


def test_timetables_are_the_worlds_and_of_a_certain_week(reports: Reports) -> None:
    world = reports.world
    for pupil in sorted(reports.present())[:3]:
        request = pb.GetTimetableRequest(
            school_id=SCHOOL, student_id=reports.student(pupil), date=MONDAY.isoformat()
        )
        answer = reports.answers.GetTimetable(request)
        groups = {number for number in world.groups if pupil in reports.members(number)}
        expected = {
            (
                world.periods[one.period].name,
                f"{world.periods[one.period].starts:%H:%M}",
                world.groups[one.group].name,
                one.room and world.rooms[one.room].code,
                one.staff and world.staff[one.staff].surname,
            )
            for one in world.timetable.values()
            if one.group in groups
            and covers(one, MONDAY)
            and (world.periods[one.period].week, world.periods[one.period].weekday)
            == (reports.week_of(MONDAY), MONDAY.isoweekday())
        }
        assert expected
        assert {
            (
                one.period.name,
                one.period.start_time,
                one.group.name,
                one.rooms[0].room.code if one.rooms else None,
                one.teachers[0].staff.surname if one.teachers else None,
            )
            for one in answer.lessons
        } == expected
        assert not any(one.week_uncertain for one in answer.lessons)
        # Groups are the pupil's today; whether they were so that Monday nobody knows.
        assert told(answer.basis) == {"SPAN_UNKNOWN": len(groups), "SCHOOL_DAY_UNKNOWN": 1}


def test_a_day_of_which_no_lessons_are_shown_yet_is_told_apart_from_a_free_one(reports: Reports) -> None:
    """Seen to fail where nothing was said: a Monday of term looked as if the pupil had no lessons."""
    pupil = min(reports.present())
    last, _ = lesson_days(reports.world)[-1]
    assert last < AHEAD
    for day, unknown in ((AHEAD, 1), (last, 0)):
        request = pb.GetTimetableRequest(
            school_id=SCHOOL, student_id=reports.student(pupil), date=day.isoformat()
        )
        answer = reports.answers.GetTimetable(request)
        assert bool(answer.lessons) != bool(unknown)
        assert told(answer.basis).get("TIMETABLE_UNKNOWN", 0) == unknown
    group = next(one.group for one in reports.world.timetable.values())
    teachers = pb.ListTeachersRequest(
        school_id=SCHOOL, group_id=reports.group(group), effective_on=AHEAD.isoformat()
    )
    assert told(reports.answers.ListTeachers(teachers).basis)["TIMETABLE_UNKNOWN"] == 1


def test_teachers_are_the_worlds_without_what_they_do(reports: Reports) -> None:
    world = reports.world
    classes = [one.number for one in world.groups.values() if one.type_code == "CLASS"][:4]
    for group in classes:
        request = pb.ListTeachersRequest(
            school_id=SCHOOL, group_id=reports.group(group), effective_on=MONDAY.isoformat()
        )
        answer = reports.answers.ListTeachers(request)
        held = [one for one in world.assignments.values() if one.group == group]
        assigned = {one.staff for one in held if covers(one, world.today)}
        timetabled = {
            one.staff
            for one in world.timetable.values()
            if one.group == group
            and covers(one, MONDAY)
            and (world.periods[one.period].week, world.periods[one.period].weekday)
            == (reports.week_of(MONDAY), MONDAY.isoweekday())
        } - {None}
        assert {(one.staff_id, one.is_timetabled) for one in answer.teachers} == {
            (reports.staff(number), number in timetabled) for number in assigned | timetabled if number
        }
        # Wonde names no role: that nobody is the main teacher is not claimed, but said to be unknown.
        assert not any(one.is_main for one in answer.teachers)
        assert told(answer.basis) == {"SPAN_UNKNOWN": len(assigned), "CODE_MISSING": len(assigned)}


def test_the_days_of_the_test_are_as_it_says(reports: Reports) -> None:
    assert reports.world.today < AHEAD - timedelta(days=7)
