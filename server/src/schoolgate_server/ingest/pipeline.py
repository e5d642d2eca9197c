"""Takes the rows of one dataset into the store: project, compare, commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, fields

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Row
from schoolgate_server.ingest.decisions import DecisionLog, Finding
from schoolgate_server.ingest.identity import Identities, NewAlias
from schoolgate_server.ingest.projection import Projected, Projection, Projector
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.clock import Clock
from schoolgate_server.reconcile.diff import Known, Outcome, SnapshotDiff
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store

CHUNK_ROWS = 2_000
"""Rows projected between two looks at the event loop: about 15 ms, so that the server stays responsive."""

MAX_DEFERRED = 50_000
"""Updates kept back until the snapshot's end because of conflicting rows; more are committed as they come."""

_ORDINARY = ([Outcome.UNCHANGED], [Outcome.CREATE], [Outcome.UPDATE])
"""What nearly every row comes to, so that it is looked for first."""

_WITHOUT_EFFECT = frozenset({Outcome.DUPLICATE, Outcome.CONFLICT_LOST})


@dataclass(slots=True)
class Totals:
    """Counters of one dataset in one run; published with each commit, so that they survive a crash."""

    created: int = 0
    updated: int = 0
    revived: int = 0
    tombstoned: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class IngestContext:
    """Where the changes of a run go. ``lease`` returns the present state of the run's lease."""

    store: Store
    school_id: str
    run_id: str
    clock: Clock
    lease: Callable[[], Lease]
    commit_batch: int
    totals: dict[str, Totals] = field(default_factory=dict[str, Totals])


