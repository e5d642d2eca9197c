"""A question about records, checked and typed, independent of how the store answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from schoolgate.v1.query_service_pb2 import FilterOperator

Value: TypeAlias = str | int | bool
"""A value as it stands in a stored body: enum values by name, dates as ISO text."""


class Condition(NamedTuple):
    """One condition on one body field; ``values`` has one element except for ``IN``."""

    field: str
    operator: FilterOperator.ValueType
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Which records of a kind: all conditions hold, and the span covers ``effective_on`` where given.

    A record without any dates is valid on every day. ``effective_on`` is an ISO date.
    """

    conditions: tuple[Condition, ...] = ()
    include_tombstones: bool = False
    effective_on: str | None = None
