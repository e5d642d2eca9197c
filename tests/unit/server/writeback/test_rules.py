from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schoolgate.v1.attendance_pb2 import ATTENDANCE_MEANING_AUTHORISED_ABSENCE
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_DELETED_IN_MIS,
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_PERMISSION_LOST,
    Record,
)
from schoolgate_server.reporting.standing import Unresolved, valid_on
from schoolgate_server.reporting.timetable import Meeting, meetings
from schoolgate_server.writeback.validation.rules import (
    Lessons,
    code_problem,
    lessons_of,
    period_problem,
    roll_problem,
    staff_problem,
    teachers_in,
    type_problem,
)
from tests.unit.server.reporting.made import enrolment, record
from tests.unit.server.writeback.made import ANN

DAY = "2026-11-02"
RETIRED = frozenset({"H", "J", "Y"})


@pytest.mark.parametrize(
    ("enrolments", "is_right"),
    [
        ([enrolment(ANN, "C")], True),
        ([enrolment(ANN, "M")], True),
        ([enrolment(ANN, "S"), enrolment(ANN, "P")], True),
        ([enrolment(ANN, "C", "2026-09-01", DAY)], False),
        ([enrolment(ANN, "C", "2026-11-03")], False),
        ([enrolment(ANN, "C", "2026-09-01", "2026-10-01"), enrolment(ANN, "C", "2026-11-01")], True),
        ([enrolment(ANN, "G")], False),
        ([], False),
        ([record("enrolment", student_id=ANN, valid_from="2026-09-01")], True),
    ],
)
def test_the_pupil_is_on_roll_on_the_day(enrolments: list[Record], *, is_right: bool) -> None:
    """Seen to fail where enrolments are not looked at. An enrolment of unknown status proves nothing."""
    assert (roll_problem(enrolments, DAY, are_known=True) is None) is is_right


def test_a_school_without_enrolments_is_not_asked() -> None:
    assert roll_problem([], DAY, are_known=False) is None


def code(name: str, begins: str = "", ends: str = "", **more: Any) -> Record:
    days = (("valid_from", begins), ("valid_to", ends))
    span: dict[str, Any] = {field: day for field, day in days if day}
    return record("attendance_code", code=name, **span, **more)


def meaning_something(name: str) -> Record:
    made = code(name)
    made.attendance_code.meaning = ATTENDANCE_MEANING_AUTHORISED_ABSENCE
    return made


TABLE = [code("/"), code("\\"), code("L"), code("C1"), code("J1"), code("J"), code("Q", "2026-09-01")]


@pytest.mark.parametrize(
    ("name", "day", "is_right"),
    [
        ("/", DAY, True),
        ("C1", DAY, True),
        ("J1", DAY, True),
        ("C", DAY, False),
        ("c1", DAY, False),
        ("/L", DAY, False),
        ("Q", DAY, True),
        ("Q", "2026-08-31", False),
        ("J", "2024-08-18", True),
        ("J", "2024-08-19", False),
        ("H", DAY, False),
    ],
)
def test_a_code_is_one_of_the_schools_on_that_day(name: str, day: str, *, is_right: bool) -> None:
    """Seen to fail where codes are not looked up, where their days are not, and where retired ones pass."""
    assert (code_problem(name, day, TABLE, RETIRED) is None) is is_right


@pytest.mark.parametrize(
    "table",
    [
        [code("J", "2024-09-01")],
        [code("J", ends="2027-07-31")],
        [meaning_something("J")],
        [code("J"), code("J", "2025-01-01")],
    ],
)
def test_a_school_may_have_given_a_retired_code_another_life(table: list[Record]) -> None:
    assert code_problem("J", DAY, table, RETIRED) is None


def test_without_a_table_only_retired_codes_are_refused() -> None:
    assert code_problem("H", DAY, [], RETIRED) is not None
    assert code_problem("H", "2024-08-18", [], RETIRED) is None
    assert code_problem("9", DAY, [], RETIRED) is None
    assert code_problem("9", DAY, [record("attendance_code", description="present")], RETIRED) is None


def test_a_code_that_the_mis_deleted_is_none_and_one_that_is_hidden_may_be() -> None:
    hidden = code("W", left=TOMBSTONE_REASON_PERMISSION_LOST)
    deleted = code("X", left=TOMBSTONE_REASON_DELETED_IN_MIS)
    ended = code("Z", "2025-09-01", "2026-11-03", left=TOMBSTONE_REASON_LEFT)
    table = [*TABLE, hidden, deleted, ended]
    told = {name: code_problem(name, DAY, table, RETIRED) is None for name in "WXZ"}
    assert told == {"W": True, "X": False, "Z": True}


def local(name: str, category: str = "behaviour_type", **more: Any) -> Record:
    return record("local_code", category=category, code=name, **more)


def test_a_type_of_behaviour_is_one_of_the_schools_where_it_has_a_table() -> None:
    """Seen to fail where any code passes."""
    types = [
        local("1"),
        local("2", active=False),
        local("3", left=TOMBSTONE_REASON_LEFT),
        local("9", "house"),
    ]
    told = {name: type_problem(name, types) is None for name in "12345679"}
    assert told == {**dict.fromkeys("2345679", False), "1": True}
    assert type_problem("anything", [local("9", "house")]) is None


