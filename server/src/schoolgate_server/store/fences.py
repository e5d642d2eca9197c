"""Fences: through one of them every write of a commit goes, and a new owner shuts them behind the old one.

Each chunk of a commit is one transaction, and the first thing that it does is to touch a fence, a document
that names the highest seq that may no longer be written. Whoever finds a commit half done raises that number
first. MongoDB lets no two touch a document at once: a transaction that was first makes the raising wait until
it has ended, one that comes later finds the fence shut and fails. So when the fences are shut, whatever was
written of that seq is there and nothing can be added, however long a message was on its way and whatever a
clock says.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.errors import DuplicateKeyError

from schoolgate_server.store.errors import LeaseLost
from schoolgate_server.store.handles import Collection, Database, Document, Session

WIDTH = 2
"""Fences of a school, and so transactions of a commit on their way at once: one is encoded while MongoDB
works on the other. Two that touched the same fence would be in each other's way."""


class Fences:
    """The ``fences`` collection, and the sessions in which this process passes them."""

    def __init__(self, database: Database, fences: Collection) -> None:
        self._database = database
        self._fences = fences
        self._sessions: dict[str, list[Session]] = {}

    async def sessions(self, school_id: str) -> Sequence[Session]:
        """Return the sessions for commits of a school, one per fence.

        They are never used for anything else, nor given back to the driver, which would use them for the next
        best operation: a new owner of the school ends what goes on in them.
        """
        held = self._sessions.setdefault(school_id, [])
        while len(held) < WIDTH:
            held.append(await self._database.session())
        return held

    async def touch(self, session: Session, school_id: str, slot: int, seq: int) -> None:
        """Pass the fence of ``slot`` to write commit ``seq``; first in the transaction of ``session``.

        Raises:
            LeaseLost: it is shut, because another owner has dealt with that commit.
        """
        open_fence: Document = {"_id": _fence_id(school_id, slot), "closed": {"$lt": seq}}
        update: Document = {"$inc": {"touched": 1}, "$setOnInsert": {"school": school_id, "closed": 0}}
        try:
            await self._fences.within(session).update_one(open_fence, update, upsert=True)
        except DuplicateKeyError:  # it exists, so it was not open
            raise LeaseLost(
                f"commit {seq} of school {school_id} has been dealt with by another owner"
            ) from None

    async def shut(self, session: Session, school_id: str, seq: int, writers: Sequence[object]) -> None:
        """Return when nothing of commit ``seq`` can be written any more; ``writers`` are its sessions."""
        await self._database.end_sessions(writers)
        for slot in range(len(writers)):
            await self._fences.within(session).update_one(
                {"_id": _fence_id(school_id, slot)},
                {"$max": {"closed": seq}, "$setOnInsert": {"school": school_id}},
                upsert=True,
            )


def _fence_id(school_id: str, slot: int) -> str:
    return f"{school_id}:{slot}"
