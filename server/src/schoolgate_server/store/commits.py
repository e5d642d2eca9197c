"""The one way into ``records``: a commit, visible as a whole or not at all.

Steps, each of which a crash may follow: announce in ``heads`` what is coming; write it, chunk by chunk;
publish in ``heads``. A chunk is one transaction through a fence (:mod:`schoolgate_server.store.fences`): it
copies what it supersedes into ``history`` and writes ``records``. Readers keep to the published seq, so they
see nothing of a commit before its last step and all of it afterwards. A seq is announced once, never again.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import Lock
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.clock import Clock
from schoolgate_server.store.documents import check_size, document_of, superseded
from schoolgate_server.store.errors import BulkFailed, CommitConflict, StoreError, StoreUnavailable
from schoolgate_server.store.fences import Fences
from schoolgate_server.store.handles import (
    Collection,
    Document,
    Session,
    chunks,
)
from schoolgate_server.store.indexes import BY_ID
from schoolgate_server.store.instants import Instants, commit_time
from schoolgate_server.store.leases import Lease, Leases, lost
from schoolgate_server.store.recovery import Recovery

_T = TypeVar("_T")

Sleep: TypeAlias = Callable[[float], Awaitable[Any]]
"""Waits for some seconds."""

KEPT_TOTALS = 16
"""Runs whose totals a school's head keeps: more than are ever begun and not ended at once."""

TRANSACTION = 1_250
"""Changes in one transaction, halved at every further try: MongoDB keeps an open transaction in its cache,
and one that does not fit would fail for ever."""

ATTEMPTS = 4
"""How often a commit is tried while MongoDB is unavailable (a failover, for instance) and the lease lasts."""


