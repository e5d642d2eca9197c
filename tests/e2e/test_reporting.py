"""docs/reporting.md, run as it stands there, and what it answers about a school that was read from Bromcom.

The numbers that it is compared with come from the world that the simulator serves, by no code of the server.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Generator
from datetime import date
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.reporting_service_pb2_grpc import ReportingServiceStub
from schoolgate_sdk.testing.world import World
from tests.e2e.conftest import ROOT, Service
from tests.support.live import CLOSED_YEAR, Live, live, wire_key
from tests.support.simulator import start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "reports"
SEED, PUPILS, BEGINS, UNTIL = 5, 40, date(2024, 9, 1), date(2024, 9, 28)
MONDAY = date(2024, 9, 16)
SPAN: dict[str, Any] = {"date_from": "2024-09-01", "date_to": "2024-10-01"}
ATTENDED = {"/", "\\", "L", "K", "V", "P", "W", "B"}
ABSENT = {"C", "C1", "C2", "E", "I", "J1", "M", "R", "S", "T", "G", "N", "O", "U"}


class Reports:
    """A synced school with the core profile, and the world that it is."""

    def __init__(self, service: Live) -> None:
        self.service = service
        self.answers = ReportingServiceStub(service.channel)
        self.world = World.build(SEED, PUPILS, BEGINS, UNTIL)

    def id_of(self, kind: k.Kind.ValueType, namespace: str, number: int) -> str:
        key = wire_key(f"bromcom/{namespace}", number)
        request = q.GetRecordRequest(school_id=SCHOOL, kind=kind, source_key=key)
        return self.service.query.GetRecord(request).record.id

    def student(self, number: int) -> str:
        return self.id_of(k.KIND_STUDENT, "student", number)

    def group(self, number: int) -> str:
        return self.id_of(k.KIND_GROUP, "collection", number)

    def staff(self, number: int) -> str:
        return self.id_of(k.KIND_STAFF, "staff", number)

    def counted(self, *pupils: int) -> tuple[int, int]:
        """Return possible and attended sessions of the span."""
        codes = Counter(mark.code for mark in self.world.marks(pupils=set(pupils)))
        return sum(codes[one] for one in ATTENDED | ABSENT), sum(codes[one] for one in ATTENDED)


@pytest.fixture(scope="module")
def reports(open_service: Service) -> Generator[Reports]:
    world = ("--seed", str(SEED), "--pupils", str(PUPILS), "--academic-year-start", str(BEGINS))
    with (
        start_simulator(*world, "--marks-until", str(UNTIL)) as simulator,
        live(open_service.target, open_service.log.parent / "data") as service,
    ):
        service.register(SCHOOL, simulator, academic_year=CLOSED_YEAR)
        service.sync(SCHOOL)
        yield Reports(service)


def covers(span: Any, day: date) -> bool:
    begins: date = span.valid_from
    ends: date | None = span.valid_to
    return begins <= day and (ends is None or day < ends)


def shown(figures: pb.AttendanceFigures) -> tuple[int, int]:
    return figures.possible_sessions, figures.attended_sessions


def test_attendance_is_the_worlds(reports: Reports) -> None:
    answer = reports.answers.GetAttendance(pb.GetAttendanceRequest(school_id=SCHOOL, page_size=500, **SPAN))
    told = {one.student_id: shown(one.attendance.total) for one in answer.students}
    assert told == {reports.student(number): reports.counted(number) for number in reports.world.pupils}
    possible, attended = reports.counted(*reports.world.pupils)
    assert answer.page_total.total.percentage == pytest.approx(100 * attended / possible)
    assert not answer.basis.unresolved


def test_the_roll_is_the_worlds(reports: Reports) -> None:
    answer = reports.answers.GetRoll(pb.GetRollRequest(school_id=SCHOOL, effective_on=MONDAY.isoformat()))
    held: dict[int, dict[str, str]] = {}
    for one in reports.world.enrolments.values():
        if covers(one, MONDAY):
            held.setdefault(one.pupil, {})[one.status_code] = one.year_group
    expected = Counter(statuses.get("M") or next(iter(statuses.values())) for statuses in held.values())
    assert {one.year_group_code: one.figures.on_roll for one in answer.year_groups} == expected
    assert answer.total.dual_main == sum("M" in statuses for statuses in held.values())


def test_timetables_are_the_worlds(reports: Reports) -> None:
    world = reports.world
    for pupil in list(world.pupils)[:3]:
        request = pb.GetTimetableRequest(
            school_id=SCHOOL, student_id=reports.student(pupil), date=MONDAY.isoformat(), cycle_week=1
        )
        answer = reports.answers.GetTimetable(request)
        groups = {
            one.group for one in world.memberships.values() if one.pupil == pupil and covers(one, MONDAY)
        }
        expected = {
            (
                world.periods[one.period].name,
                f"{world.periods[one.period].starts:%H:%M}",
                world.groups[one.group].name,
                one.room and world.rooms[one.room].code,
            )
            for one in world.timetable.values()
            if one.group in groups
            and covers(one, MONDAY)
            and (world.periods[one.period].week, world.periods[one.period].weekday) == (1, 1)
        }
        assert expected
        assert {
            (
                one.period.name,
                one.period.start_time,
                one.group.name,
                one.rooms[0].room.code if one.rooms else None,
            )
            for one in answer.lessons
        } == expected
        told = {one.reason for one in answer.basis.unresolved}
        assert told == {pb.UNRESOLVED_REASON_SCHOOL_DAY_UNKNOWN}, "Bromcom has no academic years"


def test_teachers_are_the_worlds(reports: Reports) -> None:
    world = reports.world
    for group in [one.number for one in world.groups.values() if one.type_code in {"CLASS", "TUTORGRP"}][:4]:
        request = pb.ListTeachersRequest(
            school_id=SCHOOL, group_id=reports.group(group), effective_on=MONDAY.isoformat()
        )
        answer = reports.answers.ListTeachers(request)
        held = [one for one in world.assignments.values() if one.group == group and covers(one, MONDAY)]
        timetabled = {
            one.staff for one in world.timetable.values() if one.group == group and covers(one, MONDAY)
        }
        main = {one.staff for one in held if one.role_code.startswith("Main")}
        everybody = {one.staff for one in held} | {one for one in timetabled if one is not None}
        assert {(one.staff_id, one.is_main, one.is_timetabled) for one in answer.teachers} == {
            (reports.staff(number), number in main, number in timetabled) for number in everybody
        }
        spans = [one for one in answer.basis.unresolved if one.reason == pb.UNRESOLVED_REASON_SPAN_UNKNOWN]
        assert sum(one.count for one in spans) == len(held), "Bromcom says from when of nobody"


def examples() -> list[str]:
    text = (ROOT / "docs" / "reporting.md").read_text()
    blocks = re.findall(r"^    grpcurl .*(?:\n {8}.*)*", text, re.MULTILINE)
    return [line.replace("\\\n", " ") for line in blocks]


def size_of(method: str, answer: Any) -> int:
    """Return how much an answer tells: pupils, sessions, lessons or teachers."""
    if method == "GetRoll":
        return int(answer["total"]["on_roll"])
    if method == "GetAttendance":
        return int(answer["page_total"]["total"]["possible_sessions"])
    return len(answer["lessons" if method == "GetTimetable" else "teachers"])


def test_every_example_of_the_document_runs(
    reports: Reports, open_service: Service, grpcurl_path: str
) -> None:
    world = reports.world
    pupil = next(iter(world.pupils))
    tutor = world.tutor_groups(MONDAY)[pupil].number
    methods: Counter[str] = Counter()
    for line in examples():
        words = shlex.split(line)
        assert words[0] == "grpcurl"
        words = [word.replace("127.0.0.1:50551", open_service.target) for word in words]
        asked = words.index("-d") + 1
        words[asked] = (
            words[asked]
            .replace('"oak"', f'"{SCHOOL}"')
            .replace("STUDENT", reports.student(pupil))
            .replace("GROUP", reports.group(tutor))
        )
        done = subprocess.run(
            [grpcurl_path, *words[1:]], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        answer = json.loads(done.stdout)
        method = words[-1].rpartition("/")[2]
        methods[method] += 1
        assert size_of(method, answer) > 0, line
    assert methods == {"GetRoll": 1, "GetAttendance": 3, "GetTimetable": 2, "ListTeachers": 1}
