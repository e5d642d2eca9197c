"""Holds: at most one open change set per dataset waits for an operator."""

from __future__ import annotations

from datetime import UTC

from schoolgate.v1.sync_service_pb2 import Hold
from schoolgate_server.store.handles import Collection


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

    async def list(self, school_id: str) -> list[Hold]:
        """Return the open holds, newest first."""
        found = await self._holds.find({"school": school_id}, sort=[("created_at", -1), ("_id", -1)])
        return [Hold.FromString(document["wire"]) for document in found]
