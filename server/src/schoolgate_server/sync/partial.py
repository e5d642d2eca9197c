"""Takes in rows of single entities, without a snapshot around them: absence is not theirs to decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_DELETED_IN_MIS, Record
from schoolgate_sdk import Dataset, ReadBack, Row, Scope, SourceKey
from schoolgate_server.ingest.decisions import Finding
from schoolgate_server.ingest.pipeline import Mode
from schoolgate_server.ingest.projection import Projected
from schoolgate_server.mis.asking import READ_BACK_KEYS, asked_back
from schoolgate_server.model.batches import batched
from schoolgate_server.model.failures import failure
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.questions import Question
from schoolgate_server.model.wire_keys import from_wire
from schoolgate_server.reconcile.diff import NOTHING, Withheld
from schoolgate_server.reconcile.holds import Suspicion, policy_of, suspicious_deletions, suspicious_updates
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.holding import DoubtfulChanges, begin, close, hold, is_approved
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.parts import DatasetParts, dataset_parts, show_counts
from schoolgate_server.sync.tombstones import tombstone_of


class PartialRead:
    """Some rows of one dataset. Until :meth:`finish` nothing is committed.

    ``state`` is the part of the run document that is kept true. ``as_of`` is the school's published seq
    before the first row was asked for.
    """

    def __init__(
        self,
        context: RunContext,
        dataset: Dataset,
        scope: Scope,
        state: pb.DatasetRun,
        parts: DatasetParts,
        as_of: int,
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._scope = scope
        self._state = state
        self._parts = parts
        self._as_of = as_of
        self._store = context.ingest.store
        self._is_tied = self._is_mixed = False
        self._policy = policy_of(context.school, context.options.thresholds)

    @classmethod
    async def of(
        cls, context: RunContext, dataset: Dataset, scope: Scope, state: pb.DatasetRun
    ) -> PartialRead:
        """Return the read, about to begin."""
        head = await context.ingest.store.leases.head(context.ingest.school_id)
        parts = await dataset_parts(context, dataset, scope, mode=Mode(), whole=False)
        state.rows_read = state.pages_read = 0
        return cls(context, dataset, scope, state, parts, head.published)

    async def about(self, rows: Sequence[Row]) -> frozenset[str]:
        """Return the records that ``rows`` are about, taken over or not."""
        await self._parts.projector.know(rows)
        projections = [self._parts.projector.project(row) for row in rows]
        seen = {projected.record_id for projection in projections for projected in projection.records}
        return frozenset(seen.union(*(projection.protects for projection in projections)))

    async def show(self, rows: int) -> None:
        """Let watchers see that so many rows have been read, one page more than before."""
        self._state.rows_read = rows
        self._state.pages_read += 1
        await self._context.show()

    @property
    def doubt(self) -> str | None:
        """Why only a whole snapshot can decide about what was taken; ``None`` where nothing is in doubt."""
        if self._is_tied:
            return "a row came under a key that was tied to a record, which may have a row of its own"
        if self._parts.ingest.relinking.holders():
            return "a row came under a new key with the further key of a record"
        if self._is_mixed:
            return "of the records of one row, some changed again in the same read and others did not"
        return None

    async def take(self, rows: Sequence[Row]) -> None:
        """Take rows in; there is one per entity."""
        await self._parts.know(rows)
        await self._parts.ingest.take(rows, self._as_of)
        await self._parts.projector.know(rows)
        for row in rows:
            records = self._parts.projector.project(row).records
            self._is_tied |= not all(projected.own for projected in records)
        show_counts(self._state, self._parts.ingest)

    async def take_changes(self, rows: Sequence[Row]) -> None:
        """Take rows in, in the order in which they came to be: of an entity, the last one counts (G07)."""
        latest: list[Row] = []
        seen: dict[str, bytes] = {}
        await self._parts.projector.know(rows)
        for row in reversed(rows):
            records = self._parts.projector.project(row).records
            stale = [seen.get(each.record_id, each.digest) != each.digest for each in records]
            self._is_mixed |= any(stale) and not all(stale)
            if records and all(stale):
                self._parts.log.record(_overtaken(records[0]), self._context.ingest.clock())
                continue
            seen.update((each.record_id, each.digest) for each in records if each.record_id not in seen)
            latest.append(row)
        await self.take(latest)

    async def abandon(self) -> None:
        """Forget what was taken."""
        await self._parts.ingest.abandon()

    async def finish(self, deleted: Collection[str] = ()) -> DatasetOutcome:
        """Commit what was taken, let go of the records ``deleted`` in the MIS, and hold what looks wrong.

        A record that this run wrote stays (G06): the outcome is INCOMPLETE, and the same changes, read again,
        find it as it is and let it go.
        """
        ingest, name = self._parts.ingest, self._dataset.name
        await ingest.settle_identities(complete=False, present=())
        updates = await self._strange_updates()
        withheld = Withheld(frozenset(suspicion.kind for suspicion in updates)) if updates else NOTHING
        await ingest.finish(withheld)
        # What is stored stays so, whatever the MIS answers about the rest.
        show_counts(self._state, self._parts.ingest)
        leaving = await self._leaving(deleted)
        written = [record for record in leaving if record.run_id == self._context.ingest.run_id]
        leaving = [record for record in leaving if record.run_id != self._context.ingest.run_id]
        doubtful = await self._doubtful(leaving, withheld, updates)
        is_held = len(doubtful) > 0 and not await is_approved(self._context, name, doubtful)
        if not is_held:
            await begin(self._context, name, doubtful)
        for some in batched(leaving, READ_BACK_KEYS):
            await ingest.tombstone(
                [
                    tombstone_of(record, name, TOMBSTONE_REASON_DELETED_IN_MIS)
                    for record in some
                    if not (is_held and record.id in doubtful.deletions)
                ]
            )
        if not is_held and len(doubtful):
            await ingest.finish()
            await close(self._context, name)
        show_counts(self._state, self._parts.ingest)
        if is_held:
            live = await self._live({kind_of(record_id) for record_id, _, _ in doubtful.each()})
            await hold(self._context, name, doubtful, live.total())
            return self._ended(pb.DATASET_STATE_HELD, doubtful.explanation, len(doubtful))
        if written:
            why = (
                f"{len(written)} records were changed and deleted within one read; the next one lets them go"
            )
            return self._ended(pb.DATASET_STATE_INCOMPLETE, why)
        return DatasetOutcome(pb.DATASET_STATE_SUCCEEDED)

    def _ended(self, state: pb.DatasetState.ValueType, why: str, held: int = 0) -> DatasetOutcome:
        types = {
            pb.DATASET_STATE_HELD: failures.FAILURE_TYPE_HELD,
            pb.DATASET_STATE_INCOMPLETE: failures.FAILURE_TYPE_INCOMPLETE,
        }
        told = failure(types[state], why, connector=self._context.connector.name)
        return DatasetOutcome(state, told, held)

    async def _strange_updates(self) -> list[Suspicion]:
        changed = self._parts.diff.waiting_updates()
        return suspicious_updates(changed, await self._live(changed), self._policy) if changed else []

    async def _leaving(self, deleted: Collection[str]) -> list[Record]:
        """Return the live records among ``deleted`` that the MIS, asked for each by its key, has no more."""
        school_id = self._context.ingest.school_id
        leaving: list[Record] = []
        for some in batched(sorted(deleted), READ_BACK_KEYS):
            records = [
                record
                for record in await self._store.records.many(school_id, some)
                if not record.HasField("tombstone") and self._own_key(record) is not None
            ]
            there = await self._still_there(records)
            self._state.evidence.contradicted_absences += len(there)
            leaving += [record for record in records if record.id not in there]
        return leaving

    async def _still_there(self, records: Sequence[Record]) -> frozenset[str]:
        session = self._context.session
        keys = [key for record in records if (key := self._own_key(record)) is not None]
        if not isinstance(session, ReadBack) or not keys:
            return frozenset()
        rows = await asked_back(session, self._scope, keys, self._context.options.page_timeout)
        await self._parts.projector.know(rows)
        projections = [self._parts.projector.project(row) for row in rows]
        found = {projected.record_id for projection in projections for projected in projection.records}
        found.update(*(projection.protects for projection in projections))
        ids = {record.id for record in records}
        if any(projection.rejected and not projection.protects for projection in projections):
            return frozenset(ids)  # such a row may be any of them
        return frozenset(found & ids)

    def _own_key(self, record: Record) -> SourceKey | None:
        """Return the key that the dataset finds the record by; ``None`` for a record that has several.

        Which of them the MIS deleted says nothing about the others, so that one is left to the next snapshot.
        """
        namespaces = {spec.namespace for spec in self._dataset.kinds if spec.kind == record.kind}
        own = [key for key in record.source_keys if key.namespace in namespaces]
        return from_wire(own[0]) if len(own) == 1 else None

    async def _doubtful(
        self, leaving: Sequence[Record], withheld: Withheld, updates: Sequence[Suspicion]
    ) -> DoubtfulChanges:
        """Return the changes that must be held, and why."""
        missing = Counter(record.kind for record in leaving)
        found = suspicious_deletions(missing, await self._live(missing), self._policy) if leaving else []
        kinds = {suspicion.kind for suspicion in found}
        return DoubtfulChanges(
            tuple(suspicion.explanation for suspicion in (*updates, *found)),
            {record.id: record.version for record in leaving if record.kind in kinds},
            list(self._parts.diff.withheld_changes(withheld)) if updates else [],
        )

    async def _live(self, kinds: Collection[Kind.ValueType]) -> Counter[Kind.ValueType]:
        """Count the school's live records of ``kinds``."""
        school_id = self._context.ingest.school_id
        head = await self._store.leases.head(school_id)
        return Counter(
            {
                kind: await self._store.records.count(school_id, kind, Question(), head.published)
                for kind in kinds
            }
        )


def _overtaken(projected: Projected) -> Finding:
    detail = "a later change in the same read took its place"
    return Finding(diagnostics.DECISION_REASON_OLDER_KNOWLEDGE, "", detail, projected.key)
