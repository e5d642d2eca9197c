"""Decides about the records that a complete snapshot lacks: hold, ask the MIS again, tombstone or merge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import KIND_ENROLMENT, KIND_STUDENT
from schoolgate.v1.record_pb2 import (
    CHANGE_CAUSE_REPROJECTION,
    CHANGE_CAUSE_SOURCE,
    TOMBSTONE_REASON_OUT_OF_SCOPE,
    Record,
    TombstoneReason,
)
from schoolgate_sdk import Dataset, ReadBack, Scope, SourceKey, kind_info
from schoolgate_server.ingest.identity import Key
from schoolgate_server.ingest.merging import merge_changes
from schoolgate_server.mis.asking import READ_BACK_KEYS, asked_back
from schoolgate_server.model.batches import batched
from schoolgate_server.model.changes import Change
from schoolgate_server.model.failures import failure
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.wire_keys import encode_wire_key, from_wire
from schoolgate_server.reconcile.absence import incompleteness, tombstone_reason
from schoolgate_server.reconcile.evidence import fields_of
from schoolgate_server.reconcile.holds import policy_of, suspicious_deletions
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.holding import (
    DoubtfulChanges,
    Doubts,
    begin,
    close,
    hold,
    is_approved,
    versions_of,
)
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.parts import DatasetParts
from schoolgate_server.sync.proposals import propose
from schoolgate_server.sync.tombstones import body_of, tombstone_of

BATCH = 1_000
"""Absent records that are looked at together."""


class Absences:
    """The absences of one sealed snapshot."""

    def __init__(self, context: RunContext, dataset: Dataset, scope: Scope, parts: DatasetParts) -> None:
        self._context = context
        self._dataset = dataset
        self._scope = scope
        self._parts = parts
        self._diff = parts.diff
        self._store = context.ingest.store
        self._outside = parts.ingest.outside
        self._left: set[str] = set()
        self._enrolment_ends: defaultdict[str, list[str | None]] = defaultdict(list)

    async def decide(self, evidence: pb.Evidence, doubts: Doubts) -> DatasetOutcome:
        """Tombstone what has provably left; hold or keep the rest. ``evidence`` takes what is found out.

        What ``doubts`` withhold is held or committed with the doubtful deletions, as one change set. A record
        that this run wrote stays (G06): the outcome is INCOMPLETE, for there is no row that says what is
        stored of it, and rows of sealed snapshots do so.
        """
        name = self._dataset.name
        absent = self._diff.absent()
        doubtful = self._doubtful(absent, evidence, doubts)
        is_held = len(doubtful) > 0 and not await is_approved(self._context, name, doubtful)
        leaving = [record_id for record_id in absent if not (is_held and record_id in doubtful.deletions)]
        evidence.contradicted_absences = await self._look_again(leaving)
        doubt = incompleteness(evidence)
        if doubt is not None:
            return self._incomplete(doubt)
        if not is_held:
            await begin(self._context, name, doubtful)
        has_evidence = any(fields_of(spec.kind) for spec in self._dataset.kinds)
        created = self._diff.written_new() if has_evidence else []
        await self._let_go(leaving, in_scope=evidence.scope_unchanged)
        await propose(self._context, name, created, leaving)
        if is_held:
            if not self._is_window or not await self._is_another_open(doubtful):
                await hold(self._context, name, doubtful, self._diff.live().total())
            connector = self._context.connector.name
            why = failure(failures.FAILURE_TYPE_HELD, doubtful.explanation, connector=connector)
            return DatasetOutcome(pb.DATASET_STATE_HELD, why, len(doubtful))
        await self._parts.ingest.finish()
        if not self._is_window or len(doubtful) > 0:
            await close(self._context, name)
        if self._left:
            return self._incomplete(
                f"{len(self._left)} records were written before the run was interrupted, and were gone when "
                "it went on; the next run decides about them"
            )
        return DatasetOutcome(pb.DATASET_STATE_SUCCEEDED)

    def _incomplete(self, why: str) -> DatasetOutcome:
        told = failure(failures.FAILURE_TYPE_INCOMPLETE, why, connector=self._context.connector.name)
        return DatasetOutcome(pb.DATASET_STATE_INCOMPLETE, told)

    @property
    def _is_window(self) -> bool:
        """Whether the snapshot is of some days only, and says nothing of what a whole one found doubtful."""
        return self._context.entry.run.layer == pb.SYNC_LAYER_WINDOW

    async def _is_another_open(self, doubtful: DoubtfulChanges) -> bool:
        """Whether another change set of the dataset waits for an operator already, or was approved."""
        digest = doubtful.digest
        return any(
            each.dataset == self._dataset.name and each.digest != digest
            for each in await self._store.holds.list(self._context.ingest.school_id)
        )

    def _doubtful(self, absent: Sequence[str], evidence: pb.Evidence, doubts: Doubts) -> DoubtfulChanges:
        """Return the changes that must be held, and why."""
        missing = Counter(kind_of(record_id) for record_id in absent)
        updates = list(self._diff.withheld_changes(doubts.withheld))
        if absent and not evidence.scope_unchanged:
            reason = (
                f"{len(absent)} records are missing from the first snapshot under a changed scope: "
                "whether they left, or are only out of scope, cannot be told"
            )
            return DoubtfulChanges(
                (*doubts.reasons, reason), versions_of(self._diff, absent, missing), updates
            )
        policy = policy_of(self._context.school, self._context.options.thresholds)
        found = suspicious_deletions(missing, self._diff.live(), policy)
        reasons = (*doubts.reasons, *(suspicion.explanation for suspicion in found))
        kinds = missing if doubts.withheld.everything else {suspicion.kind for suspicion in found}
        return DoubtfulChanges(reasons, versions_of(self._diff, absent, kinds), updates)

    async def _look_again(self, leaving: Sequence[str]) -> int:
        """Return how many of the absent records the MIS has after all, asked for each by its key.

        A truncated last page looks like the end of the data; this is what tells them apart.
        """
        contradicted = 0
        for some in batched(leaving, BATCH):
            records = await self._last_states(some)
            for record in records:
                if record.kind == KIND_ENROLMENT:
                    ends = self._enrolment_ends[record.enrolment.student_id]
                    ends.append(record.enrolment.valid_to or None)
            found, unidentified = await self._ask(records)
            contradicted += len(found) + unidentified
        return contradicted

    async def still_there(self, record_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the records that the MIS has, asked for each by its key, on whatever day."""
        found: frozenset[str] = frozenset()
        for some in batched(record_ids, BATCH):
            records = await self._store.records.many(self._context.ingest.school_id, some)
            found |= (await self._ask(records))[0]
        return found | self._outside.intersection(record_ids)

    async def _last_states(self, absent: Sequence[str]) -> list[Record]:
        """Return the absent records as they are stored, less those that a rejected row may be about.

        What this very run wrote before an interruption is left to the next one (G06).
        """
        records = [
            record
            for record in await self._store.records.many(self._context.ingest.school_id, absent)
            if not self._refers_to_protected(record)
            and not (self._is_window and record.id in self._outside)  # it, or whoever has its key
        ]
        self._left.update(record.id for record in records if self._is_of_this_run(record))
        return [record for record in records if record.id not in self._left]

    def _is_of_this_run(self, record: Record) -> bool:
        """Whether this run wrote the record from a row that it read; reprojections and merges do not."""
        return record.run_id == self._context.ingest.run_id and record.cause == CHANGE_CAUSE_SOURCE

    def _refers_to_protected(self, record: Record) -> bool:
        body = body_of(record)
        references = (getattr(body, field) for field in kind_info(record.kind).references)
        return any(self._diff.is_protected(target) for target in references if target)

    async def _ask(self, records: Sequence[Record]) -> tuple[frozenset[str], int]:
        """Return which of ``records`` the MIS has, and how many rows it sent that could be any of them."""
        session = self._context.session
        if not isinstance(session, ReadBack):
            return frozenset(), 0
        keys = [key for record in records for key in self._own_keys(record)]
        found: set[str] = set()
        unidentified = 0
        for some in batched(keys, READ_BACK_KEYS):
            rows = await asked_back(session, self._scope, some, self._context.options.page_timeout)
            await self._parts.projector.know(rows)
            for row in rows:
                projection = self._parts.projector.project(row)
                found.update(projected.record_id for projected in projection.records)
                found.update(projection.protects)  # a row that cannot be taken over is there all the same
                self._outside.update(projection.outside)
                unidentified += projection.rejected and not projection.protects
        return frozenset(found & {record.id for record in records}), unidentified

    def _own_keys(self, record: Record) -> list[SourceKey]:
        """Return the keys that the dataset finds rows by; any of several may be the one that is left."""
        namespaces = {spec.namespace for spec in self._dataset.kinds if spec.kind == record.kind}
        return [from_wire(key) for key in record.source_keys if key.namespace in namespaces]

    async def _let_go(self, leaving: Sequence[str], *, in_scope: bool) -> None:
        """Tombstone the records that left; those that were merged into another one at the MIS, into that."""
        ingest = self._parts.ingest
        for some in batched(leaving, BATCH):
            records = await self._last_states(some)
            await self._context.identities.look_up(_own_key(record) for record in records)
            survivors = self._survivors(records)
            await ingest.tombstone(
                [
                    self._tombstone(record, in_scope=in_scope)
                    for record in records
                    if record.id not in survivors
                ]
            )
            for record in records:
                if record.id in survivors:
                    await self._merge(record.id, survivors[record.id])

    def _survivors(self, records: Sequence[Record]) -> dict[str, str]:
        """Return, for each record whose key a live record's row brings, that other record."""
        merges = self._parts.ingest.relinking.merges
        return {
            record.id: survivor
            for record in records
            if (survivor := merges.get(record.id) or self._tied_to(record))
            and self._diff.is_observed(survivor)
        }

    def _tied_to(self, record: Record) -> str:
        """Return the record that a merge cut short by a crash tied the own key to; "" where there is none."""
        holder = self._context.identities.own(*_own_key(record))
        return "" if holder == record.id else holder

    async def finish_merge(self) -> None:
        """Complete the merge that an interruption of this run may have cut short; there is one at most.

        It comes before any row: to the keys and references that are left, rows would do the same as if the
        school had changed them.
        """
        ingest = self._context.ingest
        for kind, key, survivor_id, _ in await self._store.identities.linked_by(
            ingest.school_id, ingest.run_id
        ):
            loser_id = self._context.identities.minter.mint(kind, key)
            known = self._diff.known(loser_id)
            if loser_id != survivor_id and known is not None and known.live:
                await self._merge(loser_id, survivor_id)
                return
        if not self._parts.ingest.totals.merged:
            return
        loser = await self._store.references.last_merged(ingest.school_id, ingest.run_id)
        if loser is not None and loser.dataset == self._dataset.name:
            await self._merge(loser.record_id, loser.merged_into, counted=True)

    async def _merge(self, loser_id: str, survivor_id: str, *, counted: bool = False) -> None:
        school_id = self._context.ingest.school_id
        merge = await merge_changes(self._store, school_id, loser_id, survivor_id)
        keys = [alias.key for alias in merge.aliases]
        self._context.identities.link(kind_of(loser_id), keys, merge.survivor_id)
        await self._parts.ingest.merge(merge.changes, counted=counted)
        await self._store.proposals.close(school_id, loser_id)

    def _tombstone(self, record: Record, *, in_scope: bool) -> Change:
        name = self._dataset.name
        if record.id in self._context.ingest.dropped.get(name, ()):  # its row is there, and read otherwise
            return tombstone_of(record, name, TOMBSTONE_REASON_OUT_OF_SCOPE, CHANGE_CAUSE_REPROJECTION)
        return tombstone_of(record, name, self._reason(record, in_scope=in_scope))

    def _reason(self, record: Record, *, in_scope: bool) -> TombstoneReason.ValueType:
        if not in_scope or record.id in self._outside:  # an operator approved it, or its day says so
            return TOMBSTONE_REASON_OUT_OF_SCOPE
        own = getattr(body_of(record), "valid_to", "") or None
        ends = self._enrolment_ends.get(record.id, []) if record.kind == KIND_STUDENT else [own]
        return tombstone_reason(ends, self._context.today)


def _own_key(record: Record) -> Key:
    """Return the key that the record's id was made from."""
    return record.kind, encode_wire_key(record.source_keys[0])
