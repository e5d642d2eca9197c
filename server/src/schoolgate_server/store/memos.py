"""What the rows of retained segments were read as, sealed, beside the segments."""

from __future__ import annotations

from collections.abc import Collection as Container

from schoolgate_server.store.epochs import not_later, replace_not_later
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.leases import Lease


class Memos:
    """The ``memos`` collection: at most one for each retained segment, named by the segment's digest.

    ``binding`` names everything but the rows that a memo depends on; under another one it is none. As with
    the segments, no owner of a school replaces or removes what a later one wrote, however late its operation
    arrives (G15), though nothing but time would be lost.
    """

    def __init__(self, memos: Collection) -> None:
        self._memos = memos

    async def get(self, school_id: str, dataset: str, digest: bytes, binding: bytes) -> bytes | None:
        """Return the payload that was kept under ``binding``, ``None`` where there is none."""
        query: Document = {
            "_id": _memo_id(school_id, dataset, digest),
            "school": school_id,
            "binding": binding,
        }
        kept = await self._memos.find_one(query, {"payload": 1})
        return None if kept is None else bytes(kept["payload"])

    async def put(self, lease: Lease, dataset: str, digest: bytes, binding: bytes, payload: bytes) -> None:
        """Keep ``payload``, of 15 MiB at most, in place of the segment's earlier memo.

        Raises:
            LeaseLost: a later owner of the school has kept one.
        """
        document: Document = {
            "_id": _memo_id(lease.school_id, dataset, digest),
            "dataset": dataset,
            "digest": digest,
            "binding": binding,
            "payload": payload,
        }
        await replace_not_later(self._memos, lease, document)

    async def prune(self, lease: Lease, dataset: str, keep: Container[bytes] = ()) -> None:
        """Forget the memos of ``dataset`` but those of the segments in ``keep``, and a later owner's."""
        await self._memos.delete_many(
            {**not_later(lease), "dataset": dataset, "digest": {"$nin": sorted(keep)}}
        )


def _memo_id(school_id: str, dataset: str, digest: bytes) -> str:
    return f"{school_id}:{dataset}:{digest.hex()}"
