"""Holds: at most one open change set per dataset waits for an operator."""

from __future__ import annotations

from datetime import UTC, datetime

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.sync_service_pb2 import Hold
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.handles import Collection, Document


class Holds:
    """The ``holds`` collection."""

    def __init__(self, holds: Collection) -> None:
        self._holds = holds

    async def replace(self, school_id: str, dataset: str, hold: Hold | None) -> None:
        """Make ``hold`` the open hold of ``dataset``, in place of an earlier one; ``None`` leaves none open.

        A hold over the very change set that is open already keeps the earlier one, with its id and time.
        """
        slot = f"{school_id}:{dataset}"
        if hold is None:
            await self._holds.delete_many({"_id": slot, "school": school_id})
            return
        standing = await self._holds.find_one({"_id": slot, "school": school_id}, {"digest": 1})
        if standing is not None and standing["digest"] == hold.digest:
            return
        document = {
            "_id": slot,
            "school": school_id,
            "dataset": dataset,
            "hold": hold.hold_id,
            "digest": hold.digest,
            "created_at": hold.created_at.ToDatetime(tzinfo=UTC),
            "wire": hold.SerializeToString(),
        }
        await self._holds.replace_one({"_id": slot, "school": school_id}, document, upsert=True)

    async def is_approved(self, school_id: str, dataset: str, digest: str) -> bool:
        """Whether the open hold of ``dataset`` is over exactly this change set and was approved."""
        query: Document = {
            "_id": f"{school_id}:{dataset}",
            "school": school_id,
            "digest": digest,
            "approved": True,
        }
        return await self._holds.find_one(query, {"_id": 1}) is not None

    async def begin(self, school_id: str, dataset: str, digest: str, marks: bytes) -> None:
        """Take note that the approved change set of ``digest`` is being applied from now on.

        ``marks`` tell its changes apart; whoever goes on after a crash, which left some of them applied,
        recognises the rest by them. Nothing happens where no such change set is approved.
        """
        query: Document = {
            "_id": f"{school_id}:{dataset}",
            "school": school_id,
            "digest": digest,
            "approved": True,
        }
        await self._holds.update_one(query, {"$set": {"marks": marks}})

    async def begun(self, school_id: str, dataset: str) -> bytes:
        """Return the marks of the approved change set whose application was begun; empty without one."""
        query: Document = {"_id": f"{school_id}:{dataset}", "school": school_id, "approved": True}
        found = await self._holds.find_one(query, {"marks": 1})
        return bytes(found.get("marks", b"")) if found is not None else b""

    async def get(self, school_id: str, hold_id: str) -> Hold:
        """Return an open hold.

        Raises:
            ServiceError: HOLD_NOT_FOUND.
        """
        found = await self._holds.find_one({"school": school_id, "hold": hold_id})
        if found is None:
            raise _not_found(school_id, hold_id)
        return Hold.FromString(found["wire"])

    async def approve(self, school_id: str, hold_id: str, digest: str, by: str, at: datetime) -> Hold:
        """Let the next run apply the change set of ``digest``; repeated, it changes nothing.

        Raises:
            ServiceError: HOLD_NOT_FOUND; HOLD_DIGEST_MISMATCH.
        """
        hold = await self._of_digest(school_id, hold_id, digest)
        if not hold.HasField("approved_at"):
            hold.approved_at.FromDatetime(at)
            hold.approved_by = by
            approval = {"$set": {"approved": True, "wire": hold.SerializeToString()}}
            query: Document = {"school": school_id, "hold": hold_id, "digest": digest}
            if not await self._holds.update_one(query, approval):
                raise _not_found(school_id, hold_id)
        return hold

    async def discard(self, school_id: str, hold_id: str, digest: str) -> Hold:
        """Forget the change set of ``digest``; the next run decides anew.

        Raises:
            ServiceError: HOLD_NOT_FOUND; HOLD_DIGEST_MISMATCH.
        """
        hold = await self._of_digest(school_id, hold_id, digest)
        await self._holds.delete_many({"school": school_id, "hold": hold_id, "digest": digest})
        return hold

    async def _of_digest(self, school_id: str, hold_id: str, digest: str) -> Hold:
        hold = await self.get(school_id, hold_id)
        if hold.digest != digest:
            raise ServiceError(
                reasons.ERROR_REASON_HOLD_DIGEST_MISMATCH,
                f"hold {hold_id!r} is over another change set than the one named; look at it again",
                metadata={"school_id": school_id, "hold_id": hold_id},
            )
        return hold

    async def list(self, school_id: str) -> list[Hold]:
        """Return the open holds, newest first."""
        found = await self._holds.find({"school": school_id}, sort=[("created_at", -1), ("_id", -1)])
        return [Hold.FromString(document["wire"]) for document in found]


def _not_found(school_id: str, hold_id: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_HOLD_NOT_FOUND,
        f"school {school_id!r} has no open hold {hold_id!r}",
        metadata={"school_id": school_id, "hold_id": hold_id},
    )
