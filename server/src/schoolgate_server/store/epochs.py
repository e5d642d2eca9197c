"""Documents that carry the epoch of the owner who wrote them, so that a late operation of an earlier one does
nothing to them: the condition is part of the operation (G15).
"""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.leases import Lease, lost


def not_later(lease: Lease) -> Document:
    """Return the filter for the school's documents but those that a later owner wrote."""
    return {"school": lease.school_id, "epoch": {"$not": {"$gt": lease.epoch}}}


async def replace_not_later(collection: Collection, lease: Lease, document: Document) -> None:
    """Put ``document``, with school and epoch of ``lease``, in place of the one with its ``_id``.

    Raises:
        LeaseLost: a later owner of the school has written that.
    """
    stored: Document = {**document, "school": lease.school_id, "epoch": lease.epoch}
    try:
        await collection.replace_one({"_id": document["_id"], **not_later(lease)}, stored, upsert=True)
    except DuplicateKeyError:  # it is there, so it is a later owner's
        raise lost(lease) from None
