"""What the rows of a segment were read as, so that a row that comes again need not be read again.

A memo says nothing of what is stored. It holds results of :meth:`Projector.project`, which depend on the row
and on what the memo is bound to (``sync/memos.py``), and on nothing else; each row is compared with what is
stored, with a memo and without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from struct import Struct

from schoolgate_server.ingest.projection import Projection
from schoolgate_server.model.hashing import DIGEST_BYTES
from schoolgate_server.model.ids import ID_BYTES, pack_id
from schoolgate_server.reconcile.diff import SnapshotDiff

_ENTRY = Struct(f">{DIGEST_BYTES}s?{ID_BYTES}s{DIGEST_BYTES}sI?")
"""A row's digest; whether it is known what it is read as, and then: packed id, content digest, rank, own."""

_UNKNOWN = bytes(_ENTRY.size - DIGEST_BYTES)


class Memo:
    """What the rows of one segment are read as, in their order, as far as it is known.

    A row is known where it was read as one record and there was nothing else to say.
    """

    def __init__(self, payload: bytes, *, is_kept: bool) -> None:
        """Take ``payload`` as :meth:`encode` returns it; ``is_kept`` says that it is stored.

        Raises:
            ValueError: ``payload`` is nothing of the kind.
        """
        if len(payload) % _ENTRY.size:
            raise ValueError(f"a memo of {len(payload):,} bytes has parts of entries")
        self._entries = bytearray(payload)
        self.is_kept = is_kept
        self.is_contradicted = False

    @classmethod
    def of_rows(cls, rows: Sequence[bytes], known: MutableMapping[bytes, bytes]) -> Memo:
        """Return the memo of rows with the digests ``rows``; what is used of ``known`` is taken out."""
        pop = known.pop
        return cls(b"".join([row + pop(row, _UNKNOWN) for row in rows]), is_kept=False)

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY.size

    @property
    def knows_any(self) -> bool:
        """Whether it is known of any row what it is read as."""
        return any(self._entries[DIGEST_BYTES :: _ENTRY.size])

    def sample(self, first: int, one_of: int, turn: int) -> list[int]:
        """Return the places of known rows that are to be read all the same: the ``first`` ones, and of the
        others one of each ``one_of`` (at most 256; 0: none), other ones for each ``turn``.
        """
        leads, are_known = self._entries[:: _ENTRY.size], self._entries[DIGEST_BYTES :: _ENTRY.size]
        known = [place for place, is_known in enumerate(are_known) if is_known]
        others = known[first:] if one_of else ()
        return known[:first] + [place for place in others if (leads[place] - turn) % one_of == 0]

    def settle(self, diff: SnapshotDiff, places: range, holds: Callable[[], bool]) -> Iterator[int]:
        """Observe the rows at ``places`` that are known and stored as they are; yield the other places.

        Each is yielded between the rows around it, so that the rows are taken in their order. Where ``holds``
        says no after one of them, what is known of the others counts no more.
        """
        size = _ENTRY.size
        entries = _ENTRY.iter_unpack(memoryview(self._entries)[places.start * size : places.stop * size])
        observe, counts = diff.observe_as_stored, holds()
        for place, (_, known, record, digest, rank, own) in zip(places, entries, strict=True):
            if not (counts and known and observe(record, digest, own=own, rank=rank)):
                yield place
                counts = holds()

    def note(self, place: int, projection: Projection) -> None:
        """Take note of what the row at ``place`` is read as."""
        span = slice(place * _ENTRY.size, (place + 1) * _ENTRY.size)
        before = bytes(self._entries[span])
        after = _entry(before[:DIGEST_BYTES], projection)
        if after != before:
            self._entries[span] = after
            self.is_kept = False
            self.is_contradicted |= bool(before[DIGEST_BYTES])

    def encode(self) -> bytes:
        """Return the memo as bytes, 54 for a row."""
        return bytes(self._entries)


def known_rows(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows' digests and what an encoded memo knows of them, as :meth:`Memo.of_rows` takes it."""
    size = _ENTRY.size
    entries = (payload[start : start + size] for start in range(0, len(payload), size))
    return ((entry[:DIGEST_BYTES], entry[DIGEST_BYTES:]) for entry in entries if entry[DIGEST_BYTES])


def _entry(row: bytes, projection: Projection) -> bytes:
    records, findings, rejected, protects, claims, outside = projection
    if len(records) != 1 or findings or rejected or protects or claims or outside:
        return row + _UNKNOWN
    read = records[0]
    return _ENTRY.pack(row, True, pack_id(read.record_id)[1], read.digest, read.rank, read.own)
