"""Syncs one dataset: reads its snapshot into the store, then proves it complete or says why not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from loguru import logger

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import ConnectorError, CountRows, Dataset, EndOfSnapshot, Incomplete, Row
from schoolgate_server.ingest.decisions import DecisionLog
from schoolgate_server.ingest.pipeline import DatasetIngest
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.model.changes import Change
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import failure, from_defect, place_of
from schoolgate_server.model.ids import kind_of
from schoolgate_server.reconcile.absence import incompleteness
from schoolgate_server.reconcile.diff import Known, SnapshotDiff
from schoolgate_server.reconcile.holds import suspicious_updates
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.sync.absences import Absences
from schoolgate_server.sync.blame import ConnectorDefect, connector_at_work
from schoolgate_server.sync.context import RunCancelled, RunContext
from schoolgate_server.sync.retention import RetainedRows
from schoolgate_server.sync.scope import fingerprint, scope_of
from schoolgate_server.sync.segments import read_segments

SHOWN_ROWS = 10_000
"""Rows between two states that watchers see."""


class DatasetSync:
    """One dataset within one run. ``state`` is the part of the run document that it keeps true."""

    def __init__(self, context: RunContext, dataset: Dataset, state: pb.DatasetRun) -> None:
        self._context = context
        self._dataset = dataset
        self._state = state
        self._scope = scope_of(context.school, dataset, context.today)
        self._fingerprint = fingerprint(context.school, context.connector, dataset, self._scope)
        self._store = context.ingest.store
        self._retained = RetainedRows(context, dataset.name)
        self._counted: int | None = None

    async def run(self) -> None:
        """Sync the dataset. What a connector does wrong ends in the dataset's state, not in an exception.

        Raises:
            LeaseLost: another server owns the school now.
            StoreUnavailable: MongoDB does not answer.
            ServiceError: the vault cannot be used.
        """
        state = self._state
        state.state = pb.DATASET_STATE_READING
        if not state.HasField("started_at"):
            state.started_at.FromDatetime(self._context.ingest.clock())
        await self._context.save()
        sealed = await self._store.runs.last_sealed(self._context.ingest.school_id, self._dataset.name)
        last, last_segments = sealed if sealed is not None else (None, [])
        try:
            await self._sync(last)
        except (LeaseLost, ServiceError, StoreUnavailable):
            raise
        except RunCancelled:
            self._end(pb.DATASET_STATE_SKIPPED, None)
        except Incomplete as error:
            self._end(pb.DATASET_STATE_INCOMPLETE, self._context.failure(error))
        except ConnectorError as error:
            self._end(pb.DATASET_STATE_FAILED, self._context.failure(error))
        except ConnectorDefect as error:
            self._end(pb.DATASET_STATE_FAILED, from_defect(error.defect, self._context.connector.name))
        except Exception as error:  # noqa: BLE001 - the other datasets go on; the state and the log say why
            logger.error("dataset {} failed: {}", self._dataset.name, place_of(error))
            self._end(pb.DATASET_STATE_FAILED, from_defect(error, None))
        # An ended dataset is never resumed, so only a sealed snapshot's rows are of use.
        succeeded = state.state == pb.DATASET_STATE_SUCCEEDED
        await self._retained.prune(self._retained.manifest if succeeded else last_segments)
        if state.state != pb.DATASET_STATE_SKIPPED:
            await self._context.save()

    async def _sync(self, last: pb.DatasetRun | None) -> None:
        context = self._context
        diff = SnapshotDiff(await self._stored_records())
        projector = Projector(
            self._dataset, self._scope, context.connection.settings, context.shaper, context.identities
        )
        school_id = context.ingest.school_id
        known = await self._store.decisions.known(school_id, self._dataset.name)
        log = DecisionLog(school_id, self._dataset.name, context.ingest.run_id, known)
        ingest = DatasetIngest(context.ingest, self._dataset.name, projector, context.identities, diff, log)
        await self._expect_rows(last)
        try:
            end = await self._read(ingest)
        except (LeaseLost, StoreUnavailable, asyncio.CancelledError):
            await ingest.abandon()
            raise
        except Exception:
            # What was read is true, whether or not the rest is; what looks wrong waits for a whole read.
            self._keep_back(ingest, diff, self._evidence(None, last))
            await ingest.finish()
            self._count(ingest)
            raise
        evidence = self._evidence(end, last)
        updates, why = self._keep_back(ingest, diff, evidence)
        await ingest.finish()
        self._count(ingest)
        evidence.unidentified_rows = ingest.unidentified_rows
        state = self._state
        state.state = pb.DATASET_STATE_SEALING
        state.evidence.CopyFrom(evidence)
        await context.save()
        if end is not None and end.contradiction is not None:
            raise Incomplete(end.contradiction)
        doubt = incompleteness(evidence)
        if doubt is not None:
            self._end(pb.DATASET_STATE_INCOMPLETE, failure(failures.FAILURE_TYPE_INCOMPLETE, doubt))
            return
        absences = Absences(context, self._dataset, self._scope, projector, diff)
        outcome = await absences.decide(ingest, state.evidence, updates, why)
        self._count(ingest)
        state.held = outcome.held
        self._end(outcome.state, outcome.failure)

    def _keep_back(
        self, ingest: DatasetIngest, diff: SnapshotDiff, evidence: pb.Evidence
    ) -> tuple[Sequence[Change], Sequence[str]]:
        """Return updates that look wrong, not to be committed with the others, and why they do.

        Under a changed scope everything may change at once, and rightly so.
        """
        changed = ingest.deferred_kinds() if evidence.scope_unchanged else None
        if not changed:
            return (), ()
        live = Counter(kind_of(record_id) for record_id in diff.live_ids())
        found = suspicious_updates(changed, live, self._context.options.thresholds)
        kinds = {suspicion.kind for suspicion in found}
        return ingest.take_back(kinds), [suspicion.explanation for suspicion in found]

    async def _stored_records(self) -> list[tuple[str, Known]]:
        window = (
            (str(self._scope.date_from), str(self._scope.date_to))
            if self._scope.date_from is not None
            else (None, None)
        )
        stored: list[tuple[str, Known]] = []
        async for batch in self._store.records.states(
            self._context.ingest.school_id, self._dataset.name, *window
        ):
            stored += [
                (record_id, Known(digest, version, live)) for record_id, digest, version, live, _ in batch
            ]
        return stored

    async def _expect_rows(self, last: pb.DatasetRun | None) -> None:
        """Tell watchers how many rows to expect: the MIS's count, else what the last sealed snapshot had."""
        session = self._context.session
        if isinstance(session, CountRows):
            with connector_at_work():
                self._counted = await session.count(self._scope)
        expected = last.rows_read if self._counted is None and last is not None else self._counted
        if expected is not None:
            self._state.rows_expected = expected

    async def _read(self, ingest: DatasetIngest) -> EndOfSnapshot | None:
        """Take the whole snapshot in, from where the run was interrupted; return what is known of its end."""
        state, context, retained = self._state, self._context, self._retained
        if state.evidence.scope_fingerprint not in {"", self._fingerprint}:
            retained.forget()  # what was read before the interruption answers another question
        state.evidence.scope_fingerprint = self._fingerprint
        state.rows_read = state.pages_read = 0
        cursor = ""
        async with aclosing(retained.replay()) as segments:
            async for rows, after in segments:
                await self._take(rows, ingest)
                state.pages_read += 1
                cursor = after
        with connector_at_work():
            pages = context.session.read(self._scope, cursor)
        options = context.options
        async with aclosing(read_segments(pages, options.segment_rows, options.page_timeout)) as segments:
            async for segment in segments:
                digest = await retained.keep(segment.rows)
                await self._take(segment.rows, ingest)
                repeated = retained.took(segment, digest)
                state.pages_read += segment.pages
                await context.save()
                if repeated:
                    raise Incomplete("the MIS sent the same rows twice as different pages")
                if segment.end is not None:
                    return segment.end
        return None

    async def _take(self, rows: Sequence[Row], ingest: DatasetIngest) -> None:
        """Take rows in, slice by slice, showing how far it has come."""
        for start in range(0, len(rows), SHOWN_ROWS):
            part = rows[start : start + SHOWN_ROWS]
            await ingest.take(part)
            self._state.rows_read += len(part)
            self._count(ingest)
            await self._context.show()

    def _evidence(self, end: EndOfSnapshot | None, last: pb.DatasetRun | None) -> pb.Evidence:
        evidence = pb.Evidence(
            terminator_proven=end is not None and end.terminator_proven,
            rows_read=self._state.rows_read,
            permission_present=True,  # a read without permission raises EntityDenied and comes to no evidence
            scope_unchanged=last is None or last.evidence.scope_fingerprint == self._fingerprint,
            scope_fingerprint=self._fingerprint,
        )
        counted = end.expected_rows if end is not None and end.expected_rows is not None else self._counted
        if counted is not None:
            evidence.expected_rows = counted
        return evidence

    def _count(self, ingest: DatasetIngest) -> None:
        state, totals = self._state, ingest.totals
        state.created, state.updated, state.revived = totals.created, totals.updated, totals.revived
        state.tombstoned, state.unchanged = totals.tombstoned, ingest.unchanged
        state.rejected_rows = ingest.rejected_rows

    def _end(self, state: pb.DatasetState.ValueType, why: failures.Failure | None) -> None:
        self._state.state = state
        self._state.finished_at.FromDatetime(self._context.ingest.clock())
        if why is not None:
            self._state.failure.CopyFrom(why)
