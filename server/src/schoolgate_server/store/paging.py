"""Pages of what is listed newest first."""

from __future__ import annotations

from schoolgate_server.store.handles import Collection, Document


async def before_of(collection: Collection, school_id: str, document_id: str, field: str) -> Document | None:
    """Return the filter of what comes after ``document_id`` in descending order of ``field`` and ``_id``.

    ``None`` where the school has no such document.
    """
    found = await collection.find_one({"_id": document_id, "school": school_id}, {field: 1})
    if found is None:
        return None
    return {
        "$or": [{field: {"$lt": found[field]}}, {field: found[field], "_id": {"$lt": document_id}}],
    }
