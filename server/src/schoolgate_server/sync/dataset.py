"""Syncs one dataset of a run, in the layer that the run asks for, and says how it ended."""

from __future__ import annotations

from datetime import date

from loguru import logger

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import AuthExpired, AuthInvalid, ConnectorError, Dataset, Incomplete
from schoolgate_server.mis.blame import ConnectorDefect
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import from_defect, place_of
from schoolgate_server.model.runs import SealedSnapshot
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.sync.changes import store_checkpoint, sync_changes, sync_targets
from schoolgate_server.sync.context import CredentialsSuperseded, RunCancelled, RunContext
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.reprojection import reproject
from schoolgate_server.sync.retention import RetainedRows
from schoolgate_server.sync.scope import dataset_of, projection_fingerprint, scope_fingerprint, scope_of
from schoolgate_server.sync.snapshot import SnapshotSync

WHOLE_SNAPSHOTS = frozenset({pb.SYNC_LAYER_UNSPECIFIED, pb.SYNC_LAYER_FULL})

RUNS_PER_LOOK = 20
MOST_LOOKS = 10
"""Runs that are looked through for those since the last sealed snapshot: 200, a day's worth of small ones."""


class DatasetSync:
    """One dataset within one run. ``state`` is the part of the run document that it keeps true."""

    def __init__(self, context: RunContext, name: str, state: pb.DatasetRun) -> None:
        self._context = context
        self._name = name
        self._state = state
        self._store = context.ingest.store
        self._retained = RetainedRows(context, name)
        self._was_begun_differently = False
        self._surfaces: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Sync the dataset. What a connector does wrong ends in the dataset's state, not in an exception.

        Raises:
            LeaseLost: another server owns the school now.
            StoreUnavailable: MongoDB does not answer.
            ServiceError: the vault cannot be used.
            CredentialsSuperseded: the dataset has not ended; another session goes on where it stands.
        """
        state = self._state
        state.state = pb.DATASET_STATE_READING
        if not state.HasField("started_at"):
            state.started_at.FromDatetime(self._context.ingest.clock())
        await self._context.save()
        last = await self._store.runs.last_sealed(self._context.ingest.school_id, self._name)
        self._retained.sealed = () if last is None else last.segments
        try:
            self._end(await self._sync(last))
        except (LeaseLost, ServiceError, StoreUnavailable):
            raise
        except RunCancelled:
            self._end(DatasetOutcome(pb.DATASET_STATE_SKIPPED))
        except ConnectorError as error:
            if isinstance(error, AuthExpired | AuthInvalid) and await self._context.superseded():
                raise CredentialsSuperseded from error
            incomplete = isinstance(error, Incomplete)
            ended = pb.DATASET_STATE_INCOMPLETE if incomplete else pb.DATASET_STATE_FAILED
            self._end(DatasetOutcome(ended, self._context.failure(error)))
        except ConnectorDefect as error:
            why = from_defect(error.defect, self._context.connector.name)
            self._end(DatasetOutcome(pb.DATASET_STATE_FAILED, why))
        except Exception as error:  # noqa: BLE001 - the other datasets go on; the state and the log say why
            logger.error("dataset {} failed: {}", self._name, place_of(error))
            self._end(DatasetOutcome(pb.DATASET_STATE_FAILED, from_defect(error, None)))
        if state.state != pb.DATASET_STATE_SKIPPED:
            await self._context.save()
        # After that, for an owner that has lost the school does not come here: the rows are its successor's.
        await self._prune(last)

    async def _sync(self, last: SealedSnapshot | None) -> DatasetOutcome:
        context, state = self._context, self._state
        dataset = dataset_of(context.school, context.connector, self._name)
        await self._mark_evidence(dataset, last)
        if last is None and await self._store.moves.has_moved(context.ingest.school_id):
            # What is stored of it may come from another MIS: its absence here proves nothing (G08).
            state.evidence.scope_unchanged = False
        scope = scope_of(context.school, dataset, context.today, self._window())
        reprojection = await reproject(context, dataset, state, last)
        layer = context.entry.run.layer
        if layer == pb.SYNC_LAYER_REPROJECTION:
            return reprojection.outcome
        done: DatasetOutcome | None = None
        if layer == pb.SYNC_LAYER_TARGETED:
            done = await sync_targets(context, dataset, scope, state)
        elif layer == pb.SYNC_LAYER_CHANGES:
            done = await sync_changes(context, dataset, scope, state)
        if done is not None:
            return done
        snapshot = SnapshotSync(
            context,
            dataset,
            scope,
            state,
            self._retained,
            None if last is None else last.state,
            reprojects=self._was_begun_differently or not reprojection.apart,
            surfaces=self._surfaces,
        )
        outcome = await snapshot.run()
        # Nothing is known of what changed outside of a window, so that its position would pass unread data.
        is_whole = self._layer() in WHOLE_SNAPSHOTS
        if is_whole and outcome.state == pb.DATASET_STATE_SUCCEEDED and snapshot.changes_cursor:
            await store_checkpoint(context, self._name, snapshot.changes_cursor)
        return outcome

    async def _mark_evidence(self, dataset: Dataset, last: SealedSnapshot | None) -> None:
        """Note under which scope and projection rows are read; another scope begins the snapshot anew."""
        context, evidence = self._context, self._state.evidence
        asked = scope_fingerprint(context.school, context.connector, dataset, context.today)
        if evidence.scope_fingerprint not in {"", asked}:
            self._retained.forget()  # what was read before the interruption answers another question
        meanings = resolve_meanings(context.connector.code_meanings, context.school.code_mappings)
        projected = projection_fingerprint(context.school, context.connector, dataset, meanings)
        self._was_begun_differently = evidence.projection_fingerprint not in {"", projected}
        evidence.scope_fingerprint, evidence.projection_fingerprint = asked, projected
        since = await self._evidence_since(last)
        evidence.scope_unchanged = {each.scope_fingerprint for each in since} <= {asked}
        self._surfaces = frozenset(each.surface for each in since)

    async def _evidence_since(self, last: SealedSnapshot | None) -> list[pb.Evidence]:
        """Return how stored records were read: the sealed snapshot's evidence, and those of later reads.

        A read that could not be sealed stores what it read all the same; from a snapshot under another scope
        that is missing without having left.
        """
        school_id, own = self._context.ingest.school_id, self._context.ingest.run_id
        found: list[pb.Evidence] = [] if last is None else [last.state.evidence]
        before: str | None = None
        for _ in range(MOST_LOOKS):
            entries = await self._store.runs.list(school_id, before, RUNS_PER_LOOK)
            for entry in entries:
                if last is not None and entry.run.run_id == last.run_id:
                    return found
                if entry.run.run_id != own:
                    found.extend(
                        part.evidence
                        for part in entry.run.datasets
                        if part.dataset == self._name and part.created + part.updated + part.revived
                    )
            if len(entries) < RUNS_PER_LOOK:
                break
            before = entries[-1].run.run_id
        return found

    def _window(self) -> tuple[date, date] | None:
        run = self._context.entry.run
        if run.layer != pb.SYNC_LAYER_WINDOW:
            return None
        return date.fromisoformat(run.date_from), date.fromisoformat(run.date_to)

    async def _prune(self, last: SealedSnapshot | None) -> None:
        """Keep the rows of the last sealed whole snapshot, and those that another run will be resumed from.

        This dataset has ended, and is never resumed.
        """
        is_whole = self._layer() in WHOLE_SNAPSHOTS
        if is_whole and self._state.state == pb.DATASET_STATE_SUCCEEDED:
            keep = list(self._retained.manifest)
        else:
            keep = [] if last is None else list(last.segments)
        for entry in await self._store.runs.unfinished(self._context.ingest.school_id):
            if entry.run.run_id != self._context.ingest.run_id:
                keep += entry.manifest.get(self._name, [])
        await self._retained.prune(keep)

    def _layer(self) -> pb.SyncLayer.ValueType:
        """Return the layer in which the dataset was read: a fallback's, else the run's."""
        return self._state.layer or self._context.entry.run.layer

    def _end(self, outcome: DatasetOutcome) -> None:
        self._state.state = outcome.state
        self._state.held = outcome.held
        self._state.finished_at.FromDatetime(self._context.ingest.clock())
        if outcome.failure is not None:
            self._state.failure.CopyFrom(outcome.failure)
