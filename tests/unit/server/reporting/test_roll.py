from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_DELETED_IN_MIS,
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_MERGED,
    TOMBSTONE_REASON_PERMISSION_LOST,
    TOMBSTONE_REASON_UNKNOWN_ABSENCE,
    Record,
    TombstoneReason,
)
from schoolgate_server.reporting.roll import Registered, is_on_roll, registered, roll, survivors
from schoolgate_server.reporting.standing import Unresolved
from tests.unit.server.reporting.made import enrolment, record

DAY = "2026-11-02"
ANN, BEN = f"stu_{1:032x}", f"stu_{2:032x}"


def student(record_id: str = ANN, year_group: str = "", into: str = "") -> Record:
    body: dict[str, Any] = {"year_group_code": year_group} if year_group else {}
    made = record("student", record_id, TOMBSTONE_REASON_MERGED if into else None, **body)
    if into:
        made.tombstone.merged_into = into
    return made


def found(
    *enrolments: Record, students: tuple[Record, ...] = (), day: str = DAY
) -> tuple[dict[str, Registered], dict[tuple[str, str], int]]:
    unresolved = Unresolved()
    pupils = registered(enrolments, students or (student(ANN, "Year 8"),), day, unresolved)
    told = {
        (pb.UnresolvedReason.Name(one.reason).removeprefix("UNRESOLVED_REASON_"), one.detail): one.count
        for one in unresolved.told()
    }
    return pupils, told


@pytest.mark.parametrize(
    ("statuses", "figure"),
    [
        ("C", "single_registration"),
        ("M", "dual_main"),
        ("S", "dual_subsidiary"),
        ("M S", "dual_main"),
        ("S M", "dual_main"),
        ("C C", "single_registration"),
        ("F", "fe_college"),
        ("O", "other_provider"),
        ("G", "guests"),
        ("G C", "single_registration"),
        ("P", None),
        ("P C", "single_registration"),
        ("P G", "guests"),
        ("?", "unmapped"),
        ("? C", "single_registration"),
    ],
)
def test_each_pupil_counts_once(statuses: str, figure: str | None) -> None:
    """Seen to fail where enrolments are counted instead of pupils."""
    pupils, told = found(*(enrolment(ANN, status) for status in statuses.split()))
    assert pupils == ({} if figure is None else {ANN: Registered(figure, "Year 8")})
    assert ("CODE_WITHOUT_MEANING", "?") in told or "?" not in statuses


def test_a_single_beside_a_dual_registration_contradicts_it() -> None:
    pupils, told = found(enrolment(ANN, "C"), enrolment(ANN, "S"))
    assert pupils[ANN].figure == "single_registration"
    assert told == {("ENROLMENTS_CONFLICT", ""): 1}


@pytest.mark.parametrize(
    ("begins", "ends", "day", "on_roll"),
    [
        ("2026-09-01", "", "2026-09-01", True),
        ("2026-09-01", "", "2026-08-31", False),
        ("2026-09-01", "2026-11-02", "2026-11-01", True),
        ("2026-09-01", "2026-11-02", "2026-11-02", False),
        ("2026-09-01", "2026-11-03", "2026-11-02", True),
    ],
)
def test_leavers_are_half_open(begins: str, ends: str, day: str, on_roll: bool) -> None:
    pupils, _ = found(enrolment(ANN, "C", begins, ends), day=day)
    assert bool(pupils) == on_roll


@pytest.mark.parametrize(
    ("reason", "counts", "told"),
    [
        (TOMBSTONE_REASON_LEFT, True, {}),
        (TOMBSTONE_REASON_DELETED_IN_MIS, False, {}),
        (TOMBSTONE_REASON_UNKNOWN_ABSENCE, False, {("LEFT_UNEXPLAINED", "enrolment"): 1}),
        (TOMBSTONE_REASON_PERMISSION_LOST, False, {("LEFT_UNEXPLAINED", "enrolment"): 1}),
    ],
)
def test_a_leaver_whose_row_is_gone_was_there_before(
    reason: TombstoneReason.ValueType, counts: bool, told: dict[tuple[str, str], int]
) -> None:
    """Some MISs show no ended enrolment; on the days before the end it counts all the same."""
    gone = enrolment(ANN, "C", "2026-09-01", "2026-12-01")
    gone.tombstone.reason = reason
    pupils, noted = found(gone)
    assert bool(pupils) == counts
    assert noted == told


