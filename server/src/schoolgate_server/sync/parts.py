"""What one dataset of one run works with: comparison, projector, decisions, and the way into the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Dataset, Incomplete, Row, Scope
from schoolgate_server.ingest.decisions import DecisionLog
from schoolgate_server.ingest.pipeline import DatasetIngest, Mode
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.reconcile.diff import SnapshotDiff
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.retention import RetainedRows


@dataclass(frozen=True, slots=True)
class DatasetParts:
    """The parts of one dataset's work in one run."""

    context: RunContext
    diff: SnapshotDiff
    projector: Projector
    log: DecisionLog
    ingest: DatasetIngest

    async def know(self, rows: Sequence[Row], *ids: str) -> None:
        """Load what is stored of the records that ``rows`` and ``ids`` are about, where it is not loaded."""
        wanted = set(ids)
        await self.projector.know(rows)
        for row in rows:
            projection = self.projector.project(row)
            wanted.update(projected.record_id for projected in projection.records)
            wanted.update(claim.holder for claim in projection.claims)
            wanted.update(projection.protects)
        unknown = sorted(record_id for record_id in wanted if self.diff.known(record_id) is None)
        records = self.context.ingest.store.records
        async for states in records.states_of(self.context.ingest.school_id, unknown):
            self.diff.add(states)


def show_counts(state: pb.DatasetRun, ingest: DatasetIngest) -> None:
    """Put the counters of ``ingest`` into ``state``."""
    totals = ingest.totals
    state.created, state.updated, state.revived = totals.created, totals.updated, totals.revived
    state.tombstoned, state.unchanged = totals.tombstoned, ingest.unchanged
    state.reprojected, state.merged = totals.reprojected, totals.merged
    state.rejected_rows = ingest.rejected_rows


def projector_of(context: RunContext, dataset: Dataset, scope: Scope) -> Projector:
    """Return the projector for rows that are read under ``scope``."""
    settings = context.connection.settings
    return Projector(dataset, scope, settings, context.shaper, context.identities)


async def dataset_parts(
    context: RunContext,
    dataset: Dataset,
    scope: Scope,
    *,
    mode: Mode,
    retained: RetainedRows | None = None,
    whole: bool = True,
) -> DatasetParts:
    """Return the parts for one dataset.

    ``whole``: the comparison knows every record within ``scope`` (a snapshot); otherwise it knows none until
    :meth:`DatasetParts.know` names them. ``retained`` holds the rows that are taken, of an interrupted run
    those from before too; what others wrote since those were read is newer.
    """
    ingest, name = context.ingest, dataset.name
    newer: dict[str, int] = {}
    if retained is not None and retained.manifest:
        since = min(segment.seq for segment in retained.manifest)
        async for batch in ingest.store.records.newer(ingest.school_id, name, since, not_by=ingest.run_id):
            newer.update(batch)
    diff = SnapshotDiff(newer=newer)
    if whole:
        window = (str(scope.date_from), str(scope.date_to)) if scope.date_from is not None else (None, None)
        async for states in ingest.store.records.states(ingest.school_id, name, *window):
            diff.add(states)
    diff.protect_newer()
    known = await ingest.store.decisions.known(ingest.school_id, name)
    log = DecisionLog(ingest.school_id, name, ingest.run_id, known)
    projector = projector_of(context, dataset, scope)
    # Nothing is stored under other days where nothing is stored at all, as before a first load.
    looks_up = (
        whole
        and scope.date_from is not None
        and await ingest.store.records.has_any(ingest.school_id, [spec.kind for spec in dataset.kinds])
    )
    taken = DatasetIngest(
        ingest,
        name,
        projector,
        context.identities,
        diff,
        log,
        replace(mode, looks_up=looks_up),
        None if retained is None else partial(_rows_of, retained),
    )
    return DatasetParts(context, diff, projector, log, taken)


async def _rows_of(retained: RetainedRows) -> AsyncGenerator[Sequence[Row]]:
    """Yield the rows that were taken.

    Raises:
        Incomplete: some are not there any more.
    """
    segments_taken = len(retained.manifest)
    async with aclosing(retained.replay()) as segments:
        async for rows, _ in segments:
            yield rows
            del rows  # or they stay while the next ones are read
    if len(retained.manifest) < segments_taken:
        raise Incomplete("retained rows are gone, with changes that were to be taken from them")
