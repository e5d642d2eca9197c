from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import groups_pb2 as g
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.roll_pb2 import AcademicYear
from schoolgate_server.reporting import timetable
from schoolgate_server.reporting.standing import Unresolved, cut
from tests.unit.server.reporting.made import record

MONDAY, TUESDAY = "2026-11-02", "2026-11-03"
GROUP, OTHER_GROUP = f"grp_{1:032x}", f"grp_{2:032x}"
STAFF, OTHER_STAFF = f"stf_{1:032x}", f"stf_{2:032x}"


def period(number: int, weekday: int | None, week: int | None = None, start: str = "09:00") -> Record:
    body: dict[str, Any] = {"name": f"P{number}", "start_time": start}
    if weekday is not None:
        body["weekday"] = weekday
    if week is not None:
        body["week"] = week
    return record("period", f"per_{number:032x}", **body)


def entry(number: int, group: str = GROUP, begins: str = "2026-09-01", ends: str = "", **more: Any) -> Record:
    span: dict[str, Any] = {"valid_from": begins, **({"valid_to": ends} if ends else {})}
    return record("timetable_entry", group_id=group, period_id=f"per_{number:032x}", **span, **more)


def met(
    entries: list[Record], *periods: Record, day: str = MONDAY, week: int = 0, meets: bool = True
) -> tuple[list[timetable.Meeting], dict[str, int]]:
    unresolved = Unresolved()
    by_id = {one.id: one for one in periods}
    found = timetable.meetings(entries, by_id, day, week, unresolved, meets=meets)
    return found, {pb.UnresolvedReason.Name(one.reason)[18:]: one.count for one in unresolved.told()}


def test_an_entry_meets_on_the_weekday_of_its_slot() -> None:
    both = [entry(1), entry(2)]
    slots = (period(1, 1), period(2, 2))
    [meeting], told = met(both, *slots)
    assert (meeting.entries, meeting.week_uncertain, told) == ([both[0]], False, {})
    [meeting], _ = met(both, *slots, day=TUESDAY)
    assert meeting.entries == [both[1]]


def test_the_week_of_a_cycle_is_not_guessed() -> None:
    """Seen to fail where a slot's week is left out of account."""
    both = [entry(1), entry(2)]
    slots = (period(1, 1, week=1), period(2, 1, week=2))
    shown, told = met(both, *slots)
    assert [meeting.week_uncertain for meeting in shown] == [True, True]
    assert told == {"CYCLE_WEEK_UNKNOWN": 2}
    [meeting], told = met(both, *slots, week=2)
    assert (meeting.entries, meeting.week_uncertain, told) == ([both[1]], False, {})


@pytest.mark.parametrize("week", [None, 1])
def test_a_cycle_of_one_week_is_certain(week: int | None) -> None:
    [meeting], told = met([entry(1)], period(1, 1, week=week))
    assert (meeting.week_uncertain, told) == (False, {})


def test_a_slot_of_every_week_is_certain_in_a_longer_cycle() -> None:
    shown, told = met([entry(1), entry(2)], period(1, 1), period(2, 1, week=2))
    assert sorted(meeting.week_uncertain for meeting in shown) == [False, True]
    assert told == {"CYCLE_WEEK_UNKNOWN": 1}


def test_an_entry_for_one_day_meets_on_it_whatever_its_slot_says() -> None:
    one = entry(1, begins=MONDAY, ends=TUESDAY)
    for slot in (period(1, 5, week=2), period(1, None)):
        [meeting], told = met([one], slot, period(2, 1, week=1), meets=False)
        assert (meeting.entries, meeting.week_uncertain, told) == ([one], False, {})
    [meeting], told = met([one])
    assert told == {"REFERENCE_UNKNOWN": 1}


def test_an_entry_whose_slot_is_not_known_is_told() -> None:
    assert met([entry(1)]) == ([], {"PERIOD_UNKNOWN": 1})
    assert met([entry(1)], period(1, None)) == ([], {"PERIOD_UNKNOWN": 1})


def test_nothing_recurs_while_the_school_does_not_meet() -> None:
    assert met([entry(1)], period(1, 1), meets=False) == ([], {})


def test_cover_replaces_the_entries_of_its_group_and_slot() -> None:
    cover = entry(1, begins=MONDAY, ends=TUESDAY, is_cover=True, staff_id=OTHER_STAFF)
    others = [entry(1, staff_id=STAFF), entry(1, OTHER_GROUP, staff_id=STAFF)]
    shown, _ = met([*others, cover], period(1, 1, week=1), period(2, 1, week=2))
    lessons = [timetable.lesson_of(meeting, timetable.Lookup(), Unresolved()) for meeting in shown]
    told = {one.group_id: (one.is_cover, [who.staff_id for who in one.teachers]) for one in lessons}
    assert told == {GROUP: (True, [OTHER_STAFF]), OTHER_GROUP: (False, [STAFF])}
    assert {one.group_id: one.week_uncertain for one in lessons} == {GROUP: False, OTHER_GROUP: True}


