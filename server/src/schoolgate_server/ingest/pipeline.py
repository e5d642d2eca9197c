"""Takes the rows of one dataset into the store: project, compare, commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from schoolgate.v1.record_pb2 import CHANGE_CAUSE_REPROJECTION, CHANGE_CAUSE_SOURCE, ChangeCause
from schoolgate_sdk import Incomplete, Row
from schoolgate_server.ingest.context import IngestContext
from schoolgate_server.ingest.decisions import DecisionLog
from schoolgate_server.ingest.findings import conflicting, older, same_again
from schoolgate_server.ingest.identity import Identities
from schoolgate_server.ingest.memo import Memo
from schoolgate_server.ingest.projection import Projected, Projection, Projector
from schoolgate_server.ingest.relinking import Relinking
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.batches import batched
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.reconcile.diff import NOTHING, Known, Outcome, SnapshotDiff, Withheld
from schoolgate_server.tasks import give_way

CHUNK_ROWS = 2_000
"""Rows of which what is known is looked up at once."""

SLICE_ROWS = 50
"""Rows projected before others have their turns, some 2 ms: a commit under way is dozens of operations, and
the next one waits for it."""

MAX_DEFERRED = 30_000
"""Changes kept in memory until the snapshot's end; more are projected again from the retained rows."""

_ORDINARY = ([Outcome.UNCHANGED], [Outcome.CREATE], [Outcome.UPDATE])
"""What nearly every row comes to, so that it is looked for first."""

_WITHOUT_EFFECT = frozenset({Outcome.DUPLICATE, Outcome.CONFLICT_LOST, Outcome.OLDER})

Replay: TypeAlias = Callable[[], AsyncGenerator[Sequence[Row]]]
"""Yields the rows that were taken once more."""

Shown: TypeAlias = Callable[[], Awaitable[None]]
"""Lets watchers see how far it has come."""


