"""The audit: what people decided, with their reasons."""

from __future__ import annotations

from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.store.handles import Collection
from schoolgate_server.store.requests import reused


class Audit:
    """The ``audit`` collection: entries are added and never changed."""

    def __init__(self, audit: Collection) -> None:
        self._audit = audit

    async def repeated(self, school_id: str, request_id: str, digest: bytes) -> bytes | None:
        """Return the result of an earlier request with this id, ``None`` where there was none.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that request was a different one.
        """
        found = await self._audit.find_one({"_id": f"{school_id}:{request_id}", "school": school_id})
        if found is None:
            return None
        if found["digest"] != digest:
            raise reused()
        result: bytes = found["result"]
        return result

    async def record(self, entry: AuditEntry) -> None:
        """Add ``entry``, once per request."""
        document = {
            "_id": f"{entry.school_id}:{entry.request_id}",
            "school": entry.school_id,
            "digest": entry.digest,
            "action": entry.action,
            "subject": entry.subject,
            "by": entry.by,
            "at": entry.at,
            "comment": entry.comment,
            "result": entry.result,
        }
        await self._audit.insert_one(document)
