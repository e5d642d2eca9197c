"""Percentage attendance, against the DfE's table of codes as it is published and not as the server has it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_DELETED_IN_MIS,
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_UNKNOWN_ABSENCE,
    Record,
)
from schoolgate_server.reporting.attendance import Registers, all_together, together
from schoolgate_server.reporting.standing import Unresolved
from tests.unit.server.reporting.made import mark

AM, PM, LESSON = a.ATTENDANCE_SESSION_AM, a.ATTENDANCE_SESSION_PM, a.ATTENDANCE_SESSION_LESSON
ANN, BEN = f"stu_{1:032x}", f"stu_{2:032x}"

# The DfE's classes, written out once more: Working together to improve school attendance, August 2024.
ATTENDED = ["/", "\\", "L", "K", "V", "P", "W", "B"]
ABSENT = ["C", "C1", "C2", "E", "I", "J1", "M", "R", "S", "T", "G", "N", "O", "U"]
OUT_OF_BOTH = ["D", "Q", "X", "Y1", "Y2", "Y3", "Y4", "Y5", "Y6", "Y7", "Z", "#"]
NO_CLASS = ["H", "J", "Y"]
STRANGE = ["?", "9", "l", "u", "ff"]
EVERY = [*ATTENDED, *ABSENT, *OUT_OF_BOTH, *NO_CLASS, *STRANGE]


def counted(marks: Iterable[Record], pupils: dict[str, str] | None = None) -> Registers:
    registers = Registers(Unresolved())
    registers.count(marks, {ANN: ANN} if pupils is None else pupils)
    return registers


def reasons(registers: Registers) -> dict[tuple[str, str], int]:
    return {
        (pb.UnresolvedReason.Name(one.reason).removeprefix("UNRESOLVED_REASON_"), one.detail): one.count
        for one in registers.unresolved.told()
    }


def total(registers: Registers, pupil: str = ANN) -> pb.AttendanceFigures:
    return registers.attendance[pupil].total


@pytest.mark.parametrize("code", EVERY)
def test_every_code_is_in_its_class(code: str) -> None:
    figures = total(counted([mark(ANN, "2026-09-07", AM, code)]))
    assert figures.possible_sessions == (code in ATTENDED or code in ABSENT)
    assert figures.attended_sessions == (code in ATTENDED)
    assert figures.HasField("percentage") == (code in ATTENDED or code in ABSENT)
    assert figures.percentage == (100 if code in ATTENDED else 0)
    assert figures.not_possible + figures.administrative == (code in OUT_OF_BOTH)
    assert figures.retired == (code in NO_CLASS)
    assert figures.unmapped == (code in STRANGE)


@pytest.mark.parametrize(
    ("codes", "possible", "attended", "percentage"),
    [
        ("/ \\", 2, 2, 100.0),
        ("/ I", 2, 1, 50.0),
        ("/ L U O", 4, 2, 50.0),
        ("V B P W K", 5, 5, 100.0),
        ("/ D Y4 # Z X", 1, 1, 100.0),
        ("/ / I ? H", 3, 2, 200 / 3),
        ("N G", 2, 0, 0.0),
        ("D D", 0, 0, None),
        ("", 0, 0, None),
    ],
)
def test_percentages(codes: str, possible: int, attended: int, percentage: float | None) -> None:
    marks = [mark(ANN, f"2026-09-{day:02}", AM, code) for day, code in enumerate(codes.split(), start=1)]
    figures = total(counted(marks))
    assert (figures.possible_sessions, figures.attended_sessions) == (possible, attended)
    assert figures.HasField("percentage") == (percentage is not None)
    assert figures.percentage == pytest.approx(percentage or 0)


def test_a_year_of_380_sessions() -> None:
    marks = [
        mark(ANN, f"20{26 + day // 100}-{1 + day % 100 // 28:02}-{1 + day % 28:02}", session, code)
        for day in range(190)
        for session, code in ((AM, "/"), (PM, "I" if day < 19 else "\\"))
    ]
    figures = total(counted(marks))
    assert (figures.possible_sessions, figures.attended_sessions) == (380, 361)
    assert figures.percentage == pytest.approx(95.0)


def test_late_before_and_after_the_register_closed() -> None:
    figures = total(counted([mark(ANN, "2026-09-07", AM, "L"), mark(ANN, "2026-09-07", PM, "U")]))
    assert (figures.late_before_close, figures.late_after_close) == (1, 1)
    assert (figures.present, figures.unauthorised_absence, figures.percentage) == (1, 1, 50)


def test_what_has_no_meaning_is_told_by_code_and_never_counted() -> None:
    marks = [
        mark(ANN, "2026-09-07", AM, "?"),
        mark(ANN, "2026-09-07", PM, "?"),
        mark(ANN, "2026-09-08", AM, "H"),
        mark(ANN, "2026-09-08", PM, None),
        mark(ANN, "2026-09-09", AM, "/"),
    ]
    registers = counted(marks)
    assert (total(registers).unmapped, total(registers).retired, total(registers).possible_sessions) == (
        3,
        1,
        1,
    )
    assert reasons(registers) == {
        ("CODE_WITHOUT_MEANING", "?"): 2,
        ("CODE_RETIRED", "H"): 1,
        ("CODE_MISSING", ""): 1,
    }


def test_a_meaning_of_a_later_release_is_not_guessed() -> None:
    later = mark(ANN, "2026-09-07", AM, "??")
    later.attendance_mark.meaning = 99  # type: ignore[assignment]  # open enums carry what they do not know
    assert total(counted([later])).unmapped == 1


def test_sessions_are_told_apart_and_lessons_left_out() -> None:
    marks = [
        mark(ANN, "2026-09-07", AM, "/"),
        mark(ANN, "2026-09-07", PM, "I"),
        mark(ANN, "2026-09-07", LESSON, "O", period_name="P1"),
        mark(ANN, "2026-09-08", 0, "/"),
    ]
    registers = counted(marks)
    one = registers.attendance[ANN]
    assert (one.am.percentage, one.pm.percentage, one.total.percentage) == (100, 0, 50)
    assert registers.lesson_marks == 1
    assert reasons(registers) == {("SESSION_UNKNOWN", ""): 1}


def test_one_session_counts_once() -> None:
    """Two registers, or the rows of a merged pupil, have one session twice."""
    old = f"stu_{9:032x}"
    agreeing = [mark(ANN, "2026-09-07", AM, "/"), mark(old, "2026-09-07", AM, "L")]
    differing = [mark(ANN, "2026-09-07", PM, "\\"), mark(old, "2026-09-07", PM, "I")]
    registers = counted([*agreeing, *differing], {ANN: ANN, old: ANN})
    figures = total(registers)
    assert (figures.present, figures.conflicting, figures.possible_sessions) == (1, 1, 1)
    assert reasons(registers) == {("MARKS_CONFLICT", ""): 1}


def test_marks_of_others_are_not_counted() -> None:
    registers = counted([mark(BEN, "2026-09-07", AM, "I")])
    assert list(registers.attendance) == [ANN]
    assert total(registers) == pb.AttendanceFigures()


def test_which_marks_that_left_count() -> None:
    marks = [mark(ANN, f"2026-09-0{day}", AM) for day in (1, 2, 3, 4)]
    for one, reason in zip(
        marks,
        (TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_DELETED_IN_MIS, TOMBSTONE_REASON_UNKNOWN_ABSENCE),
        strict=False,
    ):
        one.tombstone.reason = reason
    registers = counted(marks)
    assert total(registers).present == 2
    assert reasons(registers) == {("LEFT_UNEXPLAINED", "attendance_mark"): 1}


CODES = st.sampled_from(EVERY) | st.none()
MARKS = st.lists(
    st.tuples(st.sampled_from([ANN, BEN]), st.integers(1, 28), st.sampled_from([AM, PM, LESSON, 0]), CODES),
    max_size=60,
)


@given(MARKS)
def test_every_session_is_in_exactly_one_figure(drawn: list[tuple[str, int, int, str | None]]) -> None:
    marks = [mark(pupil, f"2026-09-{day:02}", session, code) for pupil, day, session, code in drawn]
    registers = counted(marks, {ANN: ANN, BEN: BEN})
    for pupil in (ANN, BEN):
        sessions = {(day, session) for who, day, session, _ in drawn if who == pupil and session in {AM, PM}}
        one = registers.attendance[pupil]
        figures = one.total
        outside = (
            figures.not_possible
            + figures.administrative
            + figures.retired
            + figures.unmapped
            + figures.conflicting
        )
        assert figures.possible_sessions + outside == len(sessions)
        assert 0 <= figures.attended_sessions <= figures.possible_sessions
        assert figures.HasField("percentage") == bool(figures.possible_sessions)
        assert 0 <= figures.percentage <= 100
        assert one.total == together((one.am, one.pm))
    assert registers.lesson_marks == sum(session == LESSON for *_, session, _ in drawn)
    conflicting = sum(one.total.conflicting for one in registers.attendance.values())
    summed = all_together(list(registers.attendance.values())).total
    assert sum(one.count for one in registers.codes) + conflicting == (
        summed.possible_sessions
        + summed.not_possible
        + summed.administrative
        + summed.retired
        + summed.unmapped
        + conflicting
    )


@given(MARKS, st.randoms())
def test_neither_the_order_nor_the_grouping_of_marks_matters(
    drawn: list[tuple[str, int, int, str | None]], random: Random
) -> None:
    marks = [mark(pupil, f"2026-09-{day:02}", session, code) for pupil, day, session, code in drawn]
    at_once = counted(marks, {ANN: ANN, BEN: BEN})
    random.shuffle(marks)
    apart = Registers(Unresolved())
    apart.count([one for one in marks if one.attendance_mark.student_id == BEN], {BEN: BEN})
    apart.count(marks, {ANN: ANN})
    assert apart.attendance == at_once.attendance
    assert sum(one.count for one in apart.codes) == sum(one.count for one in at_once.codes)
