"""Syncs one dataset: reads its snapshot into the store, then proves it complete or says why not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import ConnectorError, CountRows, Dataset, EndOfSnapshot, Incomplete, Row
from schoolgate_server.ingest.decisions import DecisionLog
from schoolgate_server.ingest.pipeline import DatasetIngest
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.model.changes import Change
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import failure, from_defect
from schoolgate_server.model.hashing import rows_digest
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.runs import Segment
from schoolgate_server.reconcile.absence import incompleteness
from schoolgate_server.reconcile.diff import Known, SnapshotDiff
from schoolgate_server.reconcile.holds import suspicious_updates
from schoolgate_server.store.errors import LeaseLost, RawPageMissing, StoreUnavailable
from schoolgate_server.sync.absences import Absences
from schoolgate_server.sync.context import RunCancelled, RunContext
from schoolgate_server.sync.scope import fingerprint, scope_of
from schoolgate_server.sync.segments import SegmentRows, decode_rows, encode_rows, read_segments

SHOWN_ROWS = 10_000
"""Rows between two states that watchers see."""


class DatasetSync:
    """One dataset within one run. ``state`` is the part of the run document that it keeps true."""

    def __init__(self, context: RunContext, dataset: Dataset, state: pb.DatasetRun) -> None:
        self._context = context
        self._dataset = dataset
        self._state = state
        self._scope = scope_of(context.school, dataset, context.today)
        self._store = context.ingest.store

    async def run(self) -> None:
        """Sync the dataset. What a connector does wrong ends in the dataset's state, not in an exception.

        Raises:
            LeaseLost: another server owns the school now.
            StoreUnavailable: MongoDB does not answer.
            ServiceError: the vault cannot be used.
        """
        state, clock = self._state, self._context.ingest.clock
        state.state = pb.DATASET_STATE_READING
        if not state.HasField("started_at"):
            state.started_at.FromDatetime(clock())
        await self._context.save()
        try:
            await self._sync()
        except (LeaseLost, ServiceError, StoreUnavailable):
            raise
        except RunCancelled:
            self._end(pb.DATASET_STATE_SKIPPED, None)
            return
        except Incomplete as error:
            self._end(pb.DATASET_STATE_INCOMPLETE, self._context.failure(error))
        except ConnectorError as error:
            self._end(pb.DATASET_STATE_FAILED, self._context.failure(error))
        except Exception as error:  # noqa: BLE001 - a stranger's connector may raise anything; the run goes on
            self._end(pb.DATASET_STATE_FAILED, from_defect(error, self._context.connector.name))
        await self._context.save()

    async def _sync(self) -> None:
        context = self._context
        diff = SnapshotDiff(await self._stored_records())
        projector = Projector(
            self._dataset, self._scope, context.connection.settings, context.shaper, context.identities
        )
        school_id = context.ingest.school_id
        known = await self._store.decisions.known(school_id, self._dataset.name)
        log = DecisionLog(school_id, self._dataset.name, context.ingest.run_id, known)
        ingest = DatasetIngest(context.ingest, self._dataset.name, projector, context.identities, diff, log)
        last = await self._store.runs.last_sealed(school_id, self._dataset.name)
        await self._expect_rows(last[0] if last else None)
        try:
            end = await self._read(ingest)
        except (LeaseLost, StoreUnavailable, asyncio.CancelledError):
            await ingest.abandon()
            raise
        except Exception:
            # What was read is true, whether or not the rest is; what looks wrong waits for a whole read.
            self._keep_back(ingest, diff, self._evidence(None, last[0] if last else None))
            await ingest.finish()
            self._count(ingest)
            raise
        evidence = self._evidence(end, last[0] if last else None)
        updates, why = self._keep_back(ingest, diff, evidence)
        await ingest.finish()
        self._count(ingest)
        evidence.unidentified_rows = ingest.unidentified_rows
        state = self._state
        state.state = pb.DATASET_STATE_SEALING
        state.evidence.CopyFrom(evidence)
        await context.save()
        doubt = incompleteness(evidence) or (end.contradiction if end is not None else None)
        if doubt is not None:
            self._end(pb.DATASET_STATE_INCOMPLETE, failure(failures.FAILURE_TYPE_INCOMPLETE, doubt))
            return
        absences = Absences(context, self._dataset, self._scope, projector, diff)
        outcome = await absences.decide(ingest, state.evidence, updates, why)
        self._count(ingest)
        state.held = outcome.held
        self._end(outcome.state, outcome.failure)
        if outcome.state == pb.DATASET_STATE_SUCCEEDED:
            await self._prune()

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
                (record_id, Known(digest, version, live)) for record_id, digest, version, live in batch
            ]
        return stored

    async def _expect_rows(self, last: pb.DatasetRun | None) -> None:
        """Tell watchers how many rows to expect: the MIS's count, else what the last sealed snapshot had."""
        session = self._context.session
        expected = await session.count(self._scope) if isinstance(session, CountRows) else None
        if expected is None and last is not None:
            expected = last.rows_read
        if expected is not None:
            self._state.rows_expected = expected

    async def _read(self, ingest: DatasetIngest) -> EndOfSnapshot | None:
        """Take the whole snapshot in, from where the run was interrupted; return what is known of its end."""
        state, context = self._state, self._context
        manifest = context.entry.manifest.setdefault(self._dataset.name, [])
        state.rows_read = state.pages_read = 0
        cursor = await self._replay(manifest, ingest)
        pages = context.session.read(self._scope, cursor)
        segments = read_segments(pages, context.options.segment_rows, context.options.page_timeout)
        async with aclosing(segments):
            async for segment in segments:
                await self._take_segment(segment, manifest, ingest)
                if segment.end is not None:
                    return segment.end
        return None

    async def _take_segment(
        self, segment: SegmentRows, manifest: list[Segment], ingest: DatasetIngest
    ) -> None:
        """Retain a segment, take it in, and note that the run has come this far.

        Raises:
            Incomplete: the same rows came before in this snapshot.
        """
        payload = encode_rows(segment.rows)
        digest = rows_digest(payload)
        repeated = bool(segment.rows) and any(earlier.digest == digest for earlier in manifest)
        await self._retain(digest, payload)
        await self._take(segment.rows, ingest)
        manifest.append(Segment(digest, segment.cursor, len(segment.rows)))
        self._state.pages_read += segment.pages
        await self._context.save()
        if repeated:
            raise Incomplete("the MIS sent the same rows twice as different pages")

    async def _retain(self, digest: bytes, payload: bytes) -> None:
        """Keep source rows, sealed; rows that are kept already cost no write."""
        school_id = self._context.ingest.school_id
        if not await self._store.raw_pages.has(school_id, self._dataset.name, digest):
            sealed = await self._store.row_seal.seal(school_id, payload)
            await self._store.raw_pages.put(school_id, self._dataset.name, digest, sealed)

    async def _replay(self, manifest: list[Segment], ingest: DatasetIngest) -> str:
        """Take retained segments of an interrupted run in again; return the cursor to go on from."""
        cursor = ""
        school_id = self._context.ingest.school_id
        for index, segment in enumerate(manifest):
            try:
                sealed = await self._store.raw_pages.get(school_id, self._dataset.name, segment.digest)
            except RawPageMissing:
                del manifest[index:]
                break
            payload = await self._store.row_seal.unseal(school_id, sealed)
            await self._take(decode_rows(payload), ingest)
            cursor = segment.cursor
            self._state.pages_read += 1
        return cursor

    async def _take(self, rows: Sequence[Row], ingest: DatasetIngest) -> None:
        """Take rows in, slice by slice, showing how far it has come."""
        for start in range(0, len(rows), SHOWN_ROWS):
            part = rows[start : start + SHOWN_ROWS]
            await ingest.take(part)
            self._state.rows_read += len(part)
            self._count(ingest)
            await self._context.show()

    def _evidence(self, end: EndOfSnapshot | None, last: pb.DatasetRun | None) -> pb.Evidence:
        context = self._context
        scope_fingerprint = fingerprint(context.school, context.connector, self._dataset, self._scope)
        evidence = pb.Evidence(
            terminator_proven=end is not None and end.terminator_proven,
            rows_read=self._state.rows_read,
            permission_present=True,
            scope_unchanged=last is None or last.evidence.scope_fingerprint == scope_fingerprint,
            scope_fingerprint=scope_fingerprint,
        )
        if end is not None and end.expected_rows is not None:
            evidence.expected_rows = end.expected_rows
        return evidence

    async def _prune(self) -> None:
        """Keep the rows of this sealed snapshot, and no others."""
        manifest = self._context.entry.manifest[self._dataset.name]
        keep = {segment.digest for segment in manifest}
        await self._store.raw_pages.prune(self._context.ingest.school_id, self._dataset.name, keep)

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
