"""Everything that a store holds, as plain documents, to compare before and after."""

from __future__ import annotations

from typing import Any

from schoolgate_server.store.indexes import INDEXES
from schoolgate_server.store.store import Store


async def documents(store: Store) -> dict[str, dict[str, dict[str, Any]]]:
    """Return every document of every collection, by collection and id."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in sorted({*INDEXES, "heads", "schools", "raw_pages"}):
        rows = await store.database.collection(name).find({})
        found[name] = {str(row["_id"]): row for row in rows}
    return found
