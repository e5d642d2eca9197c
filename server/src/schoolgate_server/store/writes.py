"""The ledger of writes to the MIS: one document per idempotency key, changed by compare-and-set alone.

Who acts on the MIS stores what it is about to do first. All writes are confirmed by a majority, so what was
stored survives the loss of a primary, and a document's id is made from school and key, so that two of one
key cannot come to be (G11, G14).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from pymongo.operations import UpdateOne

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import LEFT, OPEN, WriteConditions, WriteEntry, write_id_of
from schoolgate_server.store import handles
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.handles import CHUNK, Document, Query, storable
from schoolgate_server.store.vault import RowSeal
from schoolgate_server.store.write_documents import (
    bound,
    change_of,
    held_after,
    key_digest,
    new_document,
    read_entry,
    sealed_contents,
    state_name,
)

Place = tuple[datetime, str]
"""Where a page of writes ended: time of submission and id of its last one."""

_NEWEST = [("submitted_at", -1), ("_id", -1)]
_PENDING = state_name(pb.WRITE_STATE_PENDING)
_SAME_POSITION = 50
"""Open writes about the same that are compared: as many cannot get one position within one millisecond."""
_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Seconds before each further look at a write that another is storing, and that is not confirmed yet."""


class Writes:
    """The ``writes`` collection, and how far each school's own data was followed, in ``write_heads``.

    Entries come with everything unsealed, for which there must be a vault: every method that returns some
    raises ``ServiceError`` VAULT_UNAVAILABLE where it does not work. Times are kept in milliseconds.
    """

    def __init__(
        self, writes: handles.Collection, heads: handles.Collection, seal: Callable[[], RowSeal]
    ) -> None:
        self._writes = writes
        self._heads = heads
        self._seal = seal

    async def seal(self, school_id: str, operation: pb.WriteOperation) -> bytes:
        """Return an operation sealed, for :meth:`insert`: it takes a read, which others need not wait for.

        Raises:
            ServiceError: VAULT_UNAVAILABLE.
        """
        return await self._seal().seal(school_id, operation.SerializeToString())

    async def insert(self, entry: WriteEntry, sealed: bytes | None = None) -> tuple[WriteEntry, bool]:
        """Store a new write; return it and true, or the one that its key has already and false.

        When this returns, a majority has it. ``entry`` gets revision 1. ``sealed`` is what :meth:`seal` made
        of its operation a moment ago, for its school.

        Raises:
            ServiceError: VAULT_UNAVAILABLE.
        """
        seal = self._seal()
        entry.write.revision = 1
        bound(entry.write)
        if sealed is None:
            sealed = await self.seal(entry.school_id, entry.write.operation)
        document = new_document(entry, sealed, await sealed_contents(entry, seal))
        for pause in (*_PAUSES, None):
            if await self._writes.insert_one(document):
                return entry, True
            there = await self.find(entry.school_id, entry.write_id)
            if there is not None:
                return there, False
            # It is there, and not yet with a majority: it may come to last, or go with its primary.
            if pause is not None:
                await asyncio.sleep(pause)
        raise StoreUnavailable(f"write {entry.write_id} is being stored by another, and not confirmed")

    async def get(self, school_id: str, write_id: str) -> WriteEntry:
        """Return one write.

        Raises:
            ServiceError: WRITE_NOT_FOUND; VAULT_UNAVAILABLE.
        """
        found = await self.find(school_id, write_id)
        if found is None:
            raise _not_found(school_id, write_id)
        return found

    async def find(self, school_id: str, write_id: str) -> WriteEntry | None:
        """Return one write, ``None`` where the school has no such one.

        Raises:
            ServiceError: VAULT_UNAVAILABLE.
        """
        found = await self._writes.find_one({"_id": write_id, "school": school_id})
        return None if found is None else await read_entry(found, self._seal())

    async def save(self, entry: WriteEntry) -> bool:
        """Store ``entry`` in place of the revision that it was read at; false where another came between.

        Then nothing was stored, and the write must be read again. On success the entry has the new revision.
        The operation, the key and who submitted it never change. Of more than 50 attempts the first 5 and
        the last 45 are kept, by their numbers, and long contents are cut, in ``entry`` too.

        Raises:
            ServiceError: VAULT_UNAVAILABLE.
        """
        write = entry.write
        before = write.revision
        bound(write)
        contents = await sealed_contents(entry, self._seal())
        write.revision = before + 1
        saved = False
        try:
            saved = await self._writes.update_one(
                {"_id": write.write_id, "school": write.school_id, "revision": before},
                change_of(entry, contents),
            )
        finally:
            if not saved:
                write.revision = before
        return saved

    async def open_of(self, school_id: str, limit: int, after: Place | None = None) -> list[WriteEntry]:
        """Return up to ``limit`` writes that have not come to their end, newest first, those after ``after``.

        One that changes meanwhile may be missing; :meth:`changed` has it.
        """
        return await self.list(school_id, WriteConditions(states=OPEN), after, limit)

    async def changed(self, school_id: str, since: datetime, limit: int) -> Sequence[WriteEntry]:
        """Return up to ``limit`` writes that changed at ``since`` or later, in the order of their changes.

        Servers' clocks differ, so a later change may come with an earlier time: ask with some overlap.
        """
        query: Document = {"school": school_id, "updated_at": {"$gte": storable(since)}}
        return await self._found(query, limit, [("updated_at", 1), ("_id", 1)], "changed")

    # --- sending -------------------------------------------------------------------------------------------

    async def due(self, environment: str, now: datetime, limit: int, after: str = "") -> list[str]:
        """Return up to ``limit`` schools with a write that is due, in order of their ids, from ``after`` on.

        It costs one short read per school that is returned, however many writes are due.
        """
        schools: list[str] = []
        while len(schools) < limit:
            found = await self._writes.find(
                {"environment": environment, "school": {"$gt": after}, "due_at": {"$lte": now}},
                {"_id": 0, "school": 1},
                sort=[("school", 1)],
                limit=1,
                hint="due",
            )
            if not found:
                break
            after = found[0]["school"]
            schools.append(after)
        return schools

    async def due_of(
        self, school_id: str, environment: str, now: datetime, limit: int
    ) -> Sequence[WriteEntry]:
        """Return the ``limit`` writes of a school that are due longest, in order of position.

        What is due and cannot go must become due later, or it takes the place of what could.
        """
        query = {"environment": environment, "school": school_id, "due_at": {"$lte": now}}
        found = await self._found(query, limit, [("due_at", 1)], "due")
        return sorted(found, key=lambda entry: (entry.position, entry.write_id))

    async def ahead(self, entry: WriteEntry) -> str | None:
        """Return the id of the write that goes before ``entry``, ``None`` where it is its turn.

        That is the first open one about the same, in the same environment; one that awaits approval holds
        nobody up. Of two that got the same position from two servers the one that has left goes first, else
        the one with the smaller id.
        """
        found = await self._writes.find(
            {
                "school": entry.school_id,
                "slot": entry.slot,
                "open": True,
                "position": {"$lte": entry.position},
                "environment": entry.write.environment,
                "awaits_approval": False,
            },
            {"position": 1, "state": 1},
            sort=[("position", 1), ("_id", 1)],
            limit=_SAME_POSITION,
            hint="slots",
        )
        first = min(
            found,
            key=lambda one: (one["position"], one["state"] == _PENDING, one["_id"]),
            default={"_id": entry.write_id},
        )
        return None if first["_id"] == entry.write_id else first["_id"]

    async def last_position(self, school_id: str, slot: str) -> int:
        """Return the last position that a write about the same has, 0 where there is none."""
        found = await self._writes.find(
            {"school": school_id, "slot": slot, "open": {"$in": [True, False]}},
            {"_id": 0, "position": 1},
            sort=[("position", -1)],
            limit=1,
        )
        return found[0]["position"] if found else 0

    async def requeue(
        self, school_id: str, environment: str, operations: Collection[str], now: datetime
    ) -> int:
        """Make what is queued of ``operations`` due ``now``, but for what awaits approval; return how many.

        Whoever has read such a write before cannot save it any more: its decision may be out of date.
        """
        query = _queue(school_id, environment, operations)
        query |= {"awaits_approval": False, "sealed": {"$exists": True}}  # without contents it is never sent
        after, made = "", 0
        while True:
            page = await self._writes.find(
                {**query, "_id": {"$gt": after}}, {"_id": 1}, sort=[("_id", 1)], limit=CHUNK, hint="open"
            )
            if not page:
                return made
            after = page[-1]["_id"]
            change = {"$set": {"due_at": now}, "$inc": {"revision": 1}}
            made += await self._writes.bulk(
                [UpdateOne({**query, "_id": document["_id"]}, change) for document in page]
            )

    async def queued(
        self, school_id: str, environment: str, operations: Collection[str], limit: int
    ) -> Sequence[WriteEntry]:
        """Return up to ``limit`` writes of ``operations`` that are queued, in no order."""
        return await self._found(_queue(school_id, environment, operations), limit, hint="open")

    async def counts(self, school_id: str, environment: str, operations: Collection[str]) -> tuple[int, int]:
        """Return how many writes of ``operations`` are queued, and how many have left or may have.

        Those are not confirmed; what needs a person's attention is in neither.
        """
        query = _queue(school_id, environment, operations)
        left = query | {"state": {"$in": sorted(map(state_name, LEFT))}}
        queued, in_flight = await asyncio.gather(self._writes.count(query), self._writes.count(left))
        return queued, in_flight

    async def accepted_since(
        self, school_id: str, environment: str, operation: str, since: datetime, limit: int
    ) -> int:
        """Return how many writes of ``operation`` were submitted at ``since`` or later, ``limit`` at most."""
        found = await self._writes.find(
            {
                "school": school_id,
                "environment": environment,
                "operation": operation,
                "submitted_at": {"$gte": since},
            },
            {"_id": 0, "operation": 1},
            limit=limit,
            hint="accepted",
        )
        return len(found)

    # --- what came of it -----------------------------------------------------------------------------------

    async def claimed(self, school_id: str, operation: str, mis_ids: Collection[str], but: str) -> str | None:
        """Return another write of ``operation`` than ``but`` that has one of these MIS ids, or ``None``.

        A MIS numbers each kind of thing by itself, so writes of another operation prove nothing.
        """
        found = await self._writes.find(
            {
                "school": school_id,
                "mis_ids": {"$in": sorted(mis_ids)},
                "operation": operation,
                "_id": {"$ne": but},
            },
            {"_id": 1},
            limit=1,
            hint="mis_ids",
        )
        return found[0]["_id"] if found else None

    async def made(self, school_id: str, record_ids: Collection[str]) -> Sequence[WriteEntry]:
        """Return the confirmed and diverged writes that made, or changed, one of these records."""
        states = [state_name(pb.WRITE_STATE_CONFIRMED), state_name(pb.WRITE_STATE_DIVERGED)]
        query: Document = {
            "school": school_id,
            "records": {"$in": sorted(record_ids)},
            "state": {"$in": states},
        }
        return await self._found(query, hint="records")

    async def made_by_keys(self, school_id: str, keys: Collection[str]) -> Sequence[WriteEntry]:
        """Return the sent writes, not confirmed yet, that made what has one of these encoded source keys."""
        query: Document = {
            "school": school_id,
            "keys": {"$in": sorted(key_digest(school_id, key) for key in keys)},
            "state": state_name(pb.WRITE_STATE_SENT),
        }
        return await self._found(query, hint="keys")

    async def followed(self, school_id: str) -> int:
        """Return the seq up to which the school's records were compared with its writes, 0 at first."""
        found = await self._heads.find_one({"_id": school_id})
        return 0 if found is None else found["followed"]

    async def followed_schools(self) -> dict[str, int]:
        """Return the same of every school of which a write was confirmed."""
        found = await self._heads.find({}, {"followed": 1})
        return {document["_id"]: document["followed"] for document in found}

    async def follow_to(self, school_id: str, seq: int) -> None:
        """Take note that the school's records were compared up to ``seq``; it never goes back."""
        further = {"$max": {"followed": seq}}
        if await self._heads.update_one({"_id": school_id}, further):
            return
        if not await self._heads.insert_one({"_id": school_id, "school": school_id, "followed": seq}):
            await self._heads.update_one({"_id": school_id}, further)

    async def list(
        self, school_id: str, conditions: WriteConditions, after: Place | None, limit: int
    ) -> list[WriteEntry]:
        """Return up to ``limit`` writes that meet ``conditions``, newest first, those after ``after``."""
        query: Document = {"school": school_id}
        hint = "newest"
        if conditions.states:
            query["state"] = {"$in": sorted(map(state_name, conditions.states))}
            hint = "states"
        for field, value in (
            ("student", conditions.student_id),
            ("records", conditions.record_id),
            ("mis_ids", conditions.mis_id),
        ):
            if value:
                query[field], hint = value, field
        if after is not None:
            query.update(held_after((storable(after[0]), after[1])))
        if not conditions.idempotency_key:
            return [*await self._found(query, limit, _NEWEST, hint)]
        query["$and"] = [{"_id": write_id_of(school_id, conditions.idempotency_key)}]
        return [*await self._found(query, 1)]

    async def _found(
        self,
        query: Query,
        limit: int = 0,
        sort: Sequence[tuple[str, int]] | None = None,
        hint: str | None = None,
    ) -> Sequence[WriteEntry]:
        seal = self._seal()
        found = await self._writes.find(query, sort=sort, limit=limit, hint=hint)
        return [await read_entry(document, seal) for document in found]


def _queue(school_id: str, environment: str, operations: Collection[str]) -> Document:
    return {
        "school": school_id,
        "environment": environment,
        "operation": {"$in": sorted(operations)},
        "open": True,
        "state": _PENDING,
    }


def _not_found(school_id: str, write_id: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_WRITE_NOT_FOUND,
        f"school {school_id!r} has no write {write_id!r}",
        metadata={"school_id": school_id, "write_id": write_id},
    )
