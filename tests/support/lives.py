"""What became of every record of a school, version by version, to compare with an undisturbed twin."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from schoolgate_server.store.documents import body_wire
from schoolgate_server.store.store import Store

Document = dict[str, Any]


class State(NamedTuple):
    """One version; what only says when and by which run it came is left out."""

    version: int
    kind: str
    keys: tuple[str, ...]
    cause: str
    left: str
    wire: bytes


async def lives(store: Store, school_id: str) -> dict[str, list[State]]:
    """Return the states of every record by id, oldest first, after having looked for gaps and doubles.

    A record has one state per version, from 1 on without a gap; each begins with a published commit, and
    where it ends the next one begins. A commit that was undone may leave copies of current versions behind;
    they must be what they copy.
    """
    published = (await store.leases.head(school_id)).published
    records = await store.database.collection("records").find({"school": school_id})
    history = await store.database.collection("history").find({"school": school_id})
    return lives_of(records, history, published)


def lives_of(records: list[Document], history: list[Document], published: int) -> dict[str, list[State]]:
    """Return what :func:`lives` does, of documents."""
    found: dict[str, list[Document]] = {record["_id"]: [] for record in records}
    current = {record["_id"]: record for record in records}
    for copy in history:
        now = current[copy["id"]]
        assert copy["version"] <= now["version"], f"{copy['_id']} is newer than its record"
        if copy["version"] < now["version"]:
            found[copy["id"]].append(copy)
        else:
            assert _state(copy) == _state(now), f"{copy['_id']} was left behind and is not what it copies"
    return {
        record_id: _in_order(record_id, [*superseded, current[record_id]], published)
        for record_id, superseded in found.items()
    }


def _in_order(record_id: str, versions: list[Document], published: int) -> list[State]:
    versions.sort(key=lambda document: int(document["version"]))
    assert [document["version"] for document in versions] == list(range(1, len(versions) + 1)), record_id
    assert 1 <= versions[0]["seq"] <= versions[-1]["seq"] <= published, record_id
    for earlier, later in pairwise(versions):
        assert earlier["until"] == later["seq"] > earlier["seq"], (record_id, later["version"])
    return [_state(document) for document in versions]


def _state(document: Document) -> State:
    tombstone = document.get("tombstone") or {"reason": ""}
    return State(
        document["version"],
        document["kind"],
        tuple(document["keys"]),
        document["cause"],
        tombstone["reason"],
        body_wire(document),
    )
