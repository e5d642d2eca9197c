"""A question about records, checked and typed, independent of how the store answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.query_service_pb2 import FilterOperator
from schoolgate_sdk.kinds import KindInfo

Value: TypeAlias = str | int | bool
"""A value as it stands in a stored body: enum values by name, dates as ISO text."""


class SerialisedRecord(NamedTuple):
    """A ``Record`` of an answer, as it is stored and sent."""

    id: str
    wire: bytes


class Condition(NamedTuple):
    """One condition on one body field; ``values`` has one element except for ``IN``."""

    field: str
    operator: FilterOperator.ValueType
    values: tuple[Value, ...]


class Ordering(NamedTuple):
    """One field to order by; a record without it comes before the others, or after them where descending."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Which records of a kind: all conditions hold, and the span covers ``effective_on`` where given.

    A record without any dates is valid on every day. ``effective_on`` is an ISO date. ``ids`` are the only
    records meant, ``None`` means any. Records stand in the ``order``; those that it leaves alike in
    that of their ids, descending where the last ordering is. Without an order they stand in that of their
    ids, and :data:`GROWING` kinds, unless picked by id, key, pupil or group, in that of their day first.
    """

    conditions: tuple[Condition, ...] = ()
    include_tombstones: bool = False
    effective_on: str | None = None
    ids: tuple[str, ...] | None = None
    order: tuple[Ordering, ...] = ()


GROWING = frozenset(
    {
        kinds.KIND_ATTENDANCE_MARK,
        kinds.KIND_ASSESSMENT_RESULT,
        kinds.KIND_BEHAVIOUR_EVENT,
        kinds.KIND_GROUP_MEMBERSHIP,
    }
)
"""Kinds with ever more records. Of all others a school has some thousands, and a question may look at all."""

INDEXED_REFERENCES = ("student_id", "group_id")
"""Fields that an index leads to in every kind: few records refer to one pupil or one group."""


def day_field(info: KindInfo) -> str | None:
    """Return the field of a kind's first day, which an index leads to; ``None`` for undated kinds."""
    return info.on or ("valid_from" if info.is_span else None)
