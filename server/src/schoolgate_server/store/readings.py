"""How the records of a dataset were read from their rows, where that changed since a snapshot was sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Sequence
from dataclasses import dataclass

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.ids import kind_of
from schoolgate_server.store.handles import Collection, Document, chunks
from schoolgate_server.store.indexes import BY_ID
from schoolgate_server.store.leases import Lease, Leases, lost
from schoolgate_server.store.redirects import LONGEST_CHAIN

_READ_ANEW = "REPROJECTION"
_NO_EDITS = [_READ_ANEW, "IDENTITY"]
"""Causes of versions that brought nothing new from the MIS."""


@dataclass(frozen=True, slots=True)
class FoundUnsealed:
    """What the read of ``run`` proved though it was not sealed: it found what had been edited up to ``seq``
    as it is stored, except the records ``apart``.
    """

    run: str
    seq: int
    apart: frozenset[str]

    def covers(self, record_id: str, seq: int) -> bool:
        """Whether the read found a record that was edited at ``seq``."""
        return seq <= self.seq and record_id not in self.apart


@dataclass(frozen=True, slots=True)
class StoredReading:
    """Under which projection the records of a dataset are, after the run ``snapshot`` sealed it.

    ``fingerprint`` is the projection's, empty where records may be under several. ``snapshot`` is empty where
    the dataset was never sealed. ``found`` is what a read since has proved.
    """

    snapshot: str
    fingerprint: str
    found: FoundUnsealed | None = None


class Readings:
    """Readings in the ``heads`` collection; only the holder of a school's lease stores one."""

    def __init__(self, heads: Collection, records: Collection, history: Collection, leases: Leases) -> None:
        self._heads = heads
        self._records = records
        self._history = history
        self._leases = leases

    async def get(self, school_id: str, dataset: str) -> StoredReading | None:
        """Return the dataset's reading, ``None`` where none was stored."""
        for kept in await self._all(school_id):
            if kept["dataset"] == dataset:
                return StoredReading(kept["snapshot"], kept["fingerprint"], _found(kept.get("found")))
        return None

    async def put(self, lease: Lease, dataset: str, reading: StoredReading) -> None:
        """Store the dataset's reading in place of an earlier one.

        Raises:
            LeaseLost: the school has another owner by now, or may have.
        """
        others = [kept for kept in await self._all(lease.school_id) if kept["dataset"] != dataset]
        # Dataset names come from connectors, so they are values and not field names.
        document: Document = {
            "dataset": dataset,
            "snapshot": reading.snapshot,
            "fingerprint": reading.fingerprint,
        }
        if (found := reading.found) is not None:
            document["found"] = {"run": found.run, "seq": found.seq, "apart": sorted(found.apart)}
        with self._leases.holding(lease):
            stored = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch},
                {"$set": {"readings": [*others, document]}},
            )
        if not stored:
            raise lost(lease)

    async def edits(
        self, school_id: str, dataset: str, kinds: Sequence[Kind.ValueType], since: int, *, not_by: str
    ) -> AsyncIterator[list[tuple[str, int, str]]]:
        """Yield id, seq and run of versions that came from the MIS after seq ``since``, in any order.

        Superseded ones count: a merge or another reading that lies on top of an edit does not undo it. What
        run ``not_by`` wrote is left out. ``kinds`` names the kinds of ``dataset``. For the holder of the
        school's lease after recovery: it reads what is there, published or not.
        """
        query: Document = {
            "school": school_id,
            "seq": {"$gt": since},
            "dataset": dataset,
            "run": {"$ne": not_by},
            "cause": {"$nin": _NO_EDITS},
        }
        names = [KINDS[kind].name for kind in kinds]
        superseded: Document = {**query, "kind": {"$in": names}, "until": {"$gt": since}}
        async for batch in self._history.batches(superseded, {"id": 1, "seq": 1, "run": 1}):
            yield [(document["id"], document["seq"], document["run"]) for document in batch]
        async for batch in self._records.batches(query, {"_id": 1, "seq": 1, "run": 1}):
            yield [(document["_id"], document["seq"], document["run"]) for document in batch]

    async def reread(
        self, school_id: str, record_ids: Iterable[str], since: int
    ) -> AsyncIterator[list[tuple[str, int, str]]]:
        """Yield id, seq and run of the records' versions after ``since`` that differ by a reading alone."""
        query: Document = {"school": school_id, "seq": {"$gt": since}, "cause": "REPROJECTION"}
        for some in chunks(sorted(record_ids)):
            found = await self._history.find(
                {**query, "id": {"$in": list(some)}}, {"id": 1, "seq": 1, "run": 1}
            )
            yield [(document["id"], document["seq"], document["run"]) for document in found]
            found = await self._records.find(
                {**query, "_id": {"$in": list(some)}}, {"seq": 1, "run": 1}, hint=BY_ID
            )
            yield [(document["_id"], document["seq"], document["run"]) for document in found]

    async def survivors(self, school_id: str, kinds: Container[Kind.ValueType]) -> dict[str, str]:
        """Return, for each merged record of ``kinds``, the record that it lives on in by now."""
        into: dict[str, str] = {}
        query: Document = {"school": school_id, "tombstone.merged_into": {"$exists": True}}
        async for batch in self._records.batches(query, {"tombstone.merged_into": 1}):
            into.update((document["_id"], document["tombstone"]["merged_into"]) for document in batch)
        merged = [record_id for record_id in into if kind_of(record_id) in kinds]
        found = {record_id: into[record_id] for record_id in merged}
        for _ in range(LONGEST_CHAIN):
            onward = {record_id: into[by] for record_id, by in found.items() if by in into}
            if not onward:
                break
            found.update(onward)
        return found

    async def _all(self, school_id: str) -> list[Document]:
        head = await self._heads.find_one({"_id": school_id}, {"readings": 1})
        found: list[Document] = [] if head is None else head.get("readings", [])
        return found


def _found(document: Document | None) -> FoundUnsealed | None:
    if document is None:
        return None
    return FoundUnsealed(document["run"], document["seq"], frozenset(document["apart"]))
