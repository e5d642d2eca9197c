"""Answers to a school's questions are what the world says, computed from its own parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT
from schoolgate_sdk.testing.entities import Mark
from schoolgate_sdk.testing.world import World
from tests.integration.reporting.conftest import PUPILS, SCHOOL, Oak, built_world
from tests.support.served import refused
from tests.support.world_store import WorldStore

pytestmark = pytest.mark.slow

ATTENDED = {"/", "\\", "L", "K", "V", "P", "W", "B"}
ABSENT = {"C", "C1", "C2", "E", "I", "J1", "M", "R", "S", "T", "G", "N", "O", "U"}
FROM, TO = date(2026, 9, 7), date(2026, 9, 12)
MONDAY = date(2026, 9, 14)


def covers(span: Any, day: date) -> bool:
    begins: date = span.valid_from
    ends: date | None = span.valid_to
    return begins <= day and (ends is None or day < ends)


def counted(marks: Iterable[Mark]) -> tuple[int, int]:
    """Return possible and attended sessions."""
    codes = [mark.code for mark in marks]
    return sum(code in ATTENDED | ABSENT for code in codes), sum(code in ATTENDED for code in codes)


def shown(figures: pb.AttendanceFigures) -> tuple[int, int]:
    if figures.possible_sessions:
        assert figures.percentage == pytest.approx(
            100 * figures.attended_sessions / figures.possible_sessions
        )
    else:
        assert not figures.HasField("percentage")
    return figures.possible_sessions, figures.attended_sessions


async def attendance(oak: Oak, **asked: Any) -> pb.GetAttendanceResponse:
    span: dict[str, Any] = {"date_from": FROM.isoformat(), "date_to": TO.isoformat()}
    return await oak.client.reporting.GetAttendance(
        pb.GetAttendanceRequest(school_id=SCHOOL, **{**span, **asked})
    )


def expected_attendance(world: World, pupils: Collection[int]) -> dict[int, tuple[int, int]]:
    return {pupil: counted(world.marks(FROM, TO, pupils={pupil})) for pupil in pupils}


async def test_attendance_of_every_pupil(oak: Oak) -> None:
    world = oak.world
    answer = await attendance(oak, page_size=500)
    expected = expected_attendance(world, world.pupils)
    told = {one.student_id: shown(one.attendance.total) for one in answer.students}
    assert told == {oak.stored.id_of(k.KIND_STUDENT, pupil): value for pupil, value in expected.items()}
    for figures, session in ((answer.page_total.am, "AM"), (answer.page_total.pm, "PM")):
        assert shown(figures) == counted(mark for mark in world.marks(FROM, TO) if mark.session == session)
    assert {one.code: one.count for one in answer.codes} == Counter(
        mark.code for mark in world.marks(FROM, TO)
    )
    assert (answer.student_count, answer.next_page_token, answer.basis.seq) == (PUPILS, "", oak.seq)
    assert not answer.basis.unresolved


async def test_g12_pages_are_of_one_instant(oak: Oak) -> None:
    """Seen to fail where the instant that a page token carries is not looked at."""
    first = await attendance(oak, page_size=15)
    before = await attendance(oak, page_size=500)
    mark = next(oak.world.marks(FROM, TO, pupils=set(oak.world.pupils)))
    for number in oak.world.pupils:
        for one in list(oak.world.marks(FROM, TO, pupils={number}))[:1]:
            oak.world.correct_mark(number, one.date, one.session, "G")
    await oak.stored.put(truth for truth in oak.world.canonical() if truth.kind == k.KIND_ATTENDANCE_MARK)
    rest = await attendance(oak, page_size=15, page_token=first.next_page_token)
    assert [len(first.students), len(rest.students), rest.next_page_token] == [15, 9, ""]
    assert [*first.students, *rest.students] == list(before.students)
    assert {first.basis.seq, rest.basis.seq} == {oak.seq}
    assert (await attendance(oak, page_size=500, known_at_seq=oak.seq)).students == before.students
    now = await attendance(oak, student_id=oak.stored.id_of(k.KIND_STUDENT, mark.pupil))
    [told] = now.students
    assert shown(told.attendance.total) == expected_attendance(oak.world, [mark.pupil])[mark.pupil]
    foreign = await refused(
        oak.client.reporting.GetAttendance(
            pb.GetAttendanceRequest(
                school_id=SCHOOL,
                date_from=FROM.isoformat(),
                date_to=FROM.replace(day=9).isoformat(),
                page_token=first.next_page_token,
            )
        )
    )
    assert foreign.reason == "PAGE_TOKEN_INVALID"


async def test_attendance_of_groups_and_year_groups(oak: Oak) -> None:
    world = oak.world
    for group in [one for one in world.groups.values() if one.type_code in {"TUTORGRP", "CLASS"}][:5]:
        members = {held.pupil for held in world.memberships.values() if held.group == group.number}
        answer = await attendance(oak, group_id=oak.stored.id_of(k.KIND_GROUP, group.number))
        expected = expected_attendance(world, members)
        assert answer.student_count == len(members)
        sums = tuple(map(sum, zip(*expected.values(), strict=True))) if expected else (0, 0)
        assert shown(answer.page_total.total) == sums
    for year_group in sorted({pupil.year_group for pupil in world.pupils.values()}):
        of_year = {held.pupil for held in world.enrolments.values() if held.year_group == year_group}
        answer = await attendance(oak, year_group_code=year_group)
        assert {one.student_id for one in answer.students} == {
            oak.stored.id_of(k.KIND_STUDENT, pupil) for pupil in of_year
        }


async def test_codes_that_nobody_knows_are_apart(oak: Oak) -> None:
    pupil, other = list(oak.world.pupils)[:2]
    truths = [truth for truth in oak.world.canonical(FROM, TO) if truth.kind == k.KIND_ATTENDANCE_MARK]
    mine = [truth for truth in truths if truth.key[0] == pupil][:3]
    for truth, code in zip(mine, ("?", "?", "H"), strict=True):
        truth.message.code = code  # type: ignore[attr-defined]  # an AttendanceMark
    await oak.stored.put(mine)
    answer = await attendance(oak, student_id=oak.stored.id_of(k.KIND_STUDENT, pupil))
    figures = answer.page_total.total
    changed = {truth.key for truth in mine}
    kept = [
        mark
        for mark in oak.world.marks(FROM, TO, pupils={pupil})
        if (mark.pupil, mark.date.isoformat(), mark.session) not in changed
    ]
    assert (figures.unmapped, figures.retired) == (2, 1)
    assert shown(figures) == counted(kept)
    assert {(one.reason, one.detail, one.count) for one in answer.basis.unresolved} == {
        (pb.UNRESOLVED_REASON_CODE_WITHOUT_MEANING, "?", 2),
        (pb.UNRESOLVED_REASON_CODE_RETIRED, "H", 1),
    }
    untouched = await attendance(oak, student_id=oak.stored.id_of(k.KIND_STUDENT, other))
    assert not untouched.basis.unresolved


def expected_roll(world: World, day: date) -> dict[str, Counter[str]]:
    """Return pupils by status by year group, each once; a dually registered one has M and S here."""
    held: dict[int, dict[str, str]] = {}
    for enrolment in world.enrolments.values():
        if covers(enrolment, day):
            held.setdefault(enrolment.pupil, {})[enrolment.status_code] = enrolment.year_group
    roll: dict[str, Counter[str]] = {}
    for statuses in held.values():
        status = next(one for one in "MCS" if one in statuses)
        roll.setdefault(statuses[status], Counter())[status] += 1
    return roll


async def roll_on(oak: Oak, day: date, seq: int = 0) -> pb.GetRollResponse:
    return await oak.client.reporting.GetRoll(
        pb.GetRollRequest(school_id=SCHOOL, effective_on=day.isoformat(), known_at_seq=seq)
    )


def by_status(answer: pb.GetRollResponse) -> dict[str, Counter[str]]:
    return {
        one.year_group_code: Counter(
            {
                status: count
                for status, count in (
                    ("C", one.figures.single_registration),
                    ("M", one.figures.dual_main),
                    ("S", one.figures.dual_subsidiary),
                )
                if count
            }
        )
        for one in answer.year_groups
    }


async def test_the_roll_by_year_group(oak: Oak) -> None:
    """Joiners, leavers on and around their last day, and a leaver whose rows are gone by now."""
    world, day = oak.world, date(2026, 10, 5)
    plain = [p for p in world.pupils if sum(held.pupil == p for held in world.enrolments.values()) == 1]
    world.leave(plain[0], day)
    world.leave(plain[1], day)
    world.join(on=day, year_group="Year 8", forename="Zoë", surname="O'Brien")
    await oak.stored.put(world.canonical())
    gone = [
        truth
        for truth in world.canonical()
        if truth.key[0] == plain[1] and truth.kind in {k.KIND_STUDENT, k.KIND_ENROLMENT}
    ]
    await oak.stored.put(gone, TOMBSTONE_REASON_LEFT)
    for on in (day - timedelta(days=1), day, day + timedelta(days=1), date(2026, 8, 1)):
        answer = await roll_on(oak, on)
        expected = expected_roll(world, on)
        assert by_status(answer) == expected
        assert answer.total.on_roll == sum(count.total() for count in expected.values())
        assert not answer.basis.unresolved
    duals = {held.pupil for held in world.enrolments.values() if held.status_code == "M"}
    assert duals
    assert (await roll_on(oak, day)).total.dual_main == len(duals)
    assert by_status(await roll_on(oak, day, oak.seq)) == expected_roll(built_world(), day)


def assigned(world: World, group: int, day: date) -> set[int]:
    return {held.staff for held in world.assignments.values() if held.group == group and covers(held, day)}


def lessons_of(world: World, stored: WorldStore, pupil: int, day: date) -> set[tuple[Any, ...]]:
    """Return week, times, group, subject, teacher and room of every lesson of a weekday."""
    found: set[tuple[Any, ...]] = set()
    groups = {held.group for held in world.memberships.values() if held.pupil == pupil and covers(held, day)}
    for entry in world.timetable.values():
        period = world.periods[entry.period]
        if entry.group in groups and covers(entry, day) and period.weekday == day.isoweekday():
            group = world.groups[entry.group]
            subject = world.subjects[group.subject].name if group.subject else ""
            staff = frozenset([entry.staff] if entry.staff else assigned(world, entry.group, day))
            room = entry.room and world.rooms[entry.room].code
            times = (f"{period.starts:%H:%M}", f"{period.ends:%H:%M}")
            ids = frozenset(stored.id_of(k.KIND_STAFF, number) for number in staff)
            found.add((period.week, *times, group.name, subject, ids, room))
    return found


async def timetable(oak: Oak, pupil: int, day: date, **asked: Any) -> pb.GetTimetableResponse:
    return await oak.client.reporting.GetTimetable(
        pb.GetTimetableRequest(
            school_id=SCHOOL,
            student_id=oak.stored.id_of(k.KIND_STUDENT, pupil),
            date=day.isoformat(),
            **asked,
        )
    )


def told_lessons(answer: pb.GetTimetableResponse) -> set[tuple[Any, ...]]:
    return {
        (
            one.period.week,
            one.period.start_time,
            one.period.end_time,
            one.group.name,
            one.subject.name,
            frozenset(teacher.staff_id for teacher in one.teachers),
            one.rooms[0].room.code if one.rooms else None,
        )
        for one in answer.lessons
    }


async def test_a_pupils_timetable(oak: Oak) -> None:
    world = oak.world
    pupils = list(world.pupils)
    world.rebuild_timetable(MONDAY)
    await oak.stored.put(
        truth
        for truth in world.canonical()
        if truth.kind in {k.KIND_TIMETABLE_ENTRY, k.KIND_STAFF_ASSIGNMENT}
    )
    for pupil in (pupils[0], pupils[-1]):
        for day in (MONDAY - timedelta(days=3), MONDAY, MONDAY + timedelta(days=1)):
            answer = await timetable(oak, pupil, day)
            expected = lessons_of(world, oak.stored, pupil, day)
            assert told_lessons(answer) == expected
            assert answer.school_day == pb.SCHOOL_DAY_IN_TERM
            assert len(answer.lessons) == len(expected)
            assert all(teacher.staff.surname for one in answer.lessons for teacher in one.teachers)
            [unresolved] = answer.basis.unresolved
            assert unresolved.reason == pb.UNRESOLVED_REASON_CYCLE_WEEK_UNKNOWN
            assert (unresolved.count, unresolved.detail) == (len(expected), "2")
            starts = [(one.period.week, one.period.start_time) for one in answer.lessons]
            assert starts == sorted(starts)
    known = await timetable(oak, pupils[0], MONDAY, cycle_week=2)
    of_week = {one for one in lessons_of(world, oak.stored, pupils[0], MONDAY) if one[0] == 2}
    assert told_lessons(known) == of_week
    assert not known.basis.unresolved
    assert told_lessons(await timetable(oak, pupils[0], MONDAY, known_at_seq=oak.seq)) == lessons_of(
        built_world(), oak.stored, pupils[0], MONDAY
    )


@pytest.mark.parametrize(
    ("day", "meets"),
    [
        (date(2026, 12, 29), pb.SCHOOL_DAY_OUTSIDE_TERMS),
        (date(2026, 8, 3), pb.SCHOOL_DAY_OUTSIDE_YEARS),
        (date(2026, 9, 13), pb.SCHOOL_DAY_IN_TERM),
    ],
)
async def test_no_lessons_in_holidays_and_at_weekends(oak: Oak, day: date, meets: int) -> None:
    answer = await timetable(oak, next(iter(oak.world.pupils)), day)
    assert (answer.school_day, list(answer.lessons)) == (meets, [])


async def test_who_teaches_a_group(oak: Oak) -> None:
    world = oak.world
    world.rebuild_timetable(MONDAY)
    await oak.stored.put(
        truth
        for truth in world.canonical()
        if truth.kind in {k.KIND_TIMETABLE_ENTRY, k.KIND_STAFF_ASSIGNMENT}
    )
    replaced = [held for held in world.assignments.values() if held.valid_to == MONDAY]
    assert replaced, "the new timetable changes some classes' teachers"
    for group in {replaced[0].group, *list(world.groups)[:4]}:
        for day in (MONDAY - timedelta(days=1), MONDAY):
            answer = await oak.client.reporting.ListTeachers(
                pb.ListTeachersRequest(
                    school_id=SCHOOL,
                    group_id=oak.stored.id_of(k.KIND_GROUP, group),
                    effective_on=day.isoformat(),
                )
            )
            held = [one for one in world.assignments.values() if one.group == group and covers(one, day)]
            main = {
                one.staff for one in held if one.role_code in {"Main Teacher", "Main Tutor", "Head of House"}
            }
            timetabled = {
                one.staff for one in world.timetable.values() if one.group == group and covers(one, day)
            } - {None}
            everybody = {one.staff for one in held} | timetabled
            assert {
                (one.staff_id, one.is_main, one.is_timetabled, one.staff.surname) for one in answer.teachers
            } == {
                (
                    oak.stored.id_of(k.KIND_STAFF, number),
                    number in main,
                    number in timetabled,
                    world.staff[number].surname,
                )
                for number in everybody
                if number is not None
            }
            assert [one.is_main for one in answer.teachers] == sorted(
                (one.is_main for one in answer.teachers), reverse=True
            )
            assert sum(len(one.assignments) for one in answer.teachers) == len(held)