class Commits:
    """Commits of all schools; those of one school take turns."""

    def __init__(
        self,
        heads: Collection,
        records: Collection,
        history: Collection,
        leases: Leases,
        fences: Fences,
        instants: Instants,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._heads = heads
        self._records = records
        self._history = history
        self._leases = leases
        self._fences = fences
        self._instants = instants
        self._clock = clock
        self._sleep = sleep
        self._recovery = Recovery(heads, records, history, leases, fences)
        self._turns: defaultdict[str, Lock] = defaultdict(Lock)

    async def commit(self, lease: Lease, commit: Commit) -> int:
        """Make all changes visible at once, with the run totals, and return the seq at which they are.

        Without changes nothing is written and the present seq returned. Where MongoDB is unavailable
        meanwhile, what was begun is completed or undone, and tried again. A cancelled caller is held until
        the commit has ended, so that none of its writes is still on its way when somebody looks.

        Raises:
            LeaseLost: another owner has the school, or the lease has expired.
            CommitConflict: a record is not at its expected version; nothing of the commit stayed.
            RecordTooLarge: a record does not fit into a document; nothing was written.
            StoreUnavailable: MongoDB did not come back. ``recover`` completes or undoes the commit later.
            ValueError: two changes concern one record.
        """
        _check(commit.changes)
        async with self._turns[lease.school_id]:
            if not commit.changes:
                return (await self._leases.head(lease.school_id)).published
            retrying = AsyncRetrying(
                sleep=self._sleep,
                retry=retry_if_exception_type(StoreUnavailable),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(multiplier=0.25, max=5),
                reraise=True,
            )
            return await _to_the_end(retrying(self._once, _Attempt(lease, commit)))

    async def recover(self, lease: Lease) -> None:
        """Complete or undo what a crash left between announcement and publication; see :class:`Recovery`.

        Raises:
            LeaseLost: another owner has the school, or the lease has expired.
        """
        async with self._turns[lease.school_id]:
            await _to_the_end(self._recovery.recover(lease))

    async def _once(self, attempt: _Attempt) -> int:
        sessions = await self._fences.sessions(attempt.lease.school_id)
        pending = await self._announce(attempt, sessions)
        if pending is None:
            return attempt.seq
        try:
            await self._write(attempt, pending, sessions)
        except CommitConflict:
            await self._recovery.recover(attempt.lease)
            raise
        await self._recovery.publish(attempt.lease, pending)
        return attempt.seq

    async def _announce(self, attempt: _Attempt, sessions: Sequence[Session]) -> Document | None:
        """Write the pending commit into the head; ``None`` where an earlier attempt had succeeded.

        What is still on its way of an earlier attempt must not count as this one, so each has its own seq.
        """
        lease, commit = attempt.lease, attempt.commit
        await self._recovery.recover(lease)
        for tries in itertools.count():
            with self._leases.holding(lease):
                head = await self._heads.find_one({"_id": lease.school_id, "lease.epoch": lease.epoch})
                if head is None:
                    raise lost(lease)
                if attempt.seq and head["published"] == attempt.seq:
                    return None
                await self._instants.note(lease.school_id, head)
                attempt.seq = head["announced"] + 1
                attempt.rolled_back = head["rolled_back"]
                pending: Document = {
                    "seq": attempt.seq,
                    "count": len(commit.changes),
                    "at": commit_time(self._clock(), head, tries),
                    "runs": _run_documents(commit, head["runs"]),
                    "sessions": [session.number for session in sessions],
                }
                announced = await self._heads.update_one(
                    {
                        "_id": lease.school_id,
                        "lease.epoch": lease.epoch,
                        "pending": None,
                        "announced": head["announced"],
                        "known_until": {"$not": {"$gte": pending["at"]}},
                    },
                    {"$set": {"pending": pending, "announced": attempt.seq}},
                )
            if announced:
                return pending
            if not await self._instants.asked_since(lease.school_id, head):
                break
        raise lost(lease)

    async def _write(self, attempt: _Attempt, pending: Document, sessions: Sequence[Session]) -> None:
        """Write all changes; return or raise only when no transaction is on its way any more."""
        most = max(1, TRANSACTION >> attempt.tries)
        attempt.tries += 1
        # In the order of their ids, the changes of a chunk share pages of the indexes that go by ids, and
        # two chunks hardly want the same one.
        waiting = chunks(sorted(attempt.commit.changes, key=_record_id), _size, most)
        outcomes = await asyncio.gather(
            *(
                self._write_through(attempt, pending, slot, session, waiting)
                for slot, session in enumerate(sessions)
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _write_through(
        self,
        attempt: _Attempt,
        pending: Document,
        slot: int,
        session: Session,
        waiting: Generator[Sequence[Change]],
    ) -> None:
        """Write one of the ``waiting`` chunks after the other through the fence of ``slot``."""
        for chunk in waiting:
            try:
                await self._write_chunk(attempt, pending, slot, session, chunk)
            except BaseException:
                waiting.close()  # the other slots need not go on
                raise

    async def _write_chunk(
        self, attempt: _Attempt, pending: Document, slot: int, session: Session, chunk: Sequence[Change]
    ) -> None:
        """Write what the chunk makes of its records, each only at its expected version: all of it or nothing.

        What is replaced is deleted and inserted, six times faster than replaced where it is, since MongoDB
        plans every single replacement anew. Nobody sees the gap.
        """
        school_id = attempt.lease.school_id
        expected = {change.record_id: change.expected_version for change in chunk if change.expected_version}
        documents = [
            document_of(
                change,
                school_id=school_id,
                seq=pending["seq"],
                at=pending["at"],
                run_id=attempt.commit.run_id,
            )
            for change in chunk
        ]
        async with session.transaction():
            with self._leases.holding(attempt.lease):
                await self._fences.touch(session, school_id, slot, pending["seq"])
                if expected:
                    await self._supersede(session, attempt, pending, expected)
                await self._insert(session, school_id, documents)
                await session.commit()

    async def _supersede(
        self, session: Session, attempt: _Attempt, pending: Document, expected: Mapping[str, int]
    ) -> None:
        """Move the versions that will be replaced into ``history``."""
        school_id = attempt.lease.school_id
        query: Document = {"school": school_id, "_id": {"$in": list(expected)}}
        current = await self._records.within(session).find(query, hint=BY_ID)
        at_version = sum(document["version"] == expected[document["_id"]] for document in current)
        if at_version != len(expected):
            raise _conflict(school_id, len(expected) - at_version)
        copies = [superseded(document, seq=pending["seq"], at=pending["at"]) for document in current]
        history = self._history.within(session)
        if attempt.rolled_back:  # some may be there from a commit that was undone
            await history.delete_many({"school": school_id, "_id": {"$in": [copy["_id"] for copy in copies]}})
        await history.insert_many(copies)
        await self._records.within(session).delete_many(query, hint=BY_ID)

    async def _insert(self, session: Session, school_id: str, documents: list[Document]) -> None:
        try:
            await self._records.within(session).insert_many(documents)
        except BulkFailed as failed:
            if failed.others:
                raise StoreError(f"MongoDB refused {failed.others} records of school {school_id}") from None
            raise _conflict(school_id, failed.duplicates) from None


class _Attempt:
    """A commit on its way.

    ``seq`` is the last one that was announced for it, 0 before; ``rolled_back`` is how many commits of the
    school had been undone by then. ``tries`` counts how often it was begun to be written.
    """

    __slots__ = ("commit", "lease", "rolled_back", "seq", "tries")

    def __init__(self, lease: Lease, commit: Commit) -> None:
        self.lease = lease
        self.commit = commit
        self.seq = 0
        self.rolled_back = 0
        self.tries = 0


async def _to_the_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Await ``work``; where the caller is cancelled meanwhile, let the work end first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as lost
        raise


def _check(changes: Sequence[Change]) -> None:
    for change in changes:
        check_size(change)
    if len({change.record_id for change in changes}) != len(changes):
        raise ValueError("a commit may change a record once")


def _run_documents(commit: Commit, before: Sequence[Document]) -> list[Document]:
    """Return the totals of the commit's run, and of those that published before it.

    One of these may have been interrupted, and goes on from its totals after others have published.
    """
    # Dataset names come from connectors, so they are values and not field names.
    totals = [{"dataset": dataset, "counters": dict(counters)} for dataset, counters in commit.totals.items()]
    others = [run for run in before if run["id"] != commit.run_id]
    return [{"id": commit.run_id, "totals": totals}, *others[: KEPT_TOTALS - 1]]


def _record_id(change: Change) -> str:
    return change.record_id


def _size(change: Change) -> int:
    return len(change.wire)


def _conflict(school_id: str, count: int) -> CommitConflict:
    return CommitConflict(f"{count} records of school {school_id} are not at the version expected")
