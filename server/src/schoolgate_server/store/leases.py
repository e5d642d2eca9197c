"""One owner per school at a time, and the published position of each school."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from schoolgate_server.model.clock import Clock
from schoolgate_server.store.errors import LeaseLost
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.limits import OPERATION_LIMIT, limited

GRACE = timedelta(seconds=5)
"""How long after its expiry a lease still keeps others out.

A holder gives every operation a limit that ends with its lease, and MongoDB enforces the limit; this covers
what was on its way at that moment, and clocks that differ.
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one school's records until ``expires_at``; ``epoch`` differs for every holder.

    ``ttl`` is how long each renewal lasts. ``cancelled`` holds the runs that were to stop when it was last
    renewed, of those that somebody asked to stop since it was acquired.
    """

    school_id: str
    owner: str
    epoch: int
    expires_at: datetime
    ttl: timedelta
    cancelled: frozenset[str] = frozenset()


Totals: TypeAlias = Mapping[str, Mapping[str, int]]
"""What a run came to by now, by dataset and counter."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a school stands: its published seq, and the totals of the runs that published lately.

    ``totals`` maps run to dataset to counter name to value. ``published_at`` is ``None`` before the
    first commit.
    """

    published: int = 0
    published_at: datetime | None = None
    totals: Mapping[str, Totals] = field(default_factory=dict[str, Totals])


class Leases:
    """Leases in the ``heads`` collection; every change of one is a compare-and-set on its epoch."""

    def __init__(self, heads: Collection, clock: Clock) -> None:
        self._heads = heads
        self._clock = clock

    async def acquire(self, school_id: str, owner: str, ttl: timedelta) -> Lease | None:
        """Take the school for ``ttl``; ``None`` while somebody holds it, the same ``owner`` included.

        A holder that died is waited for: its lease must have expired, and a grace after it have passed.
        """
        head = await self._heads.find_one({"_id": school_id})
        if head is None:
            await self._heads.insert_one(new_head(school_id))
            head = new_head(school_id)
        now = self._clock()
        held = head["lease"]
        if held is not None and now < held["expires_at"] + GRACE:
            return None
        lease = Lease(school_id, owner, head["epoch"] + 1, now + ttl, ttl)
        # Unchanged means not taken by another one (epoch) and not renewed (expiry) since it was read.
        unchanged: Document = {"lease": None} if held is None else {"lease.expires_at": held["expires_at"]}
        taken = await self._heads.update_one(
            {"_id": school_id, "epoch": head["epoch"], **unchanged},
            {"$set": {"epoch": lease.epoch, "lease": _document(lease)}},
        )
        return lease if taken else None

    async def renew(self, lease: Lease) -> Lease:
        """Return the lease, valid for its ``ttl`` from now, with the runs that are to stop.

        Raises:
            LeaseLost: it has expired or is another one's.
        """
        expires_at = self._clock() + lease.ttl
        with self.holding(lease):
            head = await self._heads.find_one_and_update(
                {"_id": lease.school_id, "lease.epoch": lease.epoch},
                {"$max": {"lease.expires_at": expires_at}},  # one that comes late takes no time away
                {"lease.cancelled": 1},
            )
        if head is None:
            raise lost(lease)
        return replace(lease, expires_at=expires_at, cancelled=frozenset(head["lease"].get("cancelled", ())))

    async def cancel(self, school_id: str, run_id: str) -> None:
        """Let whoever holds the school hear with the next renewal that a run is to stop.

        It is no-op where nobody does: whoever begins with a run looks at the run itself, which must have been
        told before.
        """
        await self._heads.update_one(
            {"_id": school_id, "lease": {"$ne": None}}, {"$addToSet": {"lease.cancelled": run_id}}
        )

    async def release(self, lease: Lease) -> None:
        """Set the school free at once, so that the next owner need not wait. No-op where it is lost."""
        await self._heads.update_one(
            {"_id": lease.school_id, "lease.epoch": lease.epoch}, {"$set": {"lease": None}}
        )

    async def head(self, school_id: str) -> Head:
        """Return the school's published position; that of a school without any commit is 0."""
        found = await self._heads.find_one({"_id": school_id})
        return Head() if found is None else head_of(found)

    @contextmanager
    def holding(self, lease: Lease) -> Generator[None]:
        """Limit the operations inside to the time that the lease has left.

        Raises:
            LeaseLost: it has none left.
        """
        left = (lease.expires_at - self._clock()).total_seconds()
        if left <= 0:
            raise LeaseLost(f"the lease on school {lease.school_id} has expired")
        with limited(min(OPERATION_LIMIT, left)):
            yield


def lost(lease: Lease) -> LeaseLost:
    """Return the error of a holder whose lease is no longer the school's."""
    return LeaseLost(f"the lease on school {lease.school_id} has gone to another owner")


def head_of(document: Document) -> Head:
    """Return the public part of a document of ``heads``."""
    runs: list[Document] = document["runs"]
    return Head(
        document["published"],
        document["published_at"],
        {run["id"]: {entry["dataset"]: entry["counters"] for entry in run["totals"]} for run in runs},
    )


def _document(lease: Lease) -> Document:
    return {"owner": lease.owner, "epoch": lease.epoch, "expires_at": lease.expires_at}


def new_head(school_id: str) -> Document:
    """Return the document of ``heads`` of a school without any commit."""
    return {
        "_id": school_id,
        "lease": None,
        "epoch": 0,
        "published": 0,
        "announced": 0,
        "published_at": None,
        "pending": None,
        "rolled_back": 0,
        "runs": [],
    }
