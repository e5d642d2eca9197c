"""Moves of a school to another MIS: its records are looked for in other datasets from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from google.protobuf.message import Message
from pymongo.operations import UpdateOne

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.store.documents import READ_FIELDS, record_of
from schoolgate_server.store.handles import CHUNK, Collection, Document, Write, chunks
from schoolgate_server.store.indexes import BY_ID
from schoolgate_server.store.leases import Lease, Leases, lost
from schoolgate_server.store.references import STORED_FIELDS, Stored, stored_of


class Moves:
    """``records``, ``runs`` and ``heads`` as a change of MIS needs them, for the holder of the lease."""

    def __init__(self, heads: Collection, records: Collection, runs: Collection, leases: Leases) -> None:
        self._heads = heads
        self._records = records
        self._runs = runs
        self._leases = leases

    async def live(
        self, school_id: str, kind: Kind.ValueType, date_from: str | None = None, date_to: str | None = None
    ) -> AsyncIterator[list[tuple[str, Message]]]:
        """Yield id and body of each live record of ``kind``, of dated ones those within the dates."""
        query: Document = {"school": school_id, "kind": KINDS[kind].name, "live": True}
        if date_from is not None and date_to is not None:
            query["from"] = {"$gte": date_from, "$lt": date_to}
        name = KINDS[kind].name
        async for batch in self._records.batches(query, READ_FIELDS):
            yield [(document["_id"], getattr(record_of(document), name)) for document in batch]

    async def stored(self, school_id: str, record_ids: Sequence[str]) -> list[Stored]:
        """Return the latest states of the records with these ids, tombstoned or not."""
        found: list[Stored] = []
        for some in chunks(record_ids):
            query: Document = {"school": school_id, "_id": {"$in": list(some)}}
            found += map(stored_of, await self._records.find(query, STORED_FIELDS, hint=BY_ID))
        return found

    async def count(self, school_id: str, kind: Kind.ValueType) -> int:
        """Return how many live records of ``kind`` there are."""
        return await self._records.count({"school": school_id, "kind": KINDS[kind].name, "live": True})

    async def move(self, lease: Lease, kind: Kind.ValueType, dataset: str) -> None:
        """Have every record of ``kind``, live or not, looked for in ``dataset``; nobody sees a difference.

        Where a record is looked for is no part of it, so there is no new version. Done again it comes to the
        same.

        Raises:
            LeaseLost: the school has another owner by now, or may have.
        """
        query: Document = {
            "school": lease.school_id,
            "kind": KINDS[kind].name,
            "dataset": {"$ne": dataset},
        }
        while found := await self._records.find(query, {"_id": 1}, limit=CHUNK):
            await self._check(lease)
            moved: list[Write] = [
                UpdateOne({"_id": document["_id"], "school": lease.school_id}, {"$set": {"dataset": dataset}})
                for document in found
            ]
            with self._leases.holding(lease):
                await self._records.bulk(moved)

    async def mark(self, lease: Lease) -> None:
        """Note that the school moved: no snapshot from before proves anything about those to come.

        Raises:
            LeaseLost: the school has another owner by now, or may have.
        """
        with self._leases.holding(lease):
            marked = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch}, {"$set": {"moved": True}}
            )
        if not marked:
            raise lost(lease)
        sealed = await self._runs.find(
            {"school": lease.school_id, "sealed": {"$exists": True, "$ne": []}}, {"_id": 1}
        )
        undone: list[Write] = [
            UpdateOne({"_id": run["_id"], "school": lease.school_id}, {"$set": {"sealed": []}})
            for run in sealed
        ]
        if undone:
            with self._leases.holding(lease):
                await self._runs.bulk(undone)

    async def has_moved(self, school_id: str) -> bool:
        """Whether the school was ever at another MIS."""
        head = await self._heads.find_one({"_id": school_id}, {"moved": 1})
        return head is not None and bool(head.get("moved"))

    async def _check(self, lease: Lease) -> None:
        if not await self._heads.find_one({"_id": lease.school_id, "lease.epoch": lease.epoch}, {"_id": 1}):
            raise lost(lease)
