"""Everything that a store holds, as plain documents, to compare before and after."""

from __future__ import annotations

from typing import Any, TypeAlias

from schoolgate_server.store.indexes import INDEXES
from schoolgate_server.store.store import Store

Documents: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""Documents by collection and id."""


async def documents(store: Store) -> Documents:
    """Return every document of every collection."""
    found: Documents = {}
    for name in sorted({*INDEXES, "heads", "schools", "raw_pages"}):
        rows = await store.database.collection(name).find({})
        found[name] = {str(row["_id"]): row for row in rows}
    return found


def take_retained(everything: Documents) -> Documents:
    """Take what is retained out of ``everything``; return the rows that the latest run names and their memos.

    Where that run has read every dataset as a whole, and no other is unfinished, nobody will read others. An
    owner that stalled and wakes up may yet add some, or prune what it had decided to: rows first, then memos.
    """
    latest = max(everything["runs"].values(), key=lambda run: run["created_at"])
    named = {segment["digest"] for part in latest["manifest"] for segment in part["segments"]}
    return {
        part: {at: kept for at, kept in everything.pop(part).items() if kept["digest"] in named}
        for part in ("raw_pages", "memos")
    }
