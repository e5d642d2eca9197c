"""Positions up to which a school's datasets have been read for changes."""

from __future__ import annotations

from dataclasses import dataclass

from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.leases import Lease, Leases, lost


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the next read of changes of one dataset goes on from.

    ``cursor`` is the connector's. ``fingerprint`` is that of the scope under which it was given: what changed
    outside of that scope, nobody has asked for.
    """

    cursor: str
    fingerprint: str


class Checkpoints:
    """Checkpoints in the ``heads`` collection; only the holder of a school's lease stores one."""

    def __init__(self, heads: Collection, leases: Leases) -> None:
        self._heads = heads
        self._leases = leases

    async def get(self, school_id: str, dataset: str) -> Checkpoint | None:
        """Return the dataset's checkpoint, ``None`` where there is none."""
        for kept in await self._all(school_id):
            if kept["dataset"] == dataset:
                return Checkpoint(kept["cursor"], kept["fingerprint"])
        return None

    async def put(self, lease: Lease, dataset: str, checkpoint: Checkpoint) -> None:
        """Store the dataset's checkpoint in place of an earlier one.

        Raises:
            LeaseLost: the school has another owner by now, or may have.
        """
        others = [kept for kept in await self._all(lease.school_id) if kept["dataset"] != dataset]
        # Dataset names come from connectors, so they are values and not field names.
        document = {
            "dataset": dataset,
            "cursor": checkpoint.cursor,
            "fingerprint": checkpoint.fingerprint,
        }
        with self._leases.holding(lease):
            stored = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch},
                {"$set": {"checkpoints": [*others, document]}},
            )
        if not stored:
            raise lost(lease)

    async def _all(self, school_id: str) -> list[Document]:
        head = await self._heads.find_one({"_id": school_id}, {"checkpoints": 1})
        found: list[Document] = [] if head is None else head.get("checkpoints", [])
        return found
