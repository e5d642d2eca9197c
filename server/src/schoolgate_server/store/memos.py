"""What the rows of retained segments were read as, sealed, beside the segments."""

from __future__ import annotations

from collections.abc import Collection as Container

from schoolgate_server.store.handles import Collection, Document


class Memos:
    """The ``memos`` collection: at most one for each retained segment, named by the segment's digest.

    A memo is no more than what anybody works out again from the segment, so nothing fences it: who replaces
    or removes one late costs time and nothing else. ``binding`` names everything but the rows that it depends
    on; under another binding it is no memo.
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

    async def put(self, school_id: str, dataset: str, digest: bytes, binding: bytes, payload: bytes) -> None:
        """Keep ``payload``, of 15 MiB at most, in place of the segment's earlier memo."""
        memo_id = _memo_id(school_id, dataset, digest)
        document: Document = {
            "_id": memo_id,
            "school": school_id,
            "dataset": dataset,
            "digest": digest,
            "binding": binding,
            "payload": payload,
        }
        await self._memos.replace_one({"_id": memo_id, "school": school_id}, document, upsert=True)

    async def prune(self, school_id: str, dataset: str, keep: Container[bytes] = ()) -> None:
        """Forget the memos of ``dataset`` but those of the segments in ``keep``."""
        await self._memos.delete_many(
            {"school": school_id, "dataset": dataset, "digest": {"$nin": sorted(keep)}}
        )


def _memo_id(school_id: str, dataset: str, digest: bytes) -> str:
    return f"{school_id}:{dataset}:{digest.hex()}"
