"""The audit: what people decided, with their reasons."""

from __future__ import annotations

from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.requests import reused


class Audit:
    """The ``audit`` collection: entries are added. An intent gets its result, or is noted as refused.

    Nothing else changes, but who takes a refused one anew, and when.
    """

    def __init__(self, audit: Collection) -> None:
        self._audit = audit

    async def find(self, school_id: str, request_id: str, digest: bytes) -> AuditEntry | None:
        """Return what an earlier request with this id decided, ``None`` where there was none.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that request was a different one.
        """
        found = await self._audit.find_one(_one(school_id, request_id))
        if found is None:
            return None
        if found["digest"] != digest:
            raise reused()
        return AuditEntry(
            school_id,
            request_id,
            digest,
            found["action"],
            found["subject"],
            found["by"],
            found["at"],
            found["comment"],
            found["result"],
            found.get("basis", ""),
            found.get("refused", False),
        )

    async def repeated(self, school_id: str, request_id: str, digest: bytes) -> bytes | None:
        """Return the result of an earlier request with this id, ``None`` where there is none, or none yet.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that request was a different one.
        """
        found = await self.find(school_id, request_id, digest)
        return None if found is None else found.result

    async def record(self, entry: AuditEntry) -> bool:
        """Add ``entry``, once per request; false where there is one."""
        document: Document = {
            **_one(entry.school_id, entry.request_id),
            "digest": entry.digest,
            "action": entry.action,
            "subject": entry.subject,
            "by": entry.by,
            "at": entry.at,
            "comment": entry.comment,
            "result": entry.result,
        }
        if entry.result is None:
            document |= {"basis": entry.basis, "refused": entry.refused}
        return await self._audit.insert_one(document)

    async def intend(self, entry: AuditEntry) -> AuditEntry | None:
        """Add an intent, before anything is done about it; return what there is of this request already.

        One that was refused is taken anew.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that request was a different one.
        """
        if await self.record(entry):
            return None
        there = await self.find(entry.school_id, entry.request_id, entry.digest)
        if there is None:
            raise StoreUnavailable(f"request {entry.request_id} is being stored, and not confirmed")
        if not there.refused:
            return there
        anew = {"refused": False, "by": entry.by, "at": entry.at, "basis": entry.basis}
        query = _one(entry.school_id, entry.request_id)
        if await self._audit.update_one({**query, "refused": True}, {"$set": anew}):
            return None
        return await self.find(entry.school_id, entry.request_id, entry.digest)

    async def close(self, school_id: str, request_id: str, result: bytes) -> None:
        """Note what came of an intent; the first result lasts."""
        change = {"$set": {"result": result, "refused": False}}
        await self._audit.update_one({**_one(school_id, request_id), "result": None}, change)

    async def refuse(self, school_id: str, request_id: str) -> None:
        """Note that an intent was refused, and that nothing came of it."""
        query = {**_one(school_id, request_id), "result": None}
        await self._audit.update_one(query, {"$set": {"refused": True}})


def _one(school_id: str, request_id: str) -> Document:
    return {"_id": f"{school_id}:{request_id}", "school": school_id}
