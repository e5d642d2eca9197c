"""What is asked wrongly, by whom, and of a school that keeps too little."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1 import school_service_pb2 as schools
from tests.integration.reporting.conftest import SCHOOL, Oak
from tests.support.served import new_request_id, refused

pytestmark = pytest.mark.slow

STUDENT, GROUP = f"stu_{1:032x}", f"grp_{1:032x}"


async def test_all_that_is_wrong_is_told_at_once(oak: Oak) -> None:
    calls = oak.client.reporting
    wrong: dict[str, Any] = {"school_id": "?", "known_at_seq": -1}
    asked: list[tuple[Any, list[str]]] = [
        (
            calls.GetTimetable(
                pb.GetTimetableRequest(student_id=GROUP, date="2026-02-30", cycle_week=-1, **wrong)
            ),
            ["student_id", "date", "cycle_week"],
        ),
        (
            calls.ListTeachers(pb.ListTeachersRequest(group_id="7A", **wrong)),
            ["group_id", "effective_on"],
        ),
        (
            calls.GetAttendance(
                pb.GetAttendanceRequest(
                    year_group_code=" ", date_from="2026", effective_on="today", page_size=501, **wrong
                )
            ),
            ["year_group_code", "date_from", "date_to", "effective_on", "page_size"],
        ),
        (calls.GetRoll(pb.GetRollRequest(**wrong)), ["effective_on"]),
    ]
    for call, fields in asked:
        failure = await refused(call)
        assert failure.reason == "REQUEST_INVALID"
        assert list(failure.violations) == ["school_id", "known_at_seq", *fields]


@pytest.mark.parametrize(
    ("begins", "ends"),
    [("2026-09-01", "2026-09-01"), ("2026-09-02", "2026-09-01"), ("2026-01-01", "2027-02-06")],
)
async def test_a_span_has_bounds(oak: Oak, begins: str, ends: str) -> None:
    request = pb.GetAttendanceRequest(school_id=SCHOOL, date_from=begins, date_to=ends)
    failure = await refused(oak.client.reporting.GetAttendance(request))
    assert list(failure.violations) == ["date_to"]


async def test_nobody_is_found_who_is_not_there(oak: Oak) -> None:
    calls = oak.client.reporting
    span: dict[str, Any] = {"date_from": "2026-09-01", "date_to": "2026-09-10"}
    for call in (
        calls.GetTimetable(pb.GetTimetableRequest(school_id=SCHOOL, student_id=STUDENT, date="2026-09-07")),
        calls.ListTeachers(
            pb.ListTeachersRequest(school_id=SCHOOL, group_id=GROUP, effective_on="2026-09-07")
        ),
        calls.GetAttendance(pb.GetAttendanceRequest(school_id=SCHOOL, student_id=STUDENT, **span)),
        calls.GetAttendance(pb.GetAttendanceRequest(school_id=SCHOOL, group_id=GROUP, **span)),
    ):
        assert (await refused(call)).reason == "RECORD_NOT_FOUND"
    request = pb.GetRollRequest(school_id="elm", effective_on="2026-09-07")
    assert (await refused(calls.GetRoll(request))).reason == "SCHOOL_NOT_FOUND"
    request = pb.GetRollRequest(school_id=SCHOOL, effective_on="2026-09-07", known_at_seq=10**9)
    assert list((await refused(calls.GetRoll(request))).violations) == ["known_at_seq"]


async def test_a_school_without_the_fields_is_told_which(oak: Oak) -> None:
    """The core profile has everything; a school may keep less."""
    got = await oak.client.schools.GetSchool(schools.GetSchoolRequest(school_id=SCHOOL))
    school = got.school
    del school.data_profile[:]
    school.data_profile.extend(["student.surname", "attendance_mark.session", "period.weekday"])
    update = schools.UpdateSchoolRequest(school=school, request_id=new_request_id())
    update.update_mask.paths.append("data_profile")
    await oak.client.schools.UpdateSchool(update)
    calls = oak.client.reporting
    failure = await refused(
        calls.GetAttendance(
            pb.GetAttendanceRequest(school_id=SCHOOL, date_from="2026-09-01", date_to="2026-09-10")
        )
    )
    assert (failure.reason, failure.metadata) == ("FIELDS_NOT_KEPT", {"fields": "attendance_mark.code"})
    failure = await refused(calls.GetRoll(pb.GetRollRequest(school_id=SCHOOL, effective_on="2026-09-07")))
    assert (failure.reason, failure.metadata) == ("FIELDS_NOT_KEPT", {"fields": "enrolment.status_code"})
    student = oak.stored.id_of(k.KIND_STUDENT, next(iter(oak.world.pupils)))
    answer = await calls.GetTimetable(
        pb.GetTimetableRequest(school_id=SCHOOL, student_id=student, date="2026-09-07")
    )
    assert "period.week" in answer.basis.fields_not_kept
    assert "period.weekday" not in answer.basis.fields_not_kept


async def test_as_of_a_point_in_time(oak: Oak) -> None:
    """Before the first commit nothing was known; both ways to name an instant at once are refused."""
    calls = oak.client.reporting
    request = pb.GetRollRequest(school_id=SCHOOL, effective_on="2026-09-07")
    request.known_at.FromJsonString("2026-01-01T00:00:00Z")
    answer = await calls.GetRoll(request)
    assert (answer.basis.seq, answer.total.on_roll) == (0, 0)
    request.known_at_seq = oak.seq
    assert list((await refused(calls.GetRoll(request))).violations) == ["known_at"]


async def test_kinds_that_a_school_has_none_of_are_told(oak: Oak) -> None:
    await oak.client.create_school("elm", "scripted")
    answer = await oak.client.reporting.GetRoll(pb.GetRollRequest(school_id="elm", effective_on="2026-09-07"))
    assert list(answer.basis.kinds_without_records) == [k.KIND_STUDENT, k.KIND_ENROLMENT]
    assert answer.total == pb.RollFigures()
