"""Which records count for a day, and a collection of what could not be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_DELETED_IN_MIS,
    TOMBSTONE_REASON_LEFT,
    TOMBSTONE_REASON_MERGED,
    Record,
)
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.dates import validity

MOST_SAMPLES = 10
"""Record ids that are told of one thing that could not be resolved."""

_NEVER = frozenset({TOMBSTONE_REASON_DELETED_IN_MIS, TOMBSTONE_REASON_MERGED})
_Item = TypeVar("_Item")


class Unresolved:
    """What could not be told, by reason and detail, in the order in which it was met first."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], pb.Unresolved] = {}

    def note(
        self, reason: pb.UnresolvedReason.ValueType, record_id: str = "", *, detail: str = "", count: int = 1
    ) -> None:
        """Count ``count`` more of ``reason``; ``record_id`` is kept as one of a few samples."""
        found = self._found.get((reason, detail))
        if found is None:
            found = self._found[reason, detail] = pb.Unresolved(reason=reason, detail=detail)
        found.count += count
        if record_id and len(found.record_ids) < MOST_SAMPLES and record_id not in found.record_ids:
            found.record_ids.append(record_id)

    def told(self) -> list[pb.Unresolved]:
        """Return what was noted, by reason and detail."""
        return [self._found[key] for key in sorted(self._found)]


def covers(begins: str | None, ends: str | None, day: str) -> bool:
    """Whether the half-open span of ISO dates covers ``day``; an end that is ``None`` or "" is open."""
    return (not begins or begins <= day) and (not ends or day < ends)


def standing(records: Iterable[Record], unresolved: Unresolved) -> list[Record]:
    """Return the records that count, wherever their span lies.

    Those are the live ones, and those that left because their time was over. What the MIS deleted or merged
    never was; of others that left nobody can say until when they were valid, and they are noted.
    """
    found: list[Record] = []
    for record in records:
        reason = record.tombstone.reason if record.HasField("tombstone") else None
        if reason is None or reason == TOMBSTONE_REASON_LEFT:
            found.append(record)
        elif reason not in _NEVER:
            unresolved.note(pb.UNRESOLVED_REASON_LEFT_UNEXPLAINED, record.id, detail=KINDS[record.kind].name)
    return found


def valid_on(records: Iterable[Record], day: str, unresolved: Unresolved) -> list[Record]:
    """Return the records that count on ``day``; of those without a first day that is noted as uncertain."""
    on_the_day: list[Record] = []
    undated: set[str] = set()
    for record in records:
        info = KINDS[record.kind]
        begins, ends = validity(info, getattr(record, info.name))
        if covers(begins, ends, day):
            on_the_day.append(record)
            if begins is None:
                undated.add(record.id)
    found = standing(on_the_day, unresolved)
    for record in found:
        if record.id in undated:
            unresolved.note(pb.UNRESOLVED_REASON_SPAN_UNKNOWN, record.id, detail=KINDS[record.kind].name)
    return found


def cut(items: Sequence[_Item], most: int, unresolved: Unresolved) -> Sequence[_Item]:
    """Return the first ``most`` items, and note how many were left out."""
    if len(items) > most:
        unresolved.note(pb.UNRESOLVED_REASON_CUT_OFF, count=len(items) - most)
    return items[:most]