PERIODS = {
    one.id: one
    for one in (
        record("period", name="Mon:1", weekday=1),
        record("period", name="Mon:2", weekday=1),
        record("period", name="Tue:1", weekday=2),
    )
}
IDS = {one.period.name: one.id for one in PERIODS.values()}


def lessons(*periods: str, day: str = DAY, meets: bool = True) -> Lessons:
    entries = [
        record(
            "timetable_entry",
            group_id=f"grp_{1:032x}",
            period_id=IDS.get(name, name),
            valid_from="2026-09-01",
        )
        for name in periods
    ]
    unresolved = Unresolved()
    return lessons_of(meetings(entries, PERIODS, day, 0, unresolved, meets=meets), PERIODS, unresolved)


def test_a_lesson_is_one_that_the_pupil_has_on_that_day() -> None:
    """Seen to fail where any period passes."""
    found = lessons("Mon:1", "Tue:1")
    told = {name: period_problem(name, found) is None for name in ("Mon:1", "Mon:2", "Tue:1", "Mon")}
    assert told == {"Mon:1": True, "Mon:2": False, "Tue:1": False, "Mon": False}
    assert period_problem("Mon:1", lessons("Mon:1", meets=False)) is not None


def test_a_timetable_that_is_not_known_in_full_refuses_nothing() -> None:
    assert period_problem("Mon:2", None) is None
    assert period_problem("Mon:2", lessons("Mon:1", f"per_{9:032x}")) is None


MATHS, LATIN = f"grp_{1:032x}", f"grp_{2:032x}"
EVE, DAN, ZOE = (f"stf_{number:032x}" for number in (1, 2, 3))


def met(group: str, *staff: str, **more: Any) -> Meeting:
    return Meeting(
        [record("timetable_entry", group_id=group, staff_id=one, **more) for one in staff or ("",)]
    )


def assigned(group: str, *staff: str) -> dict[str, list[Record]]:
    return {group: [record("staff_assignment", group_id=group, staff_id=one) for one in staff]}


@pytest.mark.parametrize(
    ("then", "of_groups", "right"),
    [
        ([met(MATHS, EVE)], {}, {EVE}),
        ([met(MATHS, EVE, DAN)], {}, {EVE, DAN}),
        ([met(MATHS, EVE, "")], {}, {EVE}),
        ([met(MATHS, EVE), met(LATIN, DAN)], {}, {EVE, DAN}),  # two weeks of a cycle
        ([met(MATHS, EVE)], assigned(MATHS, DAN), {EVE}),  # the timetable goes before
        ([met(MATHS)], assigned(MATHS, EVE, DAN), {EVE, DAN}),
        ([met(MATHS)], assigned(LATIN, EVE), {EVE, DAN, ZOE}),  # who teaches is not known
        ([met(MATHS, EVE), met(LATIN)], {}, {EVE, DAN, ZOE}),
        ([met(MATHS)], assigned(MATHS, EVE, ""), {EVE, DAN, ZOE}),
        ([met(MATHS, is_cover=True)], assigned(MATHS, EVE), {EVE, DAN, ZOE}),  # anybody may cover
        ([met(MATHS, DAN, is_cover=True)], assigned(MATHS, EVE), {DAN}),
        ([], {}, {EVE, DAN, ZOE}),  # there is no such lesson, which its period says
    ],
)
def test_who_takes_the_register_of_a_lesson_teaches_the_pupil_in_that_period(
    then: list[Meeting], of_groups: dict[str, list[Record]], right: set[str]
) -> None:
    """Seen to fail where anybody passes, and where assignments are not looked at."""
    found = replace(lessons("Mon:1"), teachers=teachers_in(then, of_groups, Unresolved()))
    assert {one for one in (EVE, DAN, ZOE) if staff_problem({one}, found) is None} == right


def test_a_teacher_is_known_by_the_id_of_a_record_that_was_merged_into_theirs() -> None:
    found = replace(lessons("Mon:1"), teachers=teachers_in([met(MATHS, EVE)], {}, Unresolved()))
    assert staff_problem({DAN, EVE}, found) is None


def test_who_teaches_is_not_asked_where_the_timetable_or_who_left_is_not_known_in_full() -> None:
    """Seen to fail where what could not be told is not regarded."""
    unresolved = Unresolved()
    hidden = record("staff_assignment", group_id=MATHS, staff_id=DAN, left=TOMBSTONE_REASON_PERMISSION_LOST)
    of_maths = valid_on([*assigned(MATHS, EVE)[MATHS], hidden], DAY, unresolved)
    teachers = teachers_in([met(MATHS)], {MATHS: of_maths}, unresolved)
    assert staff_problem({ZOE}, replace(lessons("Mon:1"), teachers=teachers)) is None
    certain = teachers_in([met(MATHS, EVE)], {}, Unresolved())
    in_part = replace(lessons("Mon:1", f"per_{9:032x}"), teachers=certain)
    assert staff_problem({ZOE}, in_part) is None
    assert staff_problem({ZOE}, lessons("Mon:1")) is None
    assert staff_problem({ZOE}, None) is None
