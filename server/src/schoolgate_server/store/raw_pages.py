"""Source rows as they were read, retained under their digest so that parsers can run over them again."""

from __future__ import annotations

from collections.abc import Collection as Container

from pymongo.operations import ReplaceOne

from schoolgate_server.store.errors import RawPageMissing
from schoolgate_server.store.handles import Collection, Document

_PIECE = 8 * 1024 * 1024
"""Bytes per document; MongoDB allows 16 MB."""


class RawPages:
    """The ``raw_pages`` collection: a payload is cut into pieces, and is there once its last piece is."""

    def __init__(self, pages: Collection) -> None:
        self._pages = pages

    async def has(self, school_id: str, dataset: str, digest: bytes) -> bool:
        """Whether a payload is kept, to its last piece."""
        query: Document = {"school": school_id, "dataset": dataset, "digest": digest, "last": True}
        return await self._pages.find_one(query, {"_id": 1}) is not None

    async def put(self, school_id: str, dataset: str, digest: bytes, payload: bytes) -> None:
        """Keep ``payload``; what is kept already costs no write."""
        pieces = [payload[start : start + _PIECE] for start in range(0, len(payload), _PIECE)] or [b""]
        last = len(pieces) - 1
        ids = [f"{school_id}:{dataset}:{digest.hex()}:{number}" for number in range(len(pieces))]
        if await self._pages.find_one({"_id": ids[last], "school": school_id}, {"_id": 1}):
            return
        for number, piece in enumerate(pieces):
            document: Document = {
                "_id": ids[number],
                "school": school_id,
                "dataset": dataset,
                "digest": digest,
                "n": number,
                "last": number == last,
                "payload": piece,
            }
            await self._pages.bulk(
                [ReplaceOne({"_id": ids[number], "school": school_id}, document, upsert=True)]
            )

    async def get(self, school_id: str, dataset: str, digest: bytes) -> bytes:
        """Return a payload.

        Raises:
            RawPageMissing: it is not kept.
        """
        pieces = await self._pages.find(
            {"school": school_id, "dataset": dataset, "digest": digest}, sort=[("n", 1)]
        )
        complete = bool(pieces) and pieces[-1]["last"] and pieces[-1]["n"] == len(pieces) - 1
        if not complete:
            raise RawPageMissing(f"rows {digest.hex()} of {dataset} of school {school_id} are not kept")
        return b"".join(piece["payload"] for piece in pieces)

    async def prune(self, school_id: str, dataset: str, keep: Container[bytes]) -> None:
        """Forget all payloads of ``dataset`` but those whose digest is in ``keep``."""
        unwanted: Document = {"school": school_id, "dataset": dataset, "digest": {"$nin": sorted(keep)}}
        # The last piece goes first: what a crash leaves then is not taken for a whole payload.
        await self._pages.delete_many({**unwanted, "last": True})
        await self._pages.delete_many(unwanted)
