"""Merged records, as readers meet them: who lives on as whom, as of a seq."""

from __future__ import annotations

from collections.abc import Iterable

from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.ids import kind_of
from schoolgate_server.store.handles import Collection, Document, Query
from schoolgate_server.store.places import id_of
from schoolgate_server.store.records import Records

LONGEST_CHAIN = 1000
"""Merges that are followed from one record: far more than there are, so that a defect cannot make a loop."""

_IS_THERE: Document = {"$exists": True}
_KIND_NAMES = sorted(info.name for info in KINDS.values())


class Redirects:
    """What became of merged records; a merge cannot be undone, so at a later seq there are only more."""

    def __init__(self, reading: Records, records: Collection, history: Collection) -> None:
        self._reading = reading
        self._records = records
        self._history = history

    async def follow(self, school_id: str, record: Record, seq: int) -> Record:
        """Return the record that ``record``, read as of ``seq``, lived on in then: itself, unless merged."""
        for _ in range(LONGEST_CHAIN):
            if record.tombstone.reason != TOMBSTONE_REASON_MERGED:
                break
            survivor = await self._reading.get(school_id, record.tombstone.merged_into, seq)
            if survivor is None:
                break
            record = survivor
        return record

    async def any(self, school_id: str, seq: int) -> bool:
        """Say whether any record of the school had been merged into another one as of ``seq``."""
        merged: Document = {"school": school_id, "seq": {"$lte": seq}, "tombstone.merged_into": _IS_THERE}
        present = await self._records.find(merged, {"_id": 1}, limit=1, hint="merged")
        if present:
            return True
        past: Document = {**merged, "kind": {"$in": _KIND_NAMES}, "until": {"$gt": seq}}
        return bool(await self._history.find(past, {"_id": 1}, limit=1, hint="superseded"))

    async def same(self, school_id: str, record_ids: Iterable[str], seq: int) -> set[str]:
        """Return ``record_ids`` and every id that meant one of these entities as of ``seq``.

        Records that had left before a merge still refer to the one that went, and those of a large merge do
        so for a moment; whoever asks for what refers to an entity must ask for all of its ids.
        """
        known: set[str] = set()
        found = set(record_ids)
        while found:
            known |= found
            found = await self._neighbours(school_id, found, seq) - known
        return known

    async def _neighbours(self, school_id: str, record_ids: set[str], seq: int) -> set[str]:
        """Return the ids that ``record_ids`` were merged into, and those that were merged into them."""
        kinds = sorted({KINDS[kind_of(record_id)].name for record_id in record_ids})
        ids, as_of = sorted(record_ids), {"$lte": seq}
        merged: Document = {"tombstone.merged_into": _IS_THERE}
        into: Document = {"tombstone.merged_into": {"$in": ids}}
        # First the present states, then the past ones: what is superseded meanwhile is copied there before.
        present: Document = {"school": school_id, "seq": as_of}
        found = await self._look(self._records, {**present, "_id": {"$in": ids}, **merged})
        found |= await self._look(self._records, {**present, **into})
        past: Document = {**present, "kind": {"$in": kinds}, "until": {"$gt": seq}}
        found |= await self._look(self._history, {**past, "id": {"$in": ids}, **merged})
        return found | await self._look(self._history, {**past, **into})

    async def _look(self, collection: Collection, query: Query) -> set[str]:
        found: set[str] = set()
        for document in await collection.find(query, {"_id": 1, "id": 1, "tombstone.merged_into": 1}):
            found.add(id_of(document))
            found.add(document["tombstone"]["merged_into"])
        return found