def test_where_the_year_group_is_from() -> None:
    own = enrolment(ANN, "C", year_group_code="Year 9")
    assert found(own)[0][ANN].year_group_code == "Year 9"
    assert found(enrolment(ANN, "C"))[0][ANN].year_group_code == "Year 8"
    main, subsidiary = enrolment(ANN, "M", year_group_code="Y9"), enrolment(ANN, "S", year_group_code="Y10")
    assert found(subsidiary, main)[0][ANN].year_group_code == "Y9"
    pupils, told = found(enrolment(ANN, "C"), students=(student(ANN),))
    assert pupils[ANN].year_group_code == ""
    assert told == {("YEAR_GROUP_UNKNOWN", ""): 1}


def test_a_merged_pupil_is_the_one_it_lives_on_in() -> None:
    third = f"stu_{3:032x}"
    students = (student(ANN, "Y7"), student(BEN, into=ANN), student(third, into=BEN))
    assert survivors(students) == {ANN: ANN, BEN: ANN, third: ANN}
    pupils, told = found(enrolment(ANN, "C"), enrolment(third, "C"), students=students)
    assert list(pupils) == [ANN]
    assert told == {}


def test_merges_that_go_in_a_circle_end() -> None:
    assert set(survivors((student(ANN, into=BEN), student(BEN, into=ANN)))) == {ANN, BEN}


def test_who_cannot_be_placed_is_told() -> None:
    nobodys = record("enrolment", status_code="C", valid_from="2026-09-01")
    undated = record("enrolment", student_id=ANN, status_code="C")
    students = (student(ANN, "Y7"), student(BEN, "Y7"))
    pupils, told = found(nobodys, undated, students=students)
    assert list(pupils) == [ANN]
    assert told == {
        ("STUDENT_UNKNOWN", "enrolment"): 1,
        ("SPAN_UNKNOWN", "enrolment"): 1,
        ("STUDENT_WITHOUT_ENROLMENT", ""): 1,
    }


def test_year_groups_come_in_the_order_of_people() -> None:
    pupils = [Registered("single_registration", name) for name in ("Year 10", "", "Year 9", "R", "Year 13")]
    year_groups, total = roll(pupils)
    assert [one.year_group_code for one in year_groups] == ["R", "Year 9", "Year 10", "Year 13", ""]
    assert total == pb.RollFigures(on_roll=5, single_registration=5)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from("CMSFOGP?"), st.sampled_from(["Y7", "Y8", ""])),
        max_size=30,
    )
)
def test_the_figures_add_up(drawn: list[tuple[int, str, str]]) -> None:
    enrolments = [enrolment(f"stu_{who:032x}", status, year_group_code=year) for who, status, year in drawn]
    students = [student(f"stu_{who:032x}") for who in range(6)]
    pupils = registered(enrolments, students, DAY, Unresolved())
    statuses: dict[int, set[str]] = {}
    for who, status, _ in drawn:
        statuses.setdefault(who, set()).add(status)
    assert set(pupils) == {f"stu_{who:032x}" for who, held in statuses.items() if held != {"P"}}
    year_groups, total = roll(pupils.values())
    parts = [one.figures for one in year_groups]
    for field in pb.RollFigures.DESCRIPTOR.fields_by_name:
        assert sum(getattr(part, field) for part in parts) == getattr(total, field)
    assert total.on_roll == sum(bool(held & set("CMS")) for held in statuses.values())
    assert Counter(one.figure for one in pupils.values())["guests"] == total.guests


@pytest.mark.parametrize(
    ("statuses", "answer"),
    [
        ("C", True),
        ("M", True),
        ("S", True),
        ("G S", True),
        ("? C", True),
        ("G", False),
        ("F", False),
        ("P", False),
        ("", False),
        ("?", None),
        ("? G", None),
    ],
)
def test_one_pupil_is_on_roll_by_a_registration_single_or_dual(statuses: str, answer: bool | None) -> None:
    assert is_on_roll([enrolment(ANN, status) for status in statuses.split()], DAY) is answer


def test_one_pupil_is_on_roll_from_the_first_day_to_the_one_before_the_last() -> None:
    held = [enrolment(ANN, "C", "2026-09-01", "2026-11-03")]
    days = ("2026-08-31", "2026-09-01", "2026-11-02", "2026-11-03")
    assert [is_on_roll(held, day) for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        (TOMBSTONE_REASON_LEFT, True),
        (TOMBSTONE_REASON_DELETED_IN_MIS, False),
        (TOMBSTONE_REASON_PERMISSION_LOST, None),
    ],
)
def test_an_enrolment_that_left_counts_as_its_reason_says(
    reason: TombstoneReason.ValueType, answer: bool | None
) -> None:
    assert is_on_roll([enrolment(ANN, "C", left=reason)], DAY) is answer
