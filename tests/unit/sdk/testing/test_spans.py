"""The arithmetic of half-open spans that merges rest on."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schoolgate_sdk.testing.state import Span, overlap, subtract

FIRST = date(2026, 9, 1)
DAYS = [FIRST + timedelta(days=offset) for offset in range(12)]


def _span(begin: int, length: int | None) -> Span:
    return FIRST + timedelta(days=begin), None if length is None else FIRST + timedelta(days=begin + length)


SPANS = st.builds(_span, st.integers(0, 9), st.none() | st.integers(1, 6))


def _days(*spans: Span) -> list[date]:
    return [day for day in DAYS for begin, end in spans if begin <= day and (end is None or day < end)]


@given(SPANS, SPANS)
def test_spans_overlap_where_they_share_a_day(one: Span, other: Span) -> None:
    assert overlap(one, other) == bool(set(_days(one)) & set(_days(other)))


@given(SPANS, st.lists(SPANS, max_size=4))
def test_what_is_left_is_what_nothing_else_covers(span: Span, taken: list[Span]) -> None:
    left = subtract(span, taken)
    assert _days(*left) == [day for day in _days(span) if day not in _days(*taken)]
    assert all(end is None or begin < end for begin, end in left)
