"""Compares the rows of one snapshot with the records that are stored."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Known(NamedTuple):
    """What is stored of one record: its content digest, its version, and whether it is live."""

    digest: bytes
    version: int
    live: bool


class Outcome(enum.Enum):
    """What one observed row means for its record."""

    CREATE = enum.auto()
    """The record is new."""
    UPDATE = enum.auto()
    """The record changed, or came back after a tombstone."""
    UNCHANGED = enum.auto()
    """The record is as it was."""
    DUPLICATE = enum.auto()
    """The same content was observed before in this snapshot."""
    CONFLICT_LOST = enum.auto()
    """Other content was observed before in this snapshot, and is kept."""
    CONFLICT_WON = enum.auto()
    """Other content was observed before in this snapshot; this one takes its place."""


class SnapshotDiff:
    """The comparison of one snapshot of one dataset with what is stored, row by row.

    Where rows of one key differ, the least content digest wins: an arbitrary choice, but the same one in
    whatever order the MIS sends the rows, so that an unchanged school never appears to change (G03).
    """

    def __init__(self, known: Iterable[tuple[str, Known]] = ()) -> None:
        self._known = dict(known)
        self._observed: dict[str, bytes] = {}
        self._protected: set[str] = set()

    def observe(self, record_id: str, digest: bytes) -> Outcome:
        """Take note that the snapshot has ``record_id`` with the content ``digest``."""
        earlier = self._observed.get(record_id)
        if earlier is None:
            known = self._known.get(record_id)
            if known is None:
                self._observed[record_id] = digest
                return Outcome.CREATE
            if known.digest == digest:
                self._observed[record_id] = known.digest  # one object instead of two equal ones
                return Outcome.UNCHANGED if known.live else Outcome.UPDATE
            self._observed[record_id] = digest
            return Outcome.UPDATE
        if earlier == digest:
            return Outcome.DUPLICATE
        if earlier < digest:
            return Outcome.CONFLICT_LOST
        self._observed[record_id] = digest
        return Outcome.CONFLICT_WON

    def protect(self, record_id: str) -> None:
        """Take note that a rejected row may have been ``record_id``, so that it does not count as absent."""
        self._protected.add(record_id)

    def known(self, record_id: str) -> Known | None:
        """Return what is stored of ``record_id``."""
        return self._known.get(record_id)

    def stored(self, record_id: str, known: Known) -> None:
        """Take note of what this run has stored."""
        self._known[record_id] = known

    @property
    def observed_count(self) -> int:
        """How many records the snapshot has so far."""
        return len(self._observed)

    @property
    def protected(self) -> frozenset[str]:
        """The records that :meth:`protect` named."""
        return frozenset(self._protected)

    def live_ids(self) -> Iterator[str]:
        """Yield the ids of all live records that are stored."""
        return (record_id for record_id, known in self._known.items() if known.live)

    def absent(self) -> list[str]:
        """Return the live records that the snapshot does not have, in order of their id.

        A record that this run wrote was observed by it, so it is never among them (G06).
        """
        return sorted(
            record_id
            for record_id, known in self._known.items()
            if known.live and record_id not in self._observed and record_id not in self._protected
        )