class DatasetIngest:
    """Takes one dataset's snapshot in, chunk by chunk; parsing goes on while the last commit is written."""

    def __init__(
        self,
        context: IngestContext,
        dataset: str,
        projector: Projector,
        identities: Identities,
        diff: SnapshotDiff,
        log: DecisionLog,
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._projector = projector
        self._identities = identities
        self._log = log
        self._diff = diff
        self._creates: dict[str, Change] = {}
        self._deferred: dict[str, Change] = {}
        self._taken_back = 0
        self._writing: asyncio.Task[None] | None = None
        self.totals = context.totals.setdefault(dataset, Totals())
        self.rejected_rows = 0
        self.unidentified_rows = 0

    @property
    def unchanged(self) -> int:
        """Records found as they were."""
        totals = self.totals
        changed = totals.created + totals.updated + totals.revived
        pending = len(self._creates) + len(self._deferred) + self._taken_back
        return max(0, self._diff.observed_count - changed - pending)

    async def take(self, rows: Sequence[Row]) -> None:
        """Take rows of the snapshot; commits what is new as batches fill up."""
        for start in range(0, len(rows), CHUNK_ROWS):
            for row in rows[start : start + CHUNK_ROWS]:
                self._take_row(self._projector.project(row))
            while len(self._creates) >= self._context.commit_batch:
                await self._commit_creates()
            if len(self._deferred) > MAX_DEFERRED:
                await self._commit_deferred()
            await asyncio.sleep(0)
        await self._store_decisions()

    def deferred_kinds(self) -> Counter[Kind.ValueType]:
        """Count the updates that are kept back, by kind; the return of a tombstoned record is none."""
        return Counter(
            change.kind
            for record_id, change in self._deferred.items()
            if (known := self._diff.known(record_id)) is not None and known.live
        )

    def take_back(self, kinds: Container[Kind.ValueType]) -> list[Change]:
        """Give the updates of ``kinds`` that are kept back to the caller, who decides about them."""
        taken = [change for change in self._deferred.values() if change.kind in kinds]
        for change in taken:
            del self._deferred[change.record_id]
        self._taken_back += len(taken)
        return taken

    async def update(self, changes: Sequence[Change]) -> None:
        """Commit updates that :meth:`take_back` gave."""
        self._taken_back -= len(changes)
        self._deferred.update((change.record_id, change) for change in changes)
        await self._commit_deferred()
        await self._settle()

    async def finish(self) -> None:
        """Commit everything that is still kept back, and wait until it is stored."""
        try:
            while self._creates:
                await self._commit_creates()
            await self._commit_deferred()
            # Those of rows that changed no record; datasets to come refer by them, after a crash too.
            await self._store_aliases(self._identities.take_new())
            await self._store_decisions()
        finally:
            await self._settle()

    async def abandon(self) -> None:
        """Wait for the commit under way; what is kept back is dropped."""
        self._creates.clear()
        self._deferred.clear()
        await self._settle()

    async def tombstone(self, changes: Sequence[Change]) -> None:
        """Commit tombstones."""
        batch = self._context.commit_batch
        for start in range(0, len(changes), batch):
            part = changes[start : start + batch]
            self.totals.tombstoned += len(part)
            await self._commit(part)
        await self._settle()

    def _take_row(self, projection: Projection) -> None:
        outcomes = [self._observe(projected) for projected in projection.records]
        if outcomes in _ORDINARY and not projection.findings:
            return
        for finding in projection.findings:
            self._log.record(finding, self._context.clock())
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
            self._log.record(_duplicate(projection.records[0], same=True), self._context.clock())

    def _observe(self, projected: Projected) -> Outcome:
        """Compare one record, and queue what is to be written of it."""
        outcome = self._diff.observe(projected.record_id, projected.digest)
        if outcome is Outcome.UNCHANGED:
            return outcome
        match outcome:
            case Outcome.DUPLICATE:
                pass
            case Outcome.CREATE:
                self._creates[projected.record_id] = _change(projected, self._dataset, 0)
            case Outcome.UPDATE:
                self._defer(projected)
            case Outcome.CONFLICT_LOST:
                self._log.record(_duplicate(projected, same=False), self._context.clock())
            case Outcome.CONFLICT_WON:
                self._log.record(_duplicate(projected, same=False), self._context.clock())
                self._replace(projected)
        return outcome

    def _replace(self, projected: Projected) -> None:
        """Let a conflicting row take the place of the one that came before it."""
        record_id = projected.record_id
        if record_id in self._creates:
            self._creates[record_id] = _change(projected, self._dataset, 0)
            return
        known = self._diff.known(record_id)
        if known is not None and known.live and known.digest == projected.digest:
            self._deferred.pop(record_id, None)
        else:
            self._defer(projected)

    def _defer(self, projected: Projected) -> None:
        known = self._diff.known(projected.record_id)
        version = known.version if known is not None else 0
        self._deferred[projected.record_id] = _change(projected, self._dataset, version)

    async def _commit_creates(self) -> None:
        batch = [self._creates.pop(key) for key in list(self._creates)[: self._context.commit_batch]]
        self.totals.created += len(batch)
        await self._commit(batch)

    async def _commit_deferred(self) -> None:
        while self._deferred:
            ids = list(self._deferred)[: self._context.commit_batch]
            for record_id in ids:
                known = self._diff.known(record_id)
                if known is not None and not known.live:
                    self.totals.revived += 1
                else:
                    self.totals.updated += 1
            await self._commit([self._deferred.pop(record_id) for record_id in ids])

    async def _commit(self, changes: Sequence[Change]) -> None:
        """Start writing one commit, after the one before it has been written."""
        totals = {name: totals.as_dict() for name, totals in self._context.totals.items()}
        for change in changes:
            known = Known(change.digest, change.expected_version + 1, change.tombstone is None)
            self._diff.stored(change.record_id, known)
        await self._settle()
        aliases = self._identities.take_new()
        commit = Commit(self._context.run_id, changes, totals)
        self._writing = asyncio.create_task(self._write(aliases, commit), name="commit")

    async def _write(self, aliases: Sequence[NewAlias], commit: Commit) -> None:
        await self._store_aliases(aliases)
        await self._context.store.commits.commit(self._context.lease(), commit)

    async def _store_aliases(self, aliases: Sequence[NewAlias]) -> None:
        context = self._context
        if aliases:
            await context.store.identities.add(
                context.school_id,
                [(kind, key, record_id, context.run_id) for kind, key, record_id in aliases],
            )

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _store_decisions(self) -> None:
        decisions = self._log.take_new()
        if decisions:
            await self._context.store.decisions.insert(decisions)


def _change(projected: Projected, dataset: str, expected_version: int) -> Change:
    return Change(
        record_id=projected.record_id,
        dataset=dataset,
        kind=projected.kind,
        keys=projected.keys,
        message=projected.message,
        wire=projected.wire,
        digest=projected.digest,
        expected_version=expected_version,
        valid_from=projected.valid_from,
        valid_to=projected.valid_to,
    )


def _duplicate(projected: Projected, *, same: bool) -> Finding:
    if same:
        detail = "the row came more than once"
        return Finding(diagnostics.DECISION_REASON_DUPLICATE_ROW, "", detail, projected.key)
    detail = "rows with this key differ; the one with the least digest was taken"
    return Finding(diagnostics.DECISION_REASON_CONFLICTING_ROW, "", detail, projected.key)
