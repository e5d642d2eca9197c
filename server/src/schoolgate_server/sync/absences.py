"""Decides about the records that a complete snapshot lacks: hold, check back with the MIS, tombstone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import KIND_ENROLMENT, KIND_STUDENT, Kind
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_OUT_OF_SCOPE, Record, TombstoneReason
from schoolgate.v1.record_pb2 import SourceKey as WireKey
from schoolgate_sdk import Dataset, ReadBack, Scope, SourceKey, encode_key, kind_info
from schoolgate_server.ingest.pipeline import DatasetIngest
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.model.changes import Change
from schoolgate_server.model.dates import validity
from schoolgate_server.model.failures import failure
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.ids import kind_of
from schoolgate_server.reconcile.absence import incompleteness, tombstone_reason
from schoolgate_server.reconcile.diff import SnapshotDiff
from schoolgate_server.reconcile.holds import suspicious_deletions
from schoolgate_server.sync.blame import connector_at_work
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.holding import DoubtfulChanges, begin, close, hold, is_approved

READ_BACK_KEYS = 200
"""Keys per request when a connector is asked for single entities; its protocol promises no more."""


class AbsenceOutcome(NamedTuple):
    """How a sealed dataset ends."""

    state: pb.DatasetState.ValueType
    failure: failures.Failure | None = None
    held: int = 0


class Absences:
    """The absences of one sealed snapshot."""

    def __init__(
        self,
        context: RunContext,
        dataset: Dataset,
        scope: Scope,
        projector: Projector,
        diff: SnapshotDiff,
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._scope = scope
        self._projector = projector
        self._diff = diff
        self._store = context.ingest.store

    async def decide(
        self, ingest: DatasetIngest, evidence: pb.Evidence, updates: Sequence[Change], why: Sequence[str]
    ) -> AbsenceOutcome:
        """Tombstone what has provably left; hold or keep the rest. ``evidence`` takes what is found out.

        ``updates`` were kept back for the reasons ``why``; they are held or committed with the doubtful
        deletions, as one change set.
        """
        name = self._dataset.name
        absent = self._diff.absent()
        doubtful = self._doubtful(absent, evidence, updates, why)
        is_held = len(doubtful) > 0 and not await is_approved(self._context, name, doubtful)
        leaving = [record_id for record_id in absent if not (is_held and record_id in doubtful.deletions)]
        records = await self._last_states(leaving)
        evidence.contradicted_absences = await self._still_there(records)
        doubt = incompleteness(evidence)
        if doubt is not None:
            why_incomplete = failure(failures.FAILURE_TYPE_INCOMPLETE, doubt)
            return AbsenceOutcome(pb.DATASET_STATE_INCOMPLETE, why_incomplete)
        if not is_held:
            await begin(self._context, name, doubtful)
        await ingest.tombstone(self._tombstones(records, in_scope=evidence.scope_unchanged))
        if is_held:
            await hold(self._context, name, doubtful, sum(1 for _ in self._diff.live_ids()))
            why_held = failure(failures.FAILURE_TYPE_HELD, doubtful.explanation)
            return AbsenceOutcome(pb.DATASET_STATE_HELD, why_held, len(doubtful))
        await ingest.update(updates)
        await close(self._context, name)
        return AbsenceOutcome(pb.DATASET_STATE_SUCCEEDED)

    def _doubtful(
        self, absent: Sequence[str], evidence: pb.Evidence, updates: Sequence[Change], why: Sequence[str]
    ) -> DoubtfulChanges:
        """Return the changes that must be held, and why."""
        missing = Counter(kind_of(record_id) for record_id in absent)
        if absent and not evidence.scope_unchanged:
            reason = (
                f"{len(absent)} records are missing from the first snapshot under a changed scope: "
                "whether they left, or are only out of scope, cannot be told"
            )
            return DoubtfulChanges((*why, reason), self._versions(absent, missing), updates)
        live = Counter[Kind.ValueType]()
        if absent:
            live.update(kind_of(record_id) for record_id in self._diff.live_ids())
        found = suspicious_deletions(missing, live, self._context.options.thresholds)
        reasons = (*why, *(suspicion.explanation for suspicion in found))
        kinds = {suspicion.kind for suspicion in found}
        return DoubtfulChanges(reasons, self._versions(absent, kinds), updates)

    def _versions(self, record_ids: Sequence[str], kinds: Container[Kind.ValueType]) -> dict[str, int]:
        return {
            record_id: known.version
            for record_id in record_ids
            if kind_of(record_id) in kinds and (known := self._diff.known(record_id)) is not None
        }

    async def _last_states(self, absent: Sequence[str]) -> list[Record]:
        """Return the absent records as they are stored, less those that a rejected row may be about.

        What this very run wrote before an interruption is left to the next one (G06).
        """
        ingest, protected = self._context.ingest, self._diff.protected
        return [
            record
            for record in await self._store.records.many(ingest.school_id, absent)
            if record.run_id != ingest.run_id and not _refers_to(record, protected)
        ]

    async def _still_there(self, records: Sequence[Record]) -> int:
        """Return how many of ``records`` the MIS has after all, asked for each by its key.

        A truncated last page looks like the end of the data; this is what tells them apart.
        """
        session = self._context.session
        if not isinstance(session, ReadBack):
            return 0
        ids = {record.id for record in records}
        keys = [key for record in records if (key := self._own_key(record)) is not None]
        found: set[str] = set()
        unidentified = 0
        for start in range(0, len(keys), READ_BACK_KEYS):
            with connector_at_work():
                rows = await session.read_back(self._scope, keys[start : start + READ_BACK_KEYS])
            for row in rows:
                projection = self._projector.project(row)
                found.update(projected.record_id for projected in projection.records)
                found.update(projection.protects)  # a row that cannot be taken over is there all the same
                unidentified += projection.rejected and not projection.protects
        return len(found & ids) + unidentified

    def _own_key(self, record: Record) -> SourceKey | None:
        namespaces = {spec.namespace for spec in self._dataset.kinds if spec.kind == record.kind}
        for key in record.source_keys:
            if key.namespace in namespaces:
                return _from_wire(key)
        return None

    def _tombstones(self, records: Sequence[Record], *, in_scope: bool) -> list[Change]:
        """Return the tombstones of ``records``; under a changed scope an operator approved them."""
        if not in_scope:
            return [self._tombstone(record, TOMBSTONE_REASON_OUT_OF_SCOPE) for record in records]
        enrolment_ends: dict[str, list[str | None]] = {}
        for record in records:
            if record.kind == KIND_ENROLMENT:
                ends = enrolment_ends.setdefault(record.enrolment.student_id, [])
                ends.append(record.enrolment.valid_to or None)
        tombstones: list[Change] = []
        for record in records:
            own = getattr(_body(record), "valid_to", "") or None
            ends = enrolment_ends.get(record.id, []) if record.kind == KIND_STUDENT else [own]
            tombstones.append(self._tombstone(record, tombstone_reason(ends, self._context.today)))
        return tombstones

    def _tombstone(self, record: Record, reason: TombstoneReason.ValueType) -> Change:
        message = _body(record)
        valid_from, valid_to = validity(kind_info(record.kind), message)
        wire = message.SerializeToString(deterministic=True)
        keys = tuple(encode_key(_from_wire(key)) for key in record.source_keys)
        return Change(
            record_id=record.id,
            dataset=self._dataset.name,
            kind=record.kind,
            keys=keys,
            message=message,
            wire=wire,
            digest=content_digest(wire, keys),
            expected_version=record.version,
            valid_from=valid_from,
            valid_to=valid_to,
            tombstone=reason,
        )


def _body(record: Record) -> Message:
    body: Message = getattr(record, kind_info(record.kind).name)
    return body


def _refers_to(record: Record, targets: frozenset[str]) -> bool:
    body = _body(record)
    return any(getattr(body, field) in targets for field in kind_info(record.kind).references)


def _from_wire(key: WireKey) -> SourceKey:
    parts = tuple(part.integer if part.WhichOneof("value") == "integer" else part.text for part in key.parts)
    return SourceKey(key.namespace, parts)
