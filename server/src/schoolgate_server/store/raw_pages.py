"""Source rows as they were read, retained under their digest so that parsers can run over them again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection as Container
from collections.abc import Sequence

from schoolgate_server.store.epochs import not_later, replace_not_later
from schoolgate_server.store.errors import RawPageMissing
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.leases import Lease

_PIECE = 8 * 1024 * 1024
"""Bytes per document; MongoDB allows 16 MB."""

_WITHOUT_PAYLOAD: Document = {"payload": 0}


class RawPages:
    """The ``raw_pages`` collection: a payload is cut into pieces, and is there once all of one writing are.

    What is written carries the epoch of its owner, and no owner replaces or removes what a later one wrote,
    however late its operation arrives: the condition is part of the operation. So a stalled owner takes
    nothing away, provided that whoever owns a school writes again what it needs and earlier owners need not
    keep (G15).
    """

    def __init__(self, pages: Collection) -> None:
        self._pages = pages

    async def has(self, school_id: str, dataset: str, digest: bytes) -> bool:
        """Whether a payload is kept, with all of its pieces."""
        return _is_whole(await self._pieces(school_id, dataset, digest, _WITHOUT_PAYLOAD))

    async def put(self, lease: Lease, dataset: str, digest: bytes, payload: bytes) -> None:
        """Keep ``payload``; what this owner has kept already costs no write.

        Raises:
            LeaseLost: a later owner of the school has kept it.
        """
        school_id, epoch = lease.school_id, lease.epoch
        kept = await self._pieces(school_id, dataset, digest, _WITHOUT_PAYLOAD)
        if _is_whole(kept) and all(piece["epoch"] == epoch for piece in kept):
            return
        pieces = [payload[start : start + _PIECE] for start in range(0, len(payload), _PIECE)] or [b""]
        last = len(pieces) - 1
        writing = hashlib.sha256(payload).digest()
        for number, piece in enumerate(pieces):
            page_id = f"{school_id}:{dataset}:{digest.hex()}:{number}"
            document: Document = {
                "_id": page_id,
                "dataset": dataset,
                "digest": digest,
                "n": number,
                "last": number == last,
                "writing": writing,
                "payload": piece,
            }
            await replace_not_later(self._pages, lease, document)

    async def get(self, school_id: str, dataset: str, digest: bytes) -> bytes:
        """Return a payload.

        Raises:
            RawPageMissing: it is not kept.
        """
        pieces = await self._pieces(school_id, dataset, digest)
        if not _is_whole(pieces):
            raise RawPageMissing(f"rows {digest.hex()} of {dataset} of school {school_id} are not kept")
        return b"".join(piece["payload"] for piece in pieces)

    async def prune(self, lease: Lease, dataset: str, keep: Container[bytes]) -> None:
        """Forget all payloads of ``dataset`` but those in ``keep``, and those that a later owner wrote."""
        unwanted: Document = {
            **not_later(lease),
            "dataset": dataset,
            "digest": {"$nin": sorted(keep)},
        }
        # The last piece goes first: what a crash leaves then is not taken for a whole payload.
        await self._pages.delete_many({**unwanted, "last": True})
        await self._pages.delete_many(unwanted)

    async def _pieces(
        self, school_id: str, dataset: str, digest: bytes, fields: Document | None = None
    ) -> list[Document]:
        query: Document = {"school": school_id, "dataset": dataset, "digest": digest}
        return list(await self._pages.find(query, fields, sort=[("n", 1)]))


def _is_whole(pieces: Sequence[Document]) -> bool:
    """Whether ``pieces``, in order, are all of one writing: two encryptions of one payload do not mix."""
    return (
        bool(pieces)
        and bool(pieces[-1]["last"])
        and [piece["n"] for piece in pieces] == list(range(len(pieces)))
        and len({piece["writing"] for piece in pieces}) == 1
    )
