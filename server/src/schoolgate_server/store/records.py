"""Reading records: their present states for the diff, and answers as of a seq for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence, Set
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.changes import RecordStates
from schoolgate_server.model.questions import Question, SerialisedRecord
from schoolgate_server.model.recent import Recent
from schoolgate_server.store.documents import READ_FIELDS, record_of
from schoolgate_server.store.handles import Collection, Document, chunks
from schoolgate_server.store.indexes import BY_ID
from schoolgate_server.store.places import id_of
from schoolgate_server.store.reading import AsOf, filter_of, order_of
from schoolgate_server.store.together import together

STATE_FIELDS = {"_id": 1, "hash": 1, "version": 1, "live": 1}
"""Projection that the ``states`` index covers."""

_STATE_COLUMNS = list(map(itemgetter, STATE_FIELDS))

_ENDS = 1_000
"""Ends of pages that are kept, with their days, so that the next pages need not look for them."""

_RANKED = {**READ_FIELDS, "tombstone": 1, "keys": 1, "seq": 1}
_VERSIONS = {**READ_FIELDS, "version": 1, "until": 1, "until_at": 1}


class Records:
    """The ``records`` and ``history`` collections, read-only."""

    def __init__(self, heads: Collection, records: Collection, history: Collection) -> None:
        self._heads = heads
        self._records = records
        self._history = history
        self._ends = Recent[tuple[str, int, str], Document](_ENDS)

    async def states(
        self, school_id: str, dataset: str, date_from: str | None = None, date_to: str | None = None
    ) -> AsyncIterator[RecordStates]:
        """Yield what the diff needs of every record of ``dataset``, tombstoned ones included.

        ``date_from`` and ``date_to`` (ISO dates, half-open) bound the day of windowed datasets. For the
        holder of the school's lease after recovery: it reads what is there, published or not.
        """
        query: Document = {"school": school_id, "dataset": dataset}
        window = {
            operator: day for operator, day in (("$gte", date_from), ("$lt", date_to)) if day is not None
        }
        if window:
            query["from"] = window
        async for batch in self._records.batches(query, STATE_FIELDS):
            yield _states(batch)

    async def states_of(self, school_id: str, record_ids: Sequence[str]) -> AsyncIterator[RecordStates]:
        """Yield the same of the records with these ids, as far as there are any."""
        for some in chunks(record_ids):
            query: Document = {"school": school_id, "_id": {"$in": list(some)}}
            found = await self._records.find(query, STATE_FIELDS, hint=BY_ID)
            yield _states(found)

    async def has_any(self, school_id: str, kinds: Iterable[Kind.ValueType]) -> bool:
        """Whether a record of one of ``kinds`` is stored, be it tombstoned; read as by :meth:`states`."""
        names = [KINDS[kind].name for kind in kinds]
        query: Document = {"school": school_id, "kind": {"$in": names}}
        return await self._records.find_one(query, {"_id": 1}) is not None

    async def newer(
        self, school_id: str, dataset: str, since: int, *, not_by: str = ""
    ) -> AsyncIterator[list[tuple[str, int]]]:
        """Yield the ids and seqs of records that were written after seq ``since``, in lists.

        What run ``not_by`` wrote is left out. For the holder of the school's lease, as :meth:`states`.
        """
        query: Document = {
            "school": school_id,
            "seq": {"$gt": since},
            "dataset": dataset,
            "run": {"$ne": not_by},
        }
        async for batch in self._records.batches(query, {"_id": 1, "seq": 1}):
            yield [(document["_id"], document["seq"]) for document in batch]

    async def published(self, school_id: str) -> int:
        """Return the school's published seq; 0 for a school without any commit."""
        head = await self._heads.find_one({"_id": school_id}, {"published": 1})
        return 0 if head is None else head["published"]

    async def published_of(self, school_ids: Sequence[str]) -> dict[str, int]:
        """Return the published seqs of schools, as far as they have any."""
        found: dict[str, int] = {}
        for some in chunks(school_ids):
            heads = await self._heads.find({"_id": {"$in": list(some)}}, {"published": 1})
            found |= {head["_id"]: head["published"] for head in heads}
        return found

    async def get(self, school_id: str, record_id: str, seq: int | None = None) -> Record | None:
        """Return a record as of ``seq``, tombstoned or not; as of the published seq when ``None``."""
        if seq is None:
            return (await self.latest(school_id, record_id))[1]
        return (await self.named(school_id, {record_id}, seq)).get(record_id)

    async def latest(self, school_id: str, record_id: str) -> tuple[int, Record | None]:
        """Return the school's published seq, 0 without any commit, and a record as of it, tombstoned or not.

        Both are one operation, in which the seq is read first: unless the record has been written since, it
        is that of then.
        """
        async with together():
            published, found = await asyncio.gather(
                self.published(school_id),
                self._records.find_one({"school": school_id, "_id": record_id}, READ_FIELDS),
            )
        record = None if found is None else record_of(found)
        if record is None or record.seq > published:
            record = await self.get(school_id, record_id, published)
        return published, record

    async def named(self, school_id: str, record_ids: Set[str], seq: int) -> dict[str, Record]:
        """Return the few records that have these ids as of ``seq``, tombstoned or not, by their ids."""
        wanted: Document = {"school": school_id, "_id": {"$in": sorted(record_ids)}, "seq": {"$lte": seq}}
        found = {one["_id"]: one for one in await self._records.find(wanted, READ_FIELDS)}
        missing = sorted(record_ids - found.keys())
        if missing:
            wanted = {
                "school": school_id,
                "id": {"$in": missing},
                "seq": {"$lte": seq},
                "until": {"$gt": seq},
            }
            found |= {one["id"]: one for one in await self._history.find(wanted, READ_FIELDS)}
        return {record_id: record_of(document) for record_id, document in found.items()}

    async def find_by_key(
        self, school_id: str, kind: Kind.ValueType, key: str, seq: int | None = None
    ) -> Record | None:
        """Return the record that an encoded source key names as of ``seq``; ``None`` means the published one.

        After a merge two records have the key: the survivor, and the merged one, which is returned where its
        id was made from this key, so that a reader can tell that it was merged. Otherwise a live record goes
        before a tombstoned one, and newer before older.
        """
        instant = await self.published(school_id) if seq is None else seq
        matching: Document = {"school": school_id, "kind": KINDS[kind].name, "keys": key}
        found = await AsOf(self._records, self._history, matching, instant).page("", 100, _RANKED)
        if not found:
            return None
        best = max(found, key=partial(_rank, key))
        return record_of(best)

    async def ids_of_keys(
        self, school_id: str, kind: Kind.ValueType, keys: Sequence[str], seq: int
    ) -> set[str]:
        """Return the ids of all records that have one of the encoded source ``keys`` as of ``seq``."""
        matching: Document = {"school": school_id, "kind": KINDS[kind].name, "keys": {"$in": list(keys)}}
        found: set[str] = set()
        async for page in AsOf(self._records, self._history, matching, seq).pages(1000, {"_id": 1, "id": 1}):
            found.update(id_of(document) for document in page)
        return found

    async def query(
        self,
        school_id: str,
        kind: Kind.ValueType,
        question: Question,
        seq: int,
        after_id: str,
        limit: int,
    ) -> list[Record]:
        """Return what :meth:`serialised` returns, as messages."""
        found = await self.serialised(school_id, kind, question, seq, after_id, limit)
        return [Record.FromString(record.wire) for record in found]

    async def serialised(
        self,
        school_id: str,
        kind: Kind.ValueType,
        question: Question,
        seq: int,
        after_id: str,
        limit: int,
    ) -> list[SerialisedRecord]:
        """Return up to ``limit`` records as of ``seq`` in their order, those after ``after_id``.

        Fewer than ``limit`` mean that there are no more.
        """
        as_of = AsOf(
            self._records,
            self._history,
            filter_of(school_id, kind, question),
            seq,
            question.ids,
            order_of(kind, question),
            self._ends.get((school_id, seq, after_id)),
        )
        page = await as_of.page(after_id, limit, READ_FIELDS)
        if page and as_of.goes_by_day:
            end: Document = {name: page[-1][name] for name in ("_id", "id", "from") if name in page[-1]}
            self._ends.keep((school_id, seq, id_of(end)), end)
        return [SerialisedRecord(id_of(document), document["wire"]) for document in page]

    async def some(
        self, school_id: str, kind: Kind.ValueType, question: Question, seq: int, limit: int
    ) -> list[Record]:
        """Return up to ``limit`` records as of ``seq`` in no order; more may match."""
        matching = filter_of(school_id, kind, question)
        as_of = AsOf(self._records, self._history, matching, seq, question.ids)
        return [record_of(document) for document in await as_of.some(limit, READ_FIELDS)]

    async def count(self, school_id: str, kind: Kind.ValueType, question: Question, seq: int) -> int:
        """Return how many records ``query`` would return as of ``seq``, exactly."""
        as_of = AsOf(self._records, self._history, filter_of(school_id, kind, question), seq, question.ids)
        before = await self._position(school_id)
        if before is not None and before["pending"] is None:
            counted = await as_of.count()
            if await self._position(school_id) == before:
                return counted
        return await as_of.count_by_page()

    async def groups(
        self, school_id: str, kind: Kind.ValueType, question: Question, fields: Sequence[str], seq: int
    ) -> dict[tuple[Any, ...], int]:
        """Return how many of the records of ``question`` have each combination of values of body ``fields``.

        A value is ``None`` where records have none. The combinations are exact, and as many as there are.
        """
        as_of = AsOf(self._records, self._history, filter_of(school_id, kind, question), seq, question.ids)
        paths = [f"body.{field}" for field in fields]
        before = await self._position(school_id)
        if before is not None and before["pending"] is None:
            counted = await as_of.groups(paths)
            if await self._position(school_id) == before:
                return counted
        return await as_of.groups_by_page(paths)

    async def versions(
        self,
        school_id: str,
        record_id: str,
        before_version: int | None,
        limit: int,
        seq: int | None = None,
    ) -> list[tuple[Record, datetime | None]]:
        """Return versions as of ``seq``, newest first, those before ``before_version``.

        Each comes with the time when the next one took its place, the one of ``seq`` with ``None``; ``None``
        for ``seq`` means the published one.
        """
        instant = await self.published(school_id) if seq is None else seq
        query: Document = {"school": school_id, "seq": {"$lte": instant}}
        if before_version is not None:
            query["version"] = {"$lt": before_version}
        current = await self._records.find_one({**query, "_id": record_id}, _VERSIONS)
        past = await self._history.find(
            {**query, "id": record_id}, _VERSIONS, sort=[("version", -1)], limit=limit
        )
        versions = {document["version"]: document for document in past}
        if current is not None:
            # A copy of the current version may stand in the history already; that one has an end to come.
            versions[current["version"]] = current
        return [
            (record_of(document), _end(document, instant))
            for _, document in sorted(versions.items(), reverse=True)[:limit]
        ]

    async def many(self, school_id: str, record_ids: Sequence[str]) -> list[Record]:
        """Return the records with these ids in their latest state, published or not, in order of their id.

        For the holder of the school's lease after recovery, as :meth:`states`.
        """
        found: list[Record] = []
        for some in chunks(record_ids):
            query: Document = {"school": school_id, "_id": {"$in": list(some)}}
            documents = await self._records.find(query, READ_FIELDS, sort=[("_id", 1)])
            found += [record_of(document) for document in documents]
        return found

    async def _position(self, school_id: str) -> Document | None:
        """Return what every commit changes, and every roll-back of one."""
        return await self._heads.find_one(
            {"_id": school_id}, {"published": 1, "pending": 1, "rolled_back": 1}
        )


def _states(documents: Sequence[Document]) -> RecordStates:
    return RecordStates(*(list(map(column, documents)) for column in _STATE_COLUMNS))


def _rank(key: str, document: Document) -> tuple[bool, bool, bool, int]:
    """Return what decides which of several records a key names; the greatest one does."""
    tombstone: Document = document.get("tombstone", {})
    is_merged = "merged_into" in tombstone
    return is_merged and document["keys"][0] == key, not is_merged, not tombstone, document["seq"]


def _end(document: Document, instant: int) -> datetime | None:
    if "until" not in document or document["until"] > instant:
        return None
    ended: datetime = document["until_at"]
    return ended