def test_entries_of_one_slot_are_one_lesson_with_all_teachers_and_rooms() -> None:
    rooms = [f"rom_{number:032x}" for number in (1, 2)]
    two = [entry(1, staff_id=STAFF, room_id=rooms[0]), entry(1, staff_id=OTHER_STAFF, room_id=rooms[1])]
    [meeting], _ = met(two, period(1, 1))
    unresolved = Unresolved()
    subject = record("subject", name="Maths")
    known = [
        period(1, 1),
        record("group", GROUP, name="8x/Ma", subject_id=subject.id),
        subject,
        record("room", rooms[0], code="A1"),
        record("staff", STAFF, surname="Achebe"),
    ]
    lesson = timetable.lesson_of(meeting, timetable.Lookup({one.id: one for one in known}), unresolved)
    assert (lesson.group.name, lesson.subject.name, lesson.period.name) == ("8x/Ma", "Maths", "P1")
    assert [(one.staff_id, one.staff.surname) for one in lesson.teachers] == [
        (STAFF, "Achebe"),
        (OTHER_STAFF, ""),
    ]
    assert [(one.room_id, one.room.code) for one in lesson.rooms] == [(rooms[0], "A1"), (rooms[1], "")]
    assert {(one.detail, *one.record_ids) for one in unresolved.told()} == {
        ("staff", OTHER_STAFF),
        ("room", rooms[1]),
    }


def test_assignments_name_the_teacher_where_the_timetable_does_not() -> None:
    assigned = {GROUP: [record("staff_assignment", group_id=GROUP, staff_id=STAFF)]}
    lookup = timetable.Lookup(assigned=assigned)
    for given, expected, source in (
        ({}, STAFF, pb.TEACHER_SOURCE_ASSIGNMENT),
        ({"staff_id": OTHER_STAFF}, OTHER_STAFF, pb.TEACHER_SOURCE_TIMETABLE),
    ):
        [meeting], _ = met([entry(1, **given)], period(1, 1))
        [teacher] = timetable.lesson_of(meeting, lookup, Unresolved()).teachers
        assert (teacher.staff_id, teacher.source) == (expected, source)


def test_lessons_come_by_week_and_time() -> None:
    def lesson(week: int, start: str) -> pb.Lesson:
        made = pb.Lesson()
        made.period.week, made.period.start_time = week, start
        return made

    drawn = [lesson(2, "09:00"), lesson(1, "14:00"), lesson(1, "09:00"), lesson(1, "")]
    told = [(one.period.week, one.period.start_time) for one in timetable.in_order(drawn)]
    assert told == [(1, "09:00"), (1, "14:00"), (1, ""), (2, "09:00")]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-08-31", pb.SCHOOL_DAY_OUTSIDE_YEARS),
        ("2026-09-01", pb.SCHOOL_DAY_OUTSIDE_TERMS),
        ("2026-09-03", pb.SCHOOL_DAY_IN_TERM),
        ("2026-12-18", pb.SCHOOL_DAY_OUTSIDE_TERMS),
        ("2027-09-01", pb.SCHOOL_DAY_OUTSIDE_YEARS),
    ],
)
def test_whether_the_school_meets(day: str, expected: int) -> None:
    term = AcademicYear.Term(name="Autumn", valid_from="2026-09-03", valid_to="2026-12-18")
    span: dict[str, Any] = {"valid_from": "2026-09-01", "valid_to": "2027-09-01"}
    assert timetable.school_day([record("academic_year", terms=[term], **span)], day) == expected
    without_terms = timetable.school_day([record("academic_year", **span)], "2026-09-03")
    assert without_terms == timetable.school_day([], day) == pb.SCHOOL_DAY_UNSPECIFIED


def test_who_works_with_a_group() -> None:
    third = f"stf_{3:032x}"

    def assigned(staff: str, role: int, code: str) -> Record:
        return record("staff_assignment", group_id=GROUP, staff_id=staff, role=role, role_code=code)

    assignments = [
        assigned(STAFF, g.STAFF_ROLE_ADDITIONAL_TEACHER, "Additional"),
        assigned(OTHER_STAFF, g.STAFF_ROLE_ADDITIONAL_TEACHER, "Additional"),
        assigned(OTHER_STAFF, g.STAFF_ROLE_MAIN_TEACHER, "Main"),
        record("staff_assignment", group_id=GROUP, staff_id=STAFF, role_code="Helper"),
        record("staff_assignment", group_id=GROUP),
    ]
    entries = [entry(1, staff_id=third), entry(2, staff_id=OTHER_STAFF), entry(3)]
    unresolved = Unresolved()
    staff = {one: record("staff", one, surname="X") for one in (STAFF, OTHER_STAFF)}
    told = timetable.teachers_of(assignments, entries, staff, unresolved)
    assert [(one.staff_id, one.is_main, len(one.assignments), one.is_timetabled) for one in told] == [
        (OTHER_STAFF, True, 2, True),
        (STAFF, False, 2, False),
        (third, False, 0, True),
    ]
    assert [
        (pb.UnresolvedReason.Name(one.reason)[18:], one.detail, one.count) for one in unresolved.told()
    ] == [
        ("CODE_WITHOUT_MEANING", "Helper", 1),
        ("REFERENCE_UNKNOWN", "staff", 2),
    ]


def test_what_is_cut_off_is_told() -> None:
    unresolved = Unresolved()
    assert cut([1, 2, 3], 3, unresolved) == [1, 2, 3]
    assert not unresolved.told()
    assert cut([1, 2, 3], 1, unresolved) == [1]
    assert unresolved.told() == [pb.Unresolved(reason=pb.UNRESOLVED_REASON_CUT_OFF, count=2)]
