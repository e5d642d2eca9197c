"""Reads as of a seq: what the school's copy was at one instant, whatever is being committed meanwhile.

A version is the one of seq S if it was committed at or before S and superseded after S. Current versions
stand in ``records``, superseded ones in ``history``. ``records`` is read first: a commit copies a version
into ``history`` before it replaces it, so what has gone from the one is found in the other by then. A version
that is found in both counts once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.questions import Condition, Question
from schoolgate_server.store.handles import Collection, Document, Query

_OPERATORS: Mapping[q.FilterOperator.ValueType, str] = {
    q.FILTER_OPERATOR_EQUAL: "$eq",
    q.FILTER_OPERATOR_GREATER_OR_EQUAL: "$gte",
    q.FILTER_OPERATOR_LESS: "$lt",
}
_SCAN = 10_000


def filter_of(school_id: str, kind: Kind.ValueType, question: Question) -> Document:
    """Return the MongoDB filter of ``question``, without its instant.

    Values stand under explicit operators, so none of them can be taken for one.
    """
    clauses: list[Document] = [_condition(condition) for condition in question.conditions]
    if not question.include_tombstones:
        clauses.append({"live": True})
    if question.effective_on is not None:
        clauses += _effective(kind, question.effective_on)
    found: Document = {"school": school_id, "kind": KINDS[kind].name}
    if clauses:
        found["$and"] = clauses
    return found


def _condition(condition: Condition) -> Document:
    name = f"body.{condition.field}"
    if condition.operator == q.FILTER_OPERATOR_PRESENT:
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
    """``records`` and ``history`` of one school as of one seq, under one filter."""

    def __init__(self, records: Collection, history: Collection, matching: Query, seq: int) -> None:
        self._records = records
        self._history = history
        self._current: Query = {**matching, "seq": {"$lte": seq}}
        self._past: Query = {**matching, "seq": {"$lte": seq}, "until": {"$gt": seq}}

    async def page(self, after_id: str, limit: int, projection: Mapping[str, Any]) -> list[Document]:
        """Return up to ``limit`` documents in order of their record id, those after ``after_id``.

        Fewer than ``limit`` mean that there are no more.
        """
        current = await self._records.find(
            {**self._current, "_id": {"$gt": after_id}}, projection, sort=[("_id", 1)], limit=limit
        )
        beyond: Document = {"$gt": after_id}
        if len(current) == limit:
            beyond["$lte"] = current[-1]["_id"]
        past = await self._history.find(
            {**self._past, "id": beyond}, projection, sort=[("id", 1)], limit=limit
        )
        if not past:
            return current
        merged = {document["_id"]: document for document in current}
        for document in past:
            merged.setdefault(document["id"], document)
        # Where `past` was cut short, the union may lack superseded versions beyond its last id. There are
        # `limit` ids up to there, so cutting at `limit` leaves none of the doubtful ones.
        return [merged[record_id] for record_id in sorted(merged)[:limit]]

    async def count(self) -> int:
        """Return the exact number of matching records, provided that nothing is committed meanwhile."""
        current = await self._records.count(self._current)
        doubled = 0
        past = 0
        async for batch in self._history.batches(self._past, {"id": 1}, size=_SCAN):
            past += len(batch)
            doubled += await self._records.count(
                {**self._current, "_id": {"$in": [document["id"] for document in batch]}}
            )
        return current + past - doubled

    async def count_by_page(self) -> int:
        """Return the exact number of matching records, whatever is committed meanwhile; reads every id."""
        counted = 0
        async for page in self.pages(_SCAN, {"_id": 1, "id": 1}):
            counted += len(page)
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
            last = page[-1]
            after_id = last.get("id") or last["_id"]
