"""A school year has 190 days in three terms, and none in the holidays."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate_sdk.testing.school_year import school_year
from schoolgate_sdk.testing.world import WorldError


@given(st.integers(2010, 2060), st.sampled_from([(8, 24), (9, 1), (9, 5)]))
def test_every_year_has_190_days_within_its_terms(year: int, month_and_day: tuple[int, int]) -> None:
    made = school_year(date(year, *month_and_day))
    assert len(made.days) == len(set(made.days)) == 190
    assert list(made.days) == sorted(made.days)
    assert all(day.weekday() < 5 for day in made.days)
    assert [term.name for term in made.terms] == ["Autumn", "Spring", "Summer"]
    assert all(any(term.valid_from <= day < term.valid_to for term in made.terms) for day in made.days)
    ends = [made.valid_from, *(term.valid_to for term in made.terms), made.valid_to]
    begins = [*(term.valid_from for term in made.terms), made.valid_to]
    assert all(end <= begin for end, begin in zip(ends, begins, strict=False))


@pytest.mark.parametrize(
    ("year", "easter_sunday"),
    [
        (2025, date(2025, 4, 20)),
        (2026, date(2026, 4, 5)),
        (2027, date(2027, 3, 28)),
        (2038, date(2038, 4, 25)),
    ],
)
def test_there_is_no_school_around_easter(year: int, easter_sunday: date) -> None:
    days = set(school_year(date(year - 1, 9, 1)).days)
    assert not days & {easter_sunday + timedelta(days=offset) for offset in range(-6, 8)}


def test_the_year_of_the_default_world() -> None:
    made = school_year(date(2026, 9, 1))
    assert (made.name, made.valid_from, made.valid_to) == ("2026/27", date(2026, 9, 1), date(2027, 9, 1))
    assert not {date(2026, 10, 26), date(2026, 12, 25), date(2027, 2, 15), date(2027, 5, 3)} & set(made.days)


def test_sessions_are_counted_two_a_day() -> None:
    made = school_year(date(2026, 9, 1))
    first = made.days[0]
    assert (made.index_of(first, "AM"), made.index_of(first, "PM")) == (0, 1)
    assert made.index_of(first - timedelta(days=1), "AM") is None
    assert made.index_of(made.days[-1] + timedelta(days=1), "AM") is None
    assert made.index_from(made.days[7]) == 14
    assert made.index_from(date(2028, 1, 1)) == 380
    assert made.sessions()[14] == (made.days[7], "AM")


@pytest.mark.parametrize("month", [1, 7, 10])
def test_a_year_that_begins_in_another_month_is_refused(month: int) -> None:
    with pytest.raises(WorldError, match="August or September"):
        school_year(date(2026, month, 1))
