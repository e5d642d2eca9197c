from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate_bromcom import filters
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_bromcom.filters import Column
from schoolgate_bromcom.simulator import entity_filter
from schoolgate_sdk import SourceKey, Unsupported

BY_NAME = {dataset.name: dataset for dataset in DATASETS}


def test_a_window_is_half_open_and_its_dates_are_reordered_by_no_language_setting() -> None:
    assert filters.between(Column.CALENDAR_START_DATE, date(2026, 9, 1), date(2026, 10, 1)) == (
        "calendarStartDate >= '20260901' AND calendarStartDate < '20261001'"
    )
    assert filters.between(Column.CALENDAR_START_DATE, None, None) == "1=1"


def test_one_of() -> None:
    assert filters.one_of(Column.STUDENT_ID, [17, 4]) == "studentId IN (17,4)"
    with pytest.raises(ValueError, match="needs a value"):
        filters.one_of(Column.STUDENT_ID, [])


def test_the_page_is_literal_text_after_the_predicate() -> None:
    assert filters.page_of("1=1", 0) == "1=1{page:0}"
    assert filters.page_of("studentId IN (1)", 12) == "studentId IN (1){page:12}"


@pytest.mark.parametrize("number", [-1, "0", "0}'; DROP TABLE Students--", True, 1.0])
def test_a_page_is_an_integer(number: Any) -> None:
    with pytest.raises(ValueError, match="integer from 0"):
        filters.page_of("1=1", number)


HOSTILE = [
    "1) OR (1=1",
    "' OR ''='",
    "17",
    True,
    1.5,
    None,
    b"17",
    datetime(2026, 9, 1, tzinfo=UTC),
    ["1"],
]


@pytest.mark.parametrize("value", HOSTILE)
def test_nothing_but_integers_and_dates_gets_into_a_filter(value: Any) -> None:
    with pytest.raises(TypeError, match="integers and dates"):
        filters.literal(value)
    with pytest.raises(TypeError):
        filters.one_of(Column.STUDENT_ID, [value])


@pytest.mark.parametrize("column", ["1=1 OR studentId", "studentId)--", "anything"])
def test_a_column_is_one_of_those_known(column: str) -> None:
    with pytest.raises(ValueError, match="not a valid Column"):
        filters.one_of(cast("Column", column), [1])


@pytest.mark.parametrize(
    "key",
    [
        SourceKey("bromcom/attendance", (17, "2026-09-03' OR ''='", "AM")),
        SourceKey("bromcom/attendance", (17, "tomorrow", "AM")),
        SourceKey("bromcom/attendance", ("17 OR 1=1", "2026-09-03", "AM")),
        SourceKey("bromcom/student", (17,)),
        SourceKey("wonde/attendance", (17, "2026-09-03", "AM")),
    ],
)
def test_a_malformed_or_foreign_key_gets_into_no_filter(key: SourceKey) -> None:
    with pytest.raises(Unsupported):
        BY_NAME["attendance_marks"].predicate_for([key])


def test_a_periods_name_is_never_part_of_a_filter() -> None:
    key = SourceKey("bromcom/attendance", (17, "2026-09-03", "' OR ''='"))
    assert BY_NAME["attendance_marks"].predicate_for([key]) == (
        "studentId IN (17) AND calendarStartDate IN ('20260903')"
    )


def test_a_key_without_its_dated_part_still_finds_its_row() -> None:
    keys = [
        SourceKey("bromcom/collection_associate", (5, 90017)),
        SourceKey("bromcom/collection_associate", (6, 90018, "2026-09-01")),
    ]
    assert BY_NAME["group_memberships"].predicate_for(keys) == (
        "collectionID IN (5,6) AND personID IN (90017,90018)"
    )


@given(st.lists(st.one_of(st.integers(), st.dates()), min_size=1), st.integers(0, 999_999))
def test_every_filter_is_one_that_the_other_side_understands_in_the_same_way(
    values: list[int | date], page: int
) -> None:
    text = filters.page_of(filters.one_of(Column.STUDENT_ID, values), page)
    parsed, number = entity_filter.parse(text)
    assert number == page
    assert parsed == entity_filter.Comparison(
        "studentid",
        "=",
        tuple(value if isinstance(value, int) else value.isoformat().replace("-", "") for value in values),
    )


def test_pupils_without_contacts_are_left_out_by_a_filter_of_constants() -> None:
    [contacts] = [dataset for dataset in DATASETS if dataset.name == "contacts"]
    terms = contacts.predicate(None, None).split(" OR ")
    assert len(terms) == 12
    assert terms[0] == "isnull(contact1Name,'') <> ''"
    assert "isnull(contact3Relationship,'') <> ''" in terms
    assert filters.any_filled([]) == filters.NOTHING


@pytest.mark.parametrize(
    ("dataset", "column"), [("behaviour_events", "eventDate"), ("assessment_results", "enteredDate")]
)
def test_a_window_leaves_out_nothing_that_has_no_date(dataset: str, column: str) -> None:
    predicate = BY_NAME[dataset].predicate(date(2026, 9, 1), date(2027, 9, 1))
    assert predicate == f"({column} >= '20260901' AND {column} < '20270901') OR isnull({column},'') = ''"
    parsed, _ = entity_filter.parse(filters.page_of(predicate, 0))
    told = [
        parsed.matches({column.lower(): day})
        for day in (None, date(1900, 1, 1), date(2026, 9, 1), date(2026, 8, 31))
    ]
    assert told == [True, True, True, False]
    assert BY_NAME[dataset].predicate(None, None) == filters.EVERYTHING


def test_a_mark_without_a_day_has_no_key_and_is_not_asked_for() -> None:
    predicate = BY_NAME["attendance_marks"].predicate(date(2026, 9, 1), None)
    assert predicate == "calendarStartDate >= '20260901'"
