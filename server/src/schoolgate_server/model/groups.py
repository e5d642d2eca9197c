"""Records counted apart by what their fields say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple, TypeAlias

from schoolgate.v1 import query_service_pb2 as q
from schoolgate_server.model.questions import Value

Values: TypeAlias = tuple[Value | None, ...]
"""What some records have in common: a value for each field that they are counted apart by."""

_DAY = len("2026-09-01")


class Grouping(NamedTuple):
    """One field to count apart by; dates are cut to ``period``."""

    field: str
    period: q.GroupingPeriod.ValueType = q.GROUPING_PERIOD_UNSPECIFIED


def summed(counts: Mapping[Values, int], groupings: Sequence[Grouping]) -> dict[Values, int]:
    """Return ``counts``, which are of single days, of the periods asked for."""
    periods = [grouping.period for grouping in groupings]
    sums: Counter[Values] = Counter()
    for values, count in counts.items():
        sums[tuple(cut(value, period) for value, period in zip(values, periods, strict=True))] += count
    return dict(sums)


def cut(value: Value | None, period: q.GroupingPeriod.ValueType) -> Value | None:
    """Return the first day of the ``period`` that the date ``value`` lies in; other values as they are."""
    if not isinstance(value, str) or not period:
        return value
    try:
        day = date.fromisoformat(value[:_DAY])
    except ValueError:
        return value
    if period == q.GROUPING_PERIOD_WEEK:
        return (day - timedelta(days=day.weekday())).isoformat()
    return day.replace(day=1).isoformat()


def as_text(value: Value) -> str:
    """Return a value in the text form of filters."""
    return str(value).lower() if isinstance(value, bool) else str(value)
