"""Compares the rows of one snapshot with the records that are stored."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_server.model.changes import RecordStates
from schoolgate_server.reconcile.index import (
    LIVE,
    NEW,
    OBSERVED,
    OLD,
    PROTECTED,
    STORED,
    TIED,
    WAITING,
    Index,
)


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
    """A row that says the same was observed before in this snapshot."""
    CONFLICT_LOST = enum.auto()
    """A row that says something else was observed before in this snapshot, and is kept."""
    CONFLICT_WON = enum.auto()
    """A row that says something else was observed before in this snapshot; this one takes its place."""
    OLDER = enum.auto()
    """The record was written from newer knowledge than this row, and stays as it is (G07)."""


class Withheld(NamedTuple):
    """Waiting changes not to be written for now: those of live records of ``kinds``, or ``everything``."""

    kinds: frozenset[Kind.ValueType] = frozenset()
    everything: bool = False


NOTHING = Withheld()


class SnapshotDiff:
    """The comparison of one snapshot of one dataset with what is stored, row by row.

    Where rows of one key differ, the least rank wins: an arbitrary choice, but the same one in whatever order
    the MIS sends the rows, and whatever records are merged meanwhile, so that an unchanged school never
    appears to change (G03). The content digest, which a merge changes, decides only among equal ranks. Rows
    of different ranks differ, even where a merge lets them come to the same.

    ``newer`` holds the seqs of records that others wrote since the snapshot began: an interrupted run that is
    resumed from its retained rows must not put older states in their place. A row asked for before that is at
    most found to say what is stored; the rows asked for after it decide among themselves (G07).
    """

    def __init__(
        self, known: Iterable[tuple[str, Known]] = (), newer: Mapping[str, int] | None = None
    ) -> None:
        self._index = Index()
        self._newer = newer or {}
        self.observed_count = 0
        self.waiting_count = 0
        for record_id, state in known:
            self._store(self._index.place(record_id), state)
        self.protect_newer()

    def add(self, states: RecordStates) -> None:
        """Take in what is stored, before anything of it is observed."""
        self._index.store(states)

    def protect_newer(self) -> None:
        """Count none of what others wrote since the snapshot began as absent: it cannot know of that."""
        for record_id in self._newer:
            self.protect(record_id)

    def observe(
        self, record_id: str, digest: bytes, as_of: int = 0, *, own: bool = True, rank: int = 0
    ) -> Outcome:
        """Take note that the snapshot has ``record_id`` with the content ``digest``.

        ``as_of`` is the school's published seq when the row was asked for. ``own``: the row's key is the one
        that the id was made from; one under a key that was tied to the record counts only where there
        is none, so that a merge keeps the survivor as it was while the MIS has both rows. ``rank`` is that of
        the row among several of the record, of 32 bits.
        """
        index = self._index
        place = index.place(record_id)
        flags = index.flags[place]
        if self._newer and self._newer.get(record_id, 0) > as_of:
            return self._older(place, digest, rank)
        if flags & OBSERVED:
            return self._again(place, digest, rank, own=own)
        tied = 0 if own else TIED
        if not flags & STORED:
            self._observe(place, digest, rank, WAITING | tied)
            return Outcome.CREATE
        if index.stored(place) == digest and flags & LIVE:
            self._observe(place, digest, rank, tied)
            return Outcome.UNCHANGED
        self._observe(place, digest, rank, WAITING | tied)
        return Outcome.UPDATE

    def observe_as_stored(self, packed: bytes, digest: bytes, *, own: bool, rank: int) -> bool:
        """Do what :meth:`observe` does for a row that finds its record unchanged, named by its packed id.

        Returns ``False``, and does nothing, for any other row, and wherever more than that is to be decided.
        """
        if self._newer or not self._index.observe_as_stored(packed, digest, rank, 0 if own else TIED):
            return False
        self.observed_count += 1
        return True

    def _observe(self, place: int, digest: bytes, rank: int, flags: int) -> None:
        index = self._index
        index.flags[place] |= OBSERVED | flags
        index.ranks[place] = rank
        index.set_observed(place, digest)
        self.observed_count += 1
        self.waiting_count += bool(flags & WAITING)

    def _older(self, place: int, digest: bytes, rank: int) -> Outcome:
        """Compare a row with the newer state that is stored; it can only be that state, or nothing."""
        index = self._index
        flags = index.flags[place]
        if flags & OBSERVED:
            return Outcome.DUPLICATE if index.observed(place) == digest else Outcome.OLDER
        if index.stored(place) == digest and flags & LIVE:
            self._observe(place, digest, rank, OLD)
            return Outcome.UNCHANGED
        return Outcome.OLDER

    def _again(self, place: int, digest: bytes, rank: int, *, own: bool) -> Outcome:
        """Compare with what this snapshot had of the record before."""
        index = self._index
        earlier, flags = (index.ranks[place], index.observed(place)), index.flags[place]
        is_old, is_tied = bool(flags & OLD), bool(flags & TIED)
        goes_before = is_old or (not own, rank, digest) < (is_tied, *earlier)
        if goes_before:
            index.flags[place] = flags & ~(OLD | TIED) | (0 if own else TIED)
            index.ranks[place] = rank
            index.set_observed(place, digest)
        if (rank, digest) == earlier:
            return Outcome.DUPLICATE
        if not goes_before:
            return Outcome.CONFLICT_LOST
        is_stored = index.flags[place] & LIVE and index.stored(place) == digest
        self._wait(place, waits=not is_stored)
        return Outcome.CONFLICT_WON

    def protect(self, record_id: str) -> None:
        """Take note that a row that was not taken may have been ``record_id``, so that it is not absent."""
        place = self._index.find(record_id)
        if place >= 0:
            self._index.flags[place] |= PROTECTED

    def known(self, record_id: str) -> Known | None:
        """Return what is stored of ``record_id``."""
        place = self._index.find(record_id)
        if place < 0 or not self._index.flags[place] & STORED:
            return None
        live = bool(self._index.flags[place] & LIVE)
        return Known(self._index.stored(place), self._index.versions[place], live)

    def stored(self, record_id: str, known: Known) -> None:
        """Take note of what this run has stored."""
        place = self._index.place(record_id)
        self._wait(place, waits=False)
        if not self._index.flags[place] & STORED:
            self._index.flags[place] |= NEW
        self._store(place, known)

    def _wait(self, place: int, *, waits: bool) -> None:
        flags = self._index.flags
        self.waiting_count += waits - bool(flags[place] & WAITING)
        flags[place] = flags[place] & ~WAITING | (WAITING if waits else 0)

    def _store(self, place: int, known: Known) -> None:
        index = self._index
        index.flags[place] = index.flags[place] & ~LIVE | STORED | (LIVE if known.live else 0)
        index.set_stored(place, known.digest)
        index.versions[place] = known.version

    def is_observed(self, record_id: str) -> bool:
        """Whether the snapshot has ``record_id`` so far."""
        place = self._index.find(record_id)
        return place >= 0 and bool(self._index.flags[place] & OBSERVED)

    def is_settled(self, record_id: str) -> bool:
        """Whether nothing is to be written of ``record_id``: stored as the snapshot has it, or not live."""
        place = self._index.find(record_id)
        flags = 0 if place < 0 else self._index.flags[place]
        is_found = flags & OBSERVED and not flags & WAITING
        return bool(is_found or flags & (STORED | LIVE) == STORED)

    def is_waiting(self, record_id: str, digest: bytes) -> bool:
        """Whether ``digest`` is what the snapshot has of a record that is to be written still."""
        place = self._index.find(record_id)
        return (
            place >= 0 and bool(self._index.flags[place] & WAITING) and self._index.observed(place) == digest
        )

    def waiting_updates(self) -> Counter[Kind.ValueType]:
        """Count, by kind, the changes of live records that are to be written still."""
        return self._count(WAITING | LIVE)

    def waiting_new(self) -> Counter[Kind.ValueType]:
        """Count, by kind, the records to be written still that were never stored."""
        return self._count(WAITING, STORED)

    def is_ready(self, record_id: str, digest: bytes, withheld: Withheld = NOTHING) -> bool:
        """Whether ``digest`` is what the snapshot has of a record that is to be written, and not withheld."""
        return self.is_waiting(record_id, digest) and not self._is_withheld(
            self._index.find(record_id), withheld
        )

    def has_ready(self, withheld: Withheld = NOTHING) -> bool:
        """Whether there is a record that is to be written, and not withheld."""
        return any(not self._is_withheld(place, withheld) for place in self._index.places(WAITING))

    def _is_withheld(self, place: int, withheld: Withheld) -> bool:
        index = self._index
        is_update = bool(index.flags[place] & LIVE) and index.kind(place) in withheld.kinds
        return withheld.everything or is_update

    def withheld_changes(self, withheld: Withheld) -> Iterator[tuple[str, int, bytes]]:
        """Yield the record id, stored version and new digest of what is withheld."""
        index = self._index
        for place in index.places(WAITING):
            if self._is_withheld(place, withheld):
                yield index.record_id(place), index.versions[place], index.observed(place)

    def written_new(self) -> list[str]:
        """Return the records that this snapshot brought for the first time and that are stored by now."""
        index = self._index
        return [index.record_id(place) for place in index.places(NEW)]

    def is_protected(self, record_id: str) -> bool:
        """Whether :meth:`protect` named the record."""
        place = self._index.find(record_id)
        return place >= 0 and bool(self._index.flags[place] & PROTECTED)

    def live(self) -> Counter[Kind.ValueType]:
        """Count the live records that are stored, by kind."""
        return self._count(LIVE)

    def overlap(self) -> Counter[Kind.ValueType]:
        """Count, by kind, the records that are stored, live, and in the snapshot."""
        return self._count(LIVE | OBSERVED)

    def _count(self, with_flags: int, without: int = 0) -> Counter[Kind.ValueType]:
        both = with_flags | without
        found: Counter[Kind.ValueType] = Counter()
        for (kind, flags), number in self._index.tally().items():
            if flags & both == with_flags:
                found[Kind.ValueType(kind)] += number
        return found

    def absent(self) -> list[str]:
        """Return the live records that the snapshot does not have, in order of their id.

        A record that this run wrote was observed by it, so it is never among them (G06).
        """
        index = self._index
        return sorted(index.record_id(place) for place in index.places(LIVE, OBSERVED | PROTECTED))
