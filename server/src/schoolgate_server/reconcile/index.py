"""What a snapshot is compared with, in about 75 bytes a record: two million records take 150 MB.

A dictionary of named tuples takes five times as much. The columns are flat arrays.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

from schoolgate_server.model.changes import RecordStates
from schoolgate_server.model.hashing import DIGEST_BYTES
from schoolgate_server.model.ids import pack_id, unpack_id
from schoolgate_server.reconcile.places import Places

_EMPTY = bytes(DIGEST_BYTES)

LIVE = 1
"""The record is stored and live."""
STORED = 2
"""The record is stored, live or tombstoned."""
OBSERVED = 4
"""The snapshot has the record."""
PROTECTED = 8
"""A row that was not taken may be the record, or something newer than the snapshot is known of it."""
WAITING = 16
"""What the snapshot has of the record differs from what is stored, and is not written yet."""
NEW = 32
"""This run stored the record for the first time."""

TIED = 64
"""The snapshot has the record under another key than the one that its id was made from."""
OLD = 128
"""The snapshot has the record only in rows older than what is stored, one of which says the same."""


class Index:
    """Columns by place: ``flags``, ``versions`` (0: not stored), ``ranks`` of observed rows, and two digests.

    Places are integers from 0 in the order in which :meth:`place` was first called with an id.
    """

    def __init__(self) -> None:
        self.flags = bytearray()
        self.versions = array("I")
        self.ranks = array("I")
        self._places = Places()
        self._kinds = bytearray()
        self._stored = bytearray()
        self._observed = bytearray()

    def __len__(self) -> int:
        return len(self.flags)

    def find(self, record_id: str) -> int:
        """Return the record's place, or -1 where it has none.

        Raises:
            ValueError: ``record_id`` is none.
        """
        return self._places.find(pack_id(record_id)[1])

    def place(self, record_id: str) -> int:
        """Return the record's place; it gets one where it has none.

        Raises:
            ValueError: ``record_id`` is none.
        """
        kind, packed = pack_id(record_id)
        place, is_new = self._places.place(packed)
        if is_new:
            self._kinds.append(kind)
            self._stored += _EMPTY
            self._observed += _EMPTY
            self.versions.append(0)
            self.ranks.append(0)
            self.flags.append(0)
        return place

    def store(self, states: RecordStates) -> None:
        """Take in what is stored of records, those that have a place and those that have none yet.

        Raises:
            ValueError: a record id is none.
        """
        packed = list(map(pack_id, states.record_ids))
        places = self._places.place_all([key for _, key in packed])
        new = len(self._places) - len(self.flags)
        for column in (self.flags, self._kinds):
            column.extend(bytes(new))
        for digests in (self._stored, self._observed):
            digests.extend(bytes(DIGEST_BYTES * new))
        for numbers in (self.versions, self.ranks):
            numbers.frombytes(bytes(numbers.itemsize * new))
        flags, kinds, stored, versions = self.flags, self._kinds, self._stored, self.versions
        for place, (kind, _), digest, version, live in zip(
            places, packed, states.digests, states.versions, states.live, strict=True
        ):
            kinds[place] = kind
            flags[place] = flags[place] & ~LIVE | STORED | (LIVE if live else 0)
            stored[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest
            versions[place] = version

    def record_id(self, place: int) -> str:
        """Return the id of the record at ``place``."""
        return unpack_id(self._kinds[place], self._places.key(place))

    def kind(self, place: int) -> int:
        """Return the kind of the record at ``place``."""
        return self._kinds[place]

    def observe_as_stored(self, packed: bytes, digest: bytes, rank: int, flags: int) -> bool:
        """Take note that the snapshot has a live record as it is stored, if it was not observed before.

        ``packed`` is the opaque part of its id, ``flags`` are added to :data:`OBSERVED`. Returns whether it
        is so; otherwise nothing is noted.
        """
        place = self._places.find(packed)
        if place < 0 or self.flags[place] & (LIVE | STORED | OBSERVED) != LIVE | STORED:
            return False
        start = place * DIGEST_BYTES
        if not self._stored.startswith(digest, start):
            return False
        self.flags[place] |= OBSERVED | flags
        self.ranks[place] = rank
        self._observed[start : start + DIGEST_BYTES] = digest
        return True

    def tally(self) -> Counter[tuple[int, int]]:
        """Count the records by kind and flags."""
        return Counter(zip(self._kinds, self.flags, strict=True))

    def places(self, with_flags: int, without: int = 0) -> Iterator[int]:
        """Yield the places whose flags have all of ``with_flags`` and none of ``without``."""
        both = with_flags | without
        return (place for place, flags in enumerate(self.flags) if flags & both == with_flags)

    def stored(self, place: int) -> bytes:
        """Return the digest of what is stored."""
        return bytes(self._stored[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])

    def set_stored(self, place: int, digest: bytes) -> None:
        """Take note of the digest of what is stored."""
        self._stored[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest

    def observed(self, place: int) -> bytes:
        """Return the digest of what the snapshot has."""
        return bytes(self._observed[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])

    def set_observed(self, place: int, digest: bytes) -> None:
        """Take note of the digest of what the snapshot has."""
        self._observed[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest
