"""Reads as of a seq: what the school's copy was at one instant, whatever is being committed meanwhile.

A version is the one of seq S if it was committed at or before S and superseded after S. Current versions
stand in ``records``, superseded ones in ``history``. ``records`` is read first: a commit copies a version
into ``history`` before it replaces it, so what has gone from the one is found in the other by then. A version
that is found in both counts once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from pymongo import ASCENDING, DESCENDING

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.questions import GROWING, INDEXED_REFERENCES, Condition, Question, day_field
from schoolgate_server.store import together
from schoolgate_server.store.handles import Collection, Document, Query
from schoolgate_server.store.indexes import BY_DAY, OF_KIND
from schoolgate_server.store.places import between, id_of, later, place_at, value_at

_OPERATORS: Mapping[q.FilterOperator.ValueType, str] = {
    q.FILTER_OPERATOR_EQUAL: "$eq",
    q.FILTER_OPERATOR_GREATER_OR_EQUAL: "$gte",
    q.FILTER_OPERATOR_LESS: "$lt",
}
_SCAN = 10_000
_DAY = len("2026-09-01")
_AFTER_PREFIX = chr(ord("_") + 1)
_SELECTIVE = {"keys", "of_student", "of_group"}
"""Indexes by which few records are found, so that MongoDB does not take another for better."""
_GROWING = {KINDS[kind].name for kind in GROWING}


def filter_of(school_id: str, kind: Kind.ValueType, question: Question) -> Document:
    """Return the MongoDB filter of ``question``, without its instant.

    Values stand under explicit operators, so none of them can be taken for one.
    """
    clauses: list[Document] = [_condition(condition) for condition in question.conditions]
    day = day_field(KINDS[kind])
    clauses += [
        _day(condition)
        for condition in question.conditions
        if condition.field == day and condition.operator != q.FILTER_OPERATOR_PRESENT
    ]
    if not question.include_tombstones:
        clauses.append({"live": True})
    if question.effective_on is not None:
        clauses += _effective(kind, question.effective_on)
    found: Document = {"school": school_id, "kind": KINDS[kind].name}
    if clauses:
        found["$and"] = clauses
    return found


def order_of(kind: Kind.ValueType, question: Question) -> list[tuple[str, int]]:
    """Return the paths that ``question`` orders by before the id, each with MongoDB's direction.

    A day is ordered by where an index has it.
    """
    day = day_field(KINDS[kind])
    return [
        ("from" if field == day else f"body.{field}", DESCENDING if descending else ASCENDING)
        for field, descending in question.order
    ]


def _day(condition: Condition) -> Document:
    """Return what a condition on the field of a kind's first day says about that day.

    It narrows the answer down by an index; a point in time is more precise than its day.
    """
    days = [str(value)[:_DAY] for value in condition.values]
    match condition.operator:
        case q.FILTER_OPERATOR_IN:
            return {"from": {"$in": days}}
        case q.FILTER_OPERATOR_LESS:
            return {"from": {"$lte": days[0]}}
        case operator:
            return {"from": {_OPERATORS[operator]: days[0]}}


def _condition(condition: Condition) -> Document:
    name = f"body.{condition.field}"
    if condition.operator == q.FILTER_OPERATOR_PRESENT:
        if condition.field in INDEXED_REFERENCES and condition.values[0]:
            # In other words MongoDB might go along the index of all that have one, instead of some day's.
            return {name: {"$not": {"$exists": False}}}
        return {name: {"$exists": bool(condition.values[0])}}
    if condition.operator == q.FILTER_OPERATOR_IN:
        return {name: {"$in": list(condition.values)}}
    return {name: {_OPERATORS[condition.operator]: condition.values[0]}}


def _effective(kind: Kind.ValueType, day: str) -> list[Document]:
    info = KINDS[kind]
    if info.on is not None:
        return [{"from": {"$eq": day}}]
    if not info.is_span:
        return []
    return [
        {"$or": [{"from": {"$exists": False}}, {"from": {"$lte": day}}]},
        {"$or": [{"to": {"$exists": False}}, {"to": {"$gt": day}}]},
    ]


class AsOf:
    """``records`` and ``history`` of one school as of one seq, under one filter.

    ``ids`` are the only records meant, unless ``None``. ``order`` is of paths with MongoDB's direction; the
    id decides between records that it leaves alike. Without one, records stand in order of their ids, and in
    that of their first day where they are of a kind with ever more and not picked by id, key, pupil or group.
    ``known`` is the record that the page comes after, with its day, where the order ``goes_by_day``.
    """

    def __init__(
        self,
        records: Collection,
        history: Collection,
        matching: Query,
        seq: int,
        ids: Sequence[str] | None = None,
        order: Sequence[tuple[str, int]] = (),
        known: Document | None = None,
    ) -> None:
        self._records = records
        self._history = history
        self._school = matching["school"]
        prefix = KINDS_BY_NAME[matching["kind"]].prefix
        self._first, self._end = f"{prefix}_", f"{prefix}{_AFTER_PREFIX}"
        self._seq = seq
        self._ids = None if ids is None else sorted(set(ids))
        self._index = _index_of(matching, order) if ids is None else None
        if not order and self._index == BY_DAY and matching["kind"] in _GROWING:
            order = [("from", ASCENDING)]
        self._order = order
        self.goes_by_day = self._index == BY_DAY and [path for path, _ in order] == ["from"]
        self._known = known
        self._current: Query = {**matching, "seq": {"$lte": seq}}
        self._past: Query = {**matching, "seq": {"$lte": seq}, "until": {"$gt": seq}}

    async def page(self, after_id: str, limit: int, projection: Mapping[str, Any]) -> list[Document]:
        """Return up to ``limit`` documents in order, those after the record ``after_id``, "" for the first.

        Fewer than ``limit`` mean that there are no more.
        """
        if self._order:
            return await self._ordered_page(after_id, limit, projection)
        goes_with_others = together.current() is not None and self._index in _SELECTIVE
        reading = self._records.find(
            {**self._current, "_id": self._beyond(after_id)},
            projection,
            sort=[("_id", 1)],
            limit=limit,
            hint=None if goes_with_others else self._index,
        )
        if goes_with_others:
            superseded = self._superseded(self._beyond(after_id), limit, projection)
            current, past = await asyncio.gather(reading, superseded)
        else:
            current = await reading
            beyond = self._beyond(after_id)
            if len(current) == limit:
                beyond["$lte"] = current[-1]["_id"]
            past = await self._superseded(beyond, limit, projection)
        if not past:
            return current
        merged = _merged(current, past)
        # Where `past` was cut short, the union may lack superseded versions beyond its last id. There are
        # `limit` ids up to there, so cutting at `limit` leaves none of the doubtful ones.
        return [merged[record_id] for record_id in sorted(merged)[:limit]]

    async def _superseded(self, beyond: Query, limit: int, projection: Mapping[str, Any]) -> list[Document]:
        past = {**self._past, "id": beyond}
        return await self._history.find(past, projection, sort=[("id", 1)], limit=limit)

    def _beyond(self, after_id: str) -> Document:
        if self._ids is None:
            # Of one kind: an index of ids alone must not be read past the other kinds'.
            return {"$gt": after_id or self._first, "$lt": self._end}
        return {"$in": self._ids[bisect_right(self._ids, after_id) :]}

    async def _ordered_page(self, after_id: str, limit: int, projection: Mapping[str, Any]) -> list[Document]:
        wanted = {**projection, **{path: 1 for path, _ in self._order}}
        after = self._known if self.goes_by_day and after_id else None
        if after is None and after_id:
            after = await self._document(after_id, wanted)
        if self.goes_by_day:
            ranges = between(self._order[0][1], after, None, "_id")
            current = await self._in_ranges(self._records, self._current, "_id", ranges, limit, wanted)
            past = await self._past_by_day(after, current, limit, wanted)
        else:
            # Whatever is ordered by is few enough to be sorted.
            query, sort = self._behind(after, self._current, "_id"), self._in_order("_id")
            current = await self._records.find(query, wanted, sort=sort, limit=limit, hint=self._index)
            hint = "superseded" if self._index == OF_KIND else None
            query, sort = self._behind(after, self._past, "id"), self._in_order("id")
            past = await self._history.find(query, wanted, sort=sort, limit=limit, hint=hint)
        if not past:
            return current
        merged = _merged(current, past)
        # Each of the two is cut short beyond its own first `limit`, so the first `limit` of both are here.
        documents = [
            merged[record_id] for record_id in sorted(merged, reverse=self._order[-1][1] == DESCENDING)
        ]
        for path, direction in reversed(self._order):
            documents.sort(key=partial(place_at, path), reverse=direction == DESCENDING)
        return documents[:limit]

    async def _past_by_day(
        self, after: Document | None, current: Sequence[Document], limit: int, wanted: Mapping[str, Any]
    ) -> list[Document]:
        """Return the superseded documents of the page behind ``after`` whose ``current`` ones were read.

        All that was ever superseded of a kind is not looked through for nothing, nor beyond the page.
        """
        newer = {name: self._past[name] for name in ("school", "kind", "until")}
        if not await self._history.find(newer, {"_id": 1}, limit=1, hint="superseded"):
            return []
        last = current[-1] if len(current) == limit else None
        ranges = between(self._order[0][1], after, last, "id")
        return await self._in_ranges(self._history, self._past, "id", ranges, limit, wanted)

    async def _in_ranges(
        self,
        collection: Collection,
        matching: Query,
        name: str,
        ranges: Sequence[Query],
        limit: int,
        wanted: Mapping[str, Any],
    ) -> list[Document]:
        """Return the first documents of one range after the other, which in one read MongoDB would merge."""
        found: list[Document] = []
        for each in ranges:
            if len(found) < limit:
                found += await collection.find(
                    {**matching, **each},
                    wanted,
                    sort=self._in_order(name),
                    limit=limit - len(found),
                    hint=BY_DAY,
                )
        return found

    async def _document(self, record_id: str, projection: Mapping[str, Any]) -> Document:
        """Return a record as of the seq, whether the filter takes it or not: where a page ended."""
        one = {"school": self._school, "seq": {"$lte": self._seq}}
        found = await self._records.find_one({**one, "_id": record_id}, projection)
        if found is None:
            past: Document = {**one, "id": record_id, "until": {"$gt": self._seq}}
            found = await self._history.find_one(past, projection)
        if found is None:
            raise ServiceError(reasons.ERROR_REASON_PAGE_TOKEN_INVALID, "")
        return found

    def _in_order(self, name: str) -> list[tuple[str, int]]:
        """Return the whole order of a collection in which records have their ids under ``name``."""
        return [*self._order, (name, self._order[-1][1])]

    def _behind(self, after: Document | None, matching: Query, name: str) -> Query:
        """Return ``matching``, of such a collection, less what does not stand behind ``after``."""
        query = self._named(matching, name)
        return query if after is None else {**query, **later(self._order, after, name)}

    async def some(self, limit: int, projection: Mapping[str, Any]) -> list[Document]:
        """Return up to ``limit`` documents in no order, which spares MongoDB to sort them."""
        current = await self._records.find(self._named(self._current, "_id"), projection, limit=limit)
        past = await self._history.find(self._named(self._past, "id"), projection, limit=limit)
        return list(_merged(current, past).values())[:limit]

    async def count(self) -> int:
        """Return the exact number of matching records, provided that nothing is committed meanwhile."""
        current = await self._records.count(self._named(self._current, "_id"))
        doubled = 0
        past = 0
        async for batch in self._history.batches(self._named(self._past, "id"), {"id": 1}, size=_SCAN):
            past += len(batch)
            doubled += await self._records.count(
                {**self._current, "_id": {"$in": [document["id"] for document in batch]}}
            )
        return current + past - doubled

    def _named(self, matching: Query, name: str) -> Query:
        return matching if self._ids is None else {**matching, name: {"$in": self._ids}}

    async def count_by_page(self) -> int:
        """Return the exact number of matching records, whatever is committed meanwhile; reads every id."""
        counted = 0
        async for page in self.pages(_SCAN, {"_id": 1, "id": 1}):
            counted += len(page)
        return counted

    async def groups(self, paths: Sequence[str]) -> Counter[tuple[Any, ...]]:
        """Count by the values at ``paths``, exactly, provided that nothing is committed meanwhile."""
        names = [f"v{number}" for number in range(len(paths))]
        grouping = {name: f"${path}" for name, path in zip(names, paths, strict=True)}
        counted: Counter[tuple[Any, ...]] = Counter()
        for group in await self._records.aggregate(
            [
                {"$match": self._named(self._current, "_id")},
                {"$group": {"_id": grouping, "count": {"$sum": 1}}},
            ]
        ):
            counted[tuple(group["_id"].get(name) for name in names)] += group["count"]
        wanted = {"id": 1, **dict.fromkeys(paths, 1)}
        async for batch in self._history.batches(self._named(self._past, "id"), wanted, size=_SCAN):
            both = {**self._current, "_id": {"$in": [document["id"] for document in batch]}}
            current = {document["_id"] for document in await self._records.find(both, {"_id": 1})}
            counted.update(_values(paths, document) for document in batch if document["id"] not in current)
        return counted

    async def groups_by_page(self, paths: Sequence[str]) -> Counter[tuple[Any, ...]]:
        """Count by the values at ``paths``, exactly, whatever is committed meanwhile; reads every record."""
        counted: Counter[tuple[Any, ...]] = Counter()
        async for page in self.pages(_SCAN, {"_id": 1, "id": 1, **dict.fromkeys(paths, 1)}):
            counted.update(_values(paths, document) for document in page)
        return counted

    async def pages(self, size: int, projection: Mapping[str, Any]) -> AsyncIterator[list[Document]]:
        """Yield all matching documents in pages of ``size``."""
        after_id = ""
        while True:
            page = await self.page(after_id, size, projection)
            if page:
                yield page
            if len(page) < size:
                return
            after_id = id_of(page[-1])


def _index_of(matching: Query, order: Sequence[tuple[str, int]]) -> str:
    """Return the index of ``records`` that a page in this order is to be read by.

    Left alone, MongoDB would for the pages of an old seq sort what has not changed since, or for a pupil's
    marks until some day those of everybody.
    """
    if "keys" in matching:
        return "keys"
    clauses = [item for clause in matching.get("$and", ()) for item in clause.items()]
    for field, index in (("body.student_id", "of_student"), ("body.group_id", "of_group"), ("from", BY_DAY)):
        if any(name == field and condition.keys() & {"$eq", "$in"} for name, condition in clauses):
            return index
    goes_by_day = matching["kind"] in _GROWING or (order and order[0][0] == "from")
    return BY_DAY if goes_by_day else OF_KIND


def _merged(current: list[Document], past: list[Document]) -> dict[str, Document]:
    """Return the documents by the ids of their records, one of each."""
    merged = {document["_id"]: document for document in current}
    for document in past:
        merged.setdefault(document["id"], document)
    return merged


def _values(paths: Sequence[str], document: Document) -> tuple[Any, ...]:
    return tuple(value_at(path, document) for path in paths)
