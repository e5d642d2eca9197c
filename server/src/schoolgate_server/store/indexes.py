"""Every index, with the question that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.questions import GROWING

STATES = "states"
"""Name of the index that alone answers ``states()``."""

BY_ID = "_id_"
"""Name of the index that every collection has, for whoever asks for many records of a school by their ids.

Left to itself, MongoDB may go by ``feed`` for them: it soon finds those that it tries a plan with where they
were written by one commit, and then looks for every id under each seq that the school has.
"""


BY_DAY = "by_day"
"""Name of the index that has the records of a kind in order of their first day, those without one before."""

OF_KIND = "of_kind"
"""Name of the index that has the records of a kind in order of their ids, of :data:`SMALL_KINDS` only."""

SMALL_KINDS = sorted(info.name for kind, info in KINDS.items() if kind not in GROWING)
"""Kinds of which a school has some thousands of records. Another list needs another name for the index."""


def _index(
    name: str, *fields: str, unique: bool = False, only: str | None = None, kinds: Sequence[str] = ()
) -> IndexModel:
    """Return an index over ``fields`` ("-": descending); of what is of ``kinds``, or has ``only``."""
    keys = [(field.lstrip("-"), DESCENDING if field.startswith("-") else ASCENDING) for field in fields]
    of: dict[str, Any] = {} if only is None else {only: {"$exists": True}}
    if kinds:
        of["kind"] = {"$in": list(kinds)}
    return IndexModel(keys, name=name, unique=unique, **({"partialFilterExpression": of} if of else {}))


INDEXES: dict[str, list[IndexModel]] = {
    "records": [
        _index(STATES, "school", "dataset", "from", "_id", "hash", "version", "live"),
        # Page by page. What ever grows goes by its days, in which it comes and is asked for: two indexes of
        # millions of ids, each written to all over, were what made a first load of a large school slow.
        _index(BY_DAY, "school", "kind", "from", "_id"),
        _index(OF_KIND, "school", "kind", "_id", kinds=SMALL_KINDS),
        # A pupil's marks, a group's members: a part of the records of a kind that ever grows.
        _index("of_student", "school", "kind", "body.student_id", "_id", only="body.student_id"),
        _index("of_group", "school", "kind", "body.group_id", "_id", only="body.group_id"),
        _index("keys", "school", "kind", "keys"),
        # The change feed, in its order; the count of what a commit wrote.
        _index("feed", "school", "seq", "_id"),
        _index("merged", "school", "tombstone.merged_into", only="tombstone.merged_into"),
    ],
    "history": [
        # As of the latest seq: nothing is newer, so this one ends at once.
        _index("superseded", "school", "kind", "until", "id"),
        # As of an older seq, page by page: in order of the id or the day, so that what was superseded since
        # need not be sorted, and with the end, so that other versions need not be fetched. One record's
        # versions.
        _index("ends", "school", "id", "version", "until"),
        _index(BY_DAY, "school", "kind", "from", "id", "until"),
        _index("of_student", "school", "kind", "body.student_id", "id", only="body.student_id"),
        _index("of_group", "school", "kind", "body.group_id", "id", only="body.group_id"),
    ],
    "commits": [_index("times", "school", "-at", "-seq")],
    "fences": [_index("school", "school")],
    "runs": [
        _index("newest", "school", "-created_at", "-_id"),
        _index("requests", "school", "request_id", unique=True, only="request_id"),
        # The slot of a run that has not ended: one run at a time, whichever servers two are asked of, and one
        # that collects notifications beside it.
        IndexModel([("unfinished", ASCENDING)], name="unfinished", unique=True, sparse=True),
        _index("sealed", "school", "sealed", "-created_at"),
        _index("scheduled", "school", "scheduled", "-created_at", only="scheduled"),
    ],
    "notices": [_index("ages", "school", "at")],
    "decisions": [
        _index("newest", "school", "-first_seen_at", "-_id"),
        _index("datasets", "school", "dataset", "-first_seen_at", "-_id"),
    ],
    "schools": [
        _index("requests", "requests.id"),
        IndexModel([("body.schedules.layer", ASCENDING)], name="scheduled", sparse=True),
    ],
    "holds": [_index("newest", "school", "-created_at", "-_id")],
    "writes": [
        # Pages of the ledger, newest first: all, those in some states, a pupil's, those behind a record or an
        # id of the MIS. Most writes have one record and one id, and only once they have taken effect.
        _index("newest", "school", "-submitted_at", "-_id"),
        _index("states", "school", "state", "-submitted_at", "-_id"),
        _index("student", "school", "student", "-submitted_at", "-_id", only="student"),
        _index("records", "school", "records", "-submitted_at", "-_id", only="records"),
        _index("mis_ids", "school", "mis_ids", "-submitted_at", "-_id", only="mis_ids"),
        # Which write a row of the MIS comes from, before there is a record.
        _index("keys", "school", "keys", only="keys"),
        # What is to be done next, of all schools: nearly all writes have come to their end and are not in it.
        _index("due", "environment", "school", "due_at", only="due_at"),
        # Whose turn it is among writes about the same, and which position is next.
        _index("slots", "school", "slot", "open", "position", "_id"),
        # What is queued or under way, counted without reading it; "open" is in it, for to know that a filter
        # is met MongoDB would read the document.
        IndexModel(
            [(field, ASCENDING) for field in ("school", "environment", "open", "operation", "state", "_id")],
            name="open",
            partialFilterExpression={"open": True},
        ),
        # Whoever watches; the quota of a day.
        _index("changed", "school", "updated_at", "_id"),
        _index("accepted", "school", "environment", "operation", "submitted_at"),
    ],
    "mis_plans": [_index("pieces", "school", "plan", "kind", "n")],
    "proposals": [_index("open", "school", "state", "-created_at", "-_id")],
    "audit": [_index("newest", "school", "-at", "-_id")],
    "identities": [_index("records", "school", "record")],
    "raw_pages": [_index("school", "school", "dataset", "digest", "n")],
    "memos": [_index("school", "school", "dataset", "digest")],
    # MongoDB's own advice for key vaults: two creators of one name must not end with two keys.
    "__keyVault": [_index("names", "keyAltNames", unique=True, only="keyAltNames")],
}