async def _nobody() -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How changes are taken in.

    ``cause`` is that of every version, except that ``update_cause`` is that of changed live records.
    ``streaming``: new records are committed as they come, rather than at the end, where they can be held.
    ``looks_up``: the comparison knows the records of some days only, so that one which seems new may be
    stored under another day.
    """

    cause: ChangeCause.ValueType = CHANGE_CAUSE_SOURCE
    update_cause: ChangeCause.ValueType = CHANGE_CAUSE_SOURCE
    streaming: bool = False
    looks_up: bool = False


class DatasetIngest:
    """Takes one dataset's rows in, chunk by chunk; parsing goes on while the last commit is written.

    Without ``replay`` all changes are kept in memory, however many they are.
    """

    def __init__(
        self,
        context: IngestContext,
        dataset: str,
        projector: Projector,
        identities: Identities,
        diff: SnapshotDiff,
        log: DecisionLog,
        mode: Mode,
        replay: Replay | None,
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._projector = projector
        self._identities = identities
        self._log = log
        self._diff = diff
        self._mode = mode
        self._read_otherwise = context.read_otherwise.get(dataset, ())
        self._replay = replay
        self._creates: dict[str, Change] = {}
        self._deferred: dict[str, Change] = {}
        self._overflowed = False
        self._reprojected = 0
        self._writing: asyncio.Task[None] | None = None
        self.relinking = Relinking(identities, diff)
        self.totals = context.totals_of(dataset)
        self.outside: set[str] = set()
        self.rejected_rows = 0
        self.unidentified_rows = 0

    @property
    def unchanged(self) -> int:
        """Records found as they were."""
        totals = self.totals
        changed = totals.created + totals.updated + totals.revived + self._reprojected
        return max(0, self._diff.observed_count - changed - self._diff.waiting_count)

    async def take(self, rows: Sequence[Row], as_of: int, memo: Memo | None = None, offset: int = 0) -> None:
        """Take rows of the snapshot; ``as_of`` is the school's published seq when they were asked for.

        ``memo`` is that of their segment, in which they begin at ``offset``: what is not known of them yet is
        noted there.
        """
        for begin in range(0, len(rows), CHUNK_ROWS):
            places = range(offset + begin, offset + min(begin + CHUNK_ROWS, len(rows)))
            await self._projector.know(rows[begin : begin + CHUNK_ROWS])
            others = places if memo is None else memo.settle(self._diff, places, self._are_keys_as_begun)
            read = ((place, self._projector.project(rows[place - offset])) for place in others)
            taken = await self._looked_up(read) if self._mode.looks_up else read
            for number, (place, projection) in enumerate(taken, 1):
                if memo is not None and self._are_keys_as_begun():
                    memo.note(place, projection)
                self._take_or_wait(rows[place - offset], projection, as_of)
                if number % SLICE_ROWS == 0:
                    await give_way()
            while len(self._creates) >= self._context.commit_batch:
                await self._commit_creates()
            await give_way()
        await self._store_decisions()

    def _take_or_wait(self, row: Row, projection: Projection, as_of: int) -> None:
        if projection.claims:
            if self.relinking.waits(row, projection, as_of):
                self._note_outside(projection)
                return
            projection = self._projector.project(row)
        self._take_row(projection, as_of)

    def _are_keys_as_begun(self) -> bool:
        """Whether what was known before this run of how rows are read still holds."""
        return self._identities.stamp is not None

    async def _looked_up(self, read: Iterable[tuple[int, Projection]]) -> Sequence[tuple[int, Projection]]:
        """Make known what is stored of records that seem new."""
        # Not of holders of claimed keys: one stored under another day may have its row there, and must not be
        # taken for gone; a whole snapshot tells.
        taken: list[tuple[int, Projection]] = []
        for each in read:
            taken.append(each)
            if len(taken) % SLICE_ROWS == 0:
                await give_way()
        records = (each for _, projection in taken for each in projection.records)
        unknown = [each.record_id for each in records if self._diff.known(each.record_id) is None]
        async for states in self._context.store.records.states_of(self._context.school_id, unknown):
            self._diff.add(states)
        self._diff.protect_newer()  # of those that were found just now, too (G07)
        return taken

    async def settle_identities(self, *, complete: bool, present: Container[str]) -> None:
        """Take the rows that came under a new key with the key of another record.

        ``complete`` says that the snapshot is, so that a record whose row it lacks has none any more; those
        in ``present`` have one all the same.
        """
        holders = await self._context.store.records.many(self._context.school_id, self.relinking.holders())
        await self._projector.know(self.relinking.rows)
        for row, as_of, finding, undecided in self.relinking.settle(
            self._projector, {record.id: record for record in holders}, present, complete=complete
        ):
            if finding is not None:
                self._log.record(finding, self._context.clock())
            if undecided:
                self.rejected_rows += 1
            else:
                # Looked up when it came, or the record that it was tied to just now, which is known.
                self._take_row(self._projector.project(row), as_of)
        await self._store_decisions()

    async def finish(self, withheld: Withheld = NOTHING, shown: Shown = _nobody) -> None:
        """Commit everything that waits, except for what is ``withheld``, until it is stored.

        ``shown`` is awaited between commits of changes; what it raises ends the finishing.

        Raises:
            Incomplete: changes that were too many to keep were not all found again.
        """
        try:
            while self._creates:
                await self._commit_creates()
            ready = [
                record_id
                for record_id, change in self._deferred.items()
                if self._diff.is_ready(record_id, change.digest, withheld)
            ]
            for ids in batched(ready, self._context.commit_batch):
                await self._commit_changes([self._deferred.pop(record_id) for record_id in ids])
                await shown()
            if self._replay is not None and self._overflowed and self._diff.has_ready(withheld):
                await self._commit_overflowed(self._replay, withheld, shown)
            # Those of rows that changed no record; datasets to come refer by them, after a crash too.
            await self._store_aliases(self._identities.take_new())
            await self._store_decisions()
        finally:
            await self._settle()
        if self._overflowed and self._diff.has_ready(withheld):
            raise Incomplete("rows that changed were read as other records when they were read once more")

    async def abandon(self) -> None:
        """Wait for the commit under way; what is kept back is dropped."""
        self._creates.clear()
        self._deferred.clear()
        await self._settle()

    async def tombstone(self, changes: Sequence[Change]) -> None:
        """Commit tombstones."""
        for part in batched(changes, self._context.commit_batch):
            reprojected = sum(change.cause == CHANGE_CAUSE_REPROJECTION for change in part)
            self.totals.reprojected += reprojected
            self.totals.tombstoned += len(part) - reprojected
            await self._commit(part)
        await self._settle()

    async def merge(self, changes: Sequence[Change], *, counted: bool = False) -> None:
        """Commit the changes of one merge, ``counted`` or not yet; the aliases that it linked come first."""
        self.totals.merged += not counted
        for part in batched(changes, self._context.commit_batch):
            await self._commit(part)
        await self._settle()

    def _take_row(self, projection: Projection, as_of: int) -> None:
        outcomes = [self._observe(projected, as_of) for projected in projection.records]
        if outcomes in _ORDINARY and not projection.findings:
            return
        for finding in projection.findings:
            self._log.record(finding, self._context.clock())
        self._note_outside(projection)
        if Outcome.CONFLICT_WON in outcomes:
            self.rejected_rows += 1  # the row that came before it
        if not all(outcome in _WITHOUT_EFFECT for outcome in outcomes):
            return
        self.rejected_rows += 1
        if projection.rejected:
            for record_id in projection.protects:
                self._diff.protect(record_id)
            if not projection.protects:
                self.unidentified_rows += 1
        elif outcomes and all(outcome is Outcome.DUPLICATE for outcome in outcomes):
            self._log.record(same_again(projection.records[0]), self._context.clock())

    def _note_outside(self, projection: Projection) -> None:
        self.outside.update(each for each in projection.outside if self._diff.known(each) is not None)

    def _observe(self, projected: Projected, as_of: int) -> Outcome:
        """Compare one record, and queue what is to be written of it."""
        record_id, digest, rank = projected.record_id, projected.digest, projected.rank
        outcome = self._diff.observe(record_id, digest, as_of, own=projected.own, rank=rank)
        match outcome:
            case Outcome.UNCHANGED | Outcome.DUPLICATE:
                pass
            case Outcome.CREATE:
                self._queue(projected, None)
            case Outcome.UPDATE:
                self._queue(projected, self._diff.known(record_id))
            case Outcome.OLDER:
                self._log.record(older(projected), self._context.clock())
            case Outcome.CONFLICT_LOST:
                self._log.record(conflicting(projected), self._context.clock())
            case Outcome.CONFLICT_WON:
                self._log.record(conflicting(projected), self._context.clock())
                if self._diff.is_waiting(record_id, digest):
                    self._queue(projected, self._diff.known(record_id))
                else:
                    self._deferred.pop(record_id, None)  # the row that won is what is stored already
        return outcome

    def _queue(self, projected: Projected, known: Known | None) -> None:
        """Queue what is to be written of a record, in place of what a conflicting row wanted before.

        ``known`` is what is stored of it.
        """
        record_id = projected.record_id
        if self._mode.streaming and known is None:
            self._creates[record_id] = self._change(projected, known)
        elif self._replay is None or record_id in self._deferred or len(self._deferred) < MAX_DEFERRED:
            self._deferred[record_id] = self._change(projected, known)
        else:
            self._overflowed = True

    def _change(self, projected: Projected, known: Known | None) -> Change:
        is_update = known is not None and known.live
        return Change(
            projected.record_id,
            self._dataset,
            projected.kind,
            projected.keys,
            projected.wire,
            projected.digest,
            expected_version=0 if known is None else known.version,
            valid_from=projected.valid_from,
            valid_to=projected.valid_to,
            cause=self._update_cause(projected.record_id) if is_update else self._mode.cause,
        )

    def _update_cause(self, record_id: str) -> ChangeCause.ValueType:
        if record_id in self._read_otherwise:
            return CHANGE_CAUSE_REPROJECTION
        return self._mode.update_cause

    async def _commit_creates(self) -> None:
        part = [self._creates.pop(key) for key in list(islice(self._creates, self._context.commit_batch))]
        await self._commit_changes(part)

    async def _commit_overflowed(self, replay: Replay, withheld: Withheld, shown: Shown) -> None:
        """Commit the changes that were too many to keep, from the rows that were retained."""
        waiting: dict[str, Change] = {}
        async with aclosing(replay()) as segments:
            async for rows in segments:
                for some in batched(rows, CHUNK_ROWS):
                    await self._projector.know(some)
                    for row in some:
                        for projected in self._projector.project(row).records:
                            if self._diff.is_ready(projected.record_id, projected.digest, withheld):
                                known = self._diff.known(projected.record_id)
                                waiting[projected.record_id] = self._change(projected, known)
                    if len(waiting) >= self._context.commit_batch:
                        await self._commit_changes(list(waiting.values()))
                        waiting.clear()
                        await shown()
                    await give_way()
                del rows  # or they stay while the next ones are read
        if waiting:
            await self._commit_changes(list(waiting.values()))

    async def _commit_changes(self, changes: Sequence[Change]) -> None:
        """Start committing new and changed records, and count them."""
        reprojects = self._mode.cause == CHANGE_CAUSE_REPROJECTION
        for change in changes:
            if reprojects or change.cause == CHANGE_CAUSE_REPROJECTION:
                self.totals.reprojected += 1
                self._reprojected += 1
            elif not change.expected_version:
                self.totals.created += 1
            elif (known := self._diff.known(change.record_id)) is not None and known.live:
                self.totals.updated += 1
            else:
                self.totals.revived += 1
        await self._commit(changes)

    async def _commit(self, changes: Sequence[Change]) -> None:
        """Start writing one commit, after the one before it has been written."""
        totals = {name: totals.as_dict() for name, totals in self._context.totals.items()}
        for change in changes:
            if change.dataset == self._dataset:
                known = Known(change.digest, change.expected_version + 1, change.tombstone is None)
                self._diff.stored(change.record_id, known)
        await self._settle()
        aliases = self._identities.take_new()
        commit = Commit(self._context.run_id, changes, totals)
        self._writing = asyncio.create_task(self._write(aliases, commit), name="commit")

    async def _write(self, aliases: Sequence[Alias], commit: Commit) -> None:
        await self._store_aliases(aliases)
        await self._context.store.commits.commit(self._context.lease(), commit)

    async def _store_aliases(self, aliases: Sequence[Alias]) -> None:
        context = self._context
        if aliases:
            await context.store.identities.add(context.school_id, aliases, context.run_id)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _store_decisions(self) -> None:
        decisions = self._log.take_new()
        if decisions:
            await self._context.store.decisions.insert(decisions)
