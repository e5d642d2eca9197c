"""Places in an order of records: what stands behind one, as a condition.

``name`` is where documents have the record's id: ``_id`` in ``records``, ``id`` in ``history``. A record
without a value stands before all that have one. A path is ``from``, a record's first day, or of its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING

from schoolgate_server.store.handles import Document

_BEYOND = {ASCENDING: "$gt", DESCENDING: "$lt"}


def id_of(document: Document) -> str:
    """Return the record's id of a document of either collection."""
    return str(document.get("id") or document["_id"])


def value_at(path: str, document: Document) -> Any:  # noqa: ANN401 -- whatever stands there
    """Return what stands at ``path`` of ``document``, ``None`` for nothing."""
    head, _, field = path.partition(".")
    return document.get(head, {}).get(field) if field else document.get(head)


def place_at(path: str, document: Document) -> tuple[bool, Any]:
    """Return what ``document`` is to be sorted by where ``path`` orders."""
    value = value_at(path, document)
    return value is not None, value


def between(direction: int, after: Document | None, last: Document | None, name: str) -> list[Document]:
    """Return the conditions, in order of the days, that tell what stands behind ``after``, up to ``last``.

    Each is one range of an index that goes by day and id. Days are told by their text, for what exists might
    be ``null`` to MongoDB, where those without one are.
    """
    ascending = direction == ASCENDING
    low, high = (after, last) if ascending else (last, after)
    above, below = ("$gt", "$lte") if ascending else ("$gte", "$lt")
    if low is not None and high is not None and low.get("from") == high.get("from"):
        return [{**_of_the_day_of(low), name: {above: id_of(low), below: id_of(high)}}]
    ranges: list[Document] = []
    if low is not None:
        ranges.append({**_of_the_day_of(low), name: {above: id_of(low)}})
        until = {} if high is None else {"$lt": high["from"]}
        ranges.append({"from": {"$gt": low.get("from", ""), **until}})
    elif high is None:
        ranges.append({})
    elif "from" in high:
        ranges.append({"from": {"$not": {"$gte": high["from"]}}})
    if high is not None:
        ranges.append({**_of_the_day_of(high), name: {below: id_of(high)}})
    return ranges if ascending else ranges[::-1]


def later(order: Sequence[tuple[str, int]], after: Document, name: str) -> Document:
    """Return the condition of standing behind ``after`` in ``order``, of paths with MongoDB's direction."""
    after_id = id_of(after)
    alike: Document = {}
    found: list[Document] = []
    for path, direction in order:
        value = value_at(path, after)
        if value is None:
            if direction == ASCENDING:
                found.append({**alike, path: {"$exists": True}})
            alike[path] = {"$exists": False}
            continue
        found.append({**alike, path: {_BEYOND[direction]: value}})
        if direction == DESCENDING:
            found.append({**alike, path: {"$exists": False}})
        alike[path] = {"$eq": value}
    found.append({**alike, name: {_BEYOND[order[-1][1]]: after_id}})
    path, direction = order[0]
    if path != "from" or path not in after:
        return {"$or": found}
    # Implied by the above: an index begins to be read here, and not where the first page began.
    day = after[path]
    begins: Document = {"$gte": day} if direction == ASCENDING else {"$not": {"$gt": day}}
    if len(order) > 1:
        return {"$or": found, path: begins}
    # The same without alternatives, which MongoDB might read each by an index of its own, and then sort.
    passed = "$lte" if direction == ASCENDING else "$gte"
    return {path: begins, "$nor": [{path: {"$eq": day}, name: {passed: after_id}}]}


def _of_the_day_of(document: Document) -> Document:
    """Return the condition of having the same first day as ``document``, or none like it."""
    return {"from": {"$eq": document["from"]} if "from" in document else {"$exists": False}}
