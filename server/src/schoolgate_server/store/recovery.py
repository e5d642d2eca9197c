"""What a crash in the middle of a commit leaves, and the way out of it."""

from __future__ import annotations

from pymongo.operations import DeleteOne, ReplaceOne

from schoolgate_server.store.documents import restored
from schoolgate_server.store.errors import StoreError
from schoolgate_server.store.fences import Fences
from schoolgate_server.store.handles import CHUNK, Collection, Document, Session, Write
from schoolgate_server.store.leases import Lease, Leases, lost


class Recovery:
    """Rolls an interrupted commit forward where all its records were written, else back."""

    def __init__(
        self, heads: Collection, records: Collection, history: Collection, leases: Leases, fences: Fences
    ) -> None:
        self._heads = heads
        self._records = records
        self._history = history
        self._leases = leases
        self._fences = fences

    async def recover(self, lease: Lease) -> None:
        """Leave the school without a pending commit.

        Raises:
            LeaseLost: another owner has the school, or the lease has expired.
        """
        with self._leases.holding(lease):
            head = await self._heads.find_one({"_id": lease.school_id, "lease.epoch": lease.epoch})
        if head is None:
            raise lost(lease)
        pending = head["pending"]
        if pending is None:
            return
        # All in one session: after a failover a read must not miss what was there when the fences were shut.
        session, *_ = await self._fences.sessions(lease.school_id)
        with self._leases.holding(lease):
            await self._fences.shut(session, lease.school_id, pending["seq"], pending["sessions"])
        with self._leases.holding(lease):
            written = await self._records.within(session).count(
                {"school": lease.school_id, "seq": pending["seq"]}
            )
        if written == pending["count"]:
            await self.publish(lease, pending)
        else:
            await self._roll_back(session, lease, pending["seq"])

    async def publish(self, lease: Lease, pending: Document) -> None:
        """Make ``pending`` the published seq, in one write."""
        with self._leases.holding(lease):
            published = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch, "pending.seq": pending["seq"]},
                {
                    "$set": {
                        "published": pending["seq"],
                        "published_at": pending["at"],
                        "runs": pending["runs"],
                        "pending": None,
                    }
                },
            )
        if not published:
            raise lost(lease)

    async def _roll_back(self, session: Session, lease: Lease, seq: int) -> None:
        """Put every record that commit ``seq`` wrote back to what it was, and forget the commit.

        The copies in ``history`` stay: a reader that looked at ``records`` before may still need them, and
        readers keep one version per record. A bulk of this that comes late finds nothing to do: no commit
        will ever have the same seq again.
        """
        records = self._records.within(session)
        while True:
            with self._leases.holding(lease):
                begun = await records.find(
                    {"school": lease.school_id, "seq": seq}, {"version": 1}, limit=CHUNK
                )
                if not begun:
                    break
                await records.bulk(await self._undo(session, lease.school_id, seq, begun))
        with self._leases.holding(lease):
            forgotten = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch, "pending.seq": seq},
                {"$set": {"pending": None}, "$inc": {"rolled_back": 1}},
            )
        if not forgotten:
            raise lost(lease)

    async def _undo(self, session: Session, school_id: str, seq: int, begun: list[Document]) -> list[Write]:
        before = {
            document["_id"]: f"{document['_id']}:{document['version'] - 1}"
            for document in begun
            if document["version"] > 1
        }
        kept = await self._history.within(session).find(
            {"school": school_id, "_id": {"$in": list(before.values())}}
        )
        if len(kept) != len(before):
            raise StoreError(f"history of school {school_id} lacks versions that commit {seq} superseded")
        writes: list[Write] = [
            ReplaceOne({"_id": document["id"], "school": school_id, "seq": seq}, restored(document))
            for document in kept
        ]
        writes += [
            DeleteOne({"_id": document["_id"], "school": school_id, "seq": seq})
            for document in begun
            if document["_id"] not in before
        ]
        return writes
