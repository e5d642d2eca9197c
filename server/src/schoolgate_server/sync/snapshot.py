"""Reads one snapshot of a dataset into the store, then proves it complete or says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_REPROJECTION, CHANGE_CAUSE_SOURCE
from schoolgate_sdk import ConnectorError, CountRows, Dataset, EndOfSnapshot, Incomplete, ReadBack, Row, Scope
from schoolgate_server.ingest.pipeline import DatasetIngest, Mode
from schoolgate_server.mis.asking import counted
from schoolgate_server.mis.blame import ConnectorDefect, connector_at_work
from schoolgate_server.model.failures import failure
from schoolgate_server.reconcile.absence import incompleteness
from schoolgate_server.reconcile.diff import NOTHING, Withheld
from schoolgate_server.reconcile.holds import policy_of, strange_population, suspicious_updates
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.sync.absences import Absences
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.holding import Doubts
from schoolgate_server.sync.json_rows import JsonRows
from schoolgate_server.sync.memos import SegmentMemos
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.parts import DatasetParts, dataset_parts, show_counts
from schoolgate_server.sync.progress import SHOWN_ROWS
from schoolgate_server.sync.reprojection import note_found
from schoolgate_server.sync.retention import RetainedRows
from schoolgate_server.sync.segments import read_segments
from schoolgate_server.sync.surfaces import surface_of


class SnapshotSync:
    """One snapshot of one dataset: the whole of it, or the days of ``scope``.

    ``state`` is the part of the run document that is kept true; its evidence brings the fingerprints.
    ``last`` is the last sealed whole snapshot; ``surfaces`` are the MIS's interfaces that stored records came
    from. ``reprojects``: rows may be read differently than those of the
    last snapshot, and which of the changes come from that cannot be told.
    """

    def __init__(
        self,
        context: RunContext,
        dataset: Dataset,
        scope: Scope,
        state: pb.DatasetRun,
        retained: RetainedRows,
        last: pb.DatasetRun | None,
        *,
        reprojects: bool,
        surfaces: frozenset[str] = frozenset(),
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._scope = scope
        self._state = state
        self._retained = retained
        self._last = last
        self._surfaces = surfaces
        self._mode = Mode(
            update_cause=CHANGE_CAUSE_REPROJECTION if reprojects else CHANGE_CAUSE_SOURCE,
            # A first load is committed as it comes; later, what is new may be another school's.
            streaming=last is None,
        )
        self._memos: SegmentMemos | None = None
        self._counted: int | None = None
        self._as_of = 0
        self.changes_cursor = ""

    async def run(self) -> DatasetOutcome:
        """Read and seal the snapshot.

        Raises:
            ConnectorError, ConnectorDefect: the read failed; what was read before is stored.
            LeaseLost, StoreUnavailable, RunCancelled: as elsewhere in a run.
        """
        context, retained = self._context, self._retained
        head = await context.ingest.store.leases.head(context.ingest.school_id)
        self._as_of = head.published
        parts = await dataset_parts(context, self._dataset, self._scope, mode=self._mode, retained=retained)
        ingest = parts.ingest
        if not self._is_window:  # whose rows are read under other dates than those of the whole, and are few
            self._memos = SegmentMemos(
                context, self._dataset.name, self._state.evidence, retained.sealed, parts.projector
            )
        if retained.manifest:  # the run was interrupted, perhaps in a merge
            await Absences(context, self._dataset, self._scope, parts).finish_merge()
        await self._expect_rows()
        try:
            try:
                end = await self._read(ingest)
            except BaseException:
                with suppress(ConnectorError, ConnectorDefect):  # the first error counts
                    self._note_surface()
                raise
            self._note_surface()
            self._prove(end, ingest)
            present = await self._present_holders(parts, end)
        except (LeaseLost, StoreUnavailable, asyncio.CancelledError):
            await ingest.abandon()
            raise
        except Exception:
            # What was read is true, whether or not the rest is; what looks wrong waits for a whole read.
            await ingest.settle_identities(complete=False, present=ingest.outside)
            with suppress(Incomplete):  # the first error counts
                await ingest.finish(self._withheld(parts).withheld)
            show_counts(self._state, ingest)
            raise
        return await self._seal(parts, end, present)

    async def _seal(
        self, parts: DatasetParts, end: EndOfSnapshot | None, present: frozenset[str]
    ) -> DatasetOutcome:
        ingest, state = parts.ingest, self._state
        await ingest.settle_identities(complete=self._is_complete(end), present=present)
        doubts = self._withheld(parts)
        await ingest.finish(doubts.withheld, partial(self._show, ingest))
        as_of = min((segment.seq for segment in self._retained.manifest), default=self._as_of)
        await note_found(self._context, self._dataset.name, parts.diff, as_of)
        show_counts(self._state, ingest)
        state.evidence.unidentified_rows = ingest.unidentified_rows
        state.state = pb.DATASET_STATE_SEALING
        await self._context.save()
        if end is not None and end.contradiction is not None:
            raise Incomplete(end.contradiction)
        doubt = incompleteness(state.evidence)
        if doubt is not None:
            why = failure(failures.FAILURE_TYPE_INCOMPLETE, doubt, connector=self._context.connector.name)
            return DatasetOutcome(pb.DATASET_STATE_INCOMPLETE, why)
        outcome = await Absences(self._context, self._dataset, self._scope, parts).decide(
            state.evidence, doubts
        )
        show_counts(self._state, ingest)
        if end is not None:
            self.changes_cursor = end.changes_cursor
        return outcome

    async def _present_holders(self, parts: DatasetParts, end: EndOfSnapshot | None) -> frozenset[str]:
        """Return the records that rows under new keys claim to be, and that are there all the same.

        That is, on a day that was not asked for, or for the MIS when asked.
        """
        holders = parts.ingest.relinking.absent_holders()
        if holders and self._is_complete(end) and isinstance(self._context.session, ReadBack):
            absences = Absences(self._context, self._dataset, self._scope, parts)
            return await absences.still_there(holders)
        return frozenset(parts.ingest.outside)

    def _is_complete(self, end: EndOfSnapshot | None) -> bool:
        return incompleteness(self._state.evidence) is None and (end is None or end.contradiction is None)

    def _withheld(self, parts: DatasetParts) -> Doubts:
        """Return what looks wrong among the changes that wait, and why.

        Where rows are read differently, everything may change at once, and rightly so. Where others are read,
        as under a mistyped school number, it must not.
        """
        diff = parts.diff
        strange = (
            None
            if self._last is None
            else strange_population(diff.overlap(), diff.waiting_new(), diff.live())
        )
        if strange is not None:
            return Doubts(Withheld(everything=True), (strange.explanation,))
        changed = diff.waiting_updates()
        if not changed or self._mode.update_cause == CHANGE_CAUSE_REPROJECTION:
            return Doubts(NOTHING, ())
        policy = policy_of(self._context.school, self._context.options.thresholds)
        found = suspicious_updates(changed, diff.live(), policy)
        kinds = frozenset(suspicion.kind for suspicion in found)
        return Doubts(Withheld(kinds), tuple(suspicion.explanation for suspicion in found))

    async def _expect_rows(self) -> None:
        """Tell watchers how many rows to expect: the MIS's count, else what the last sealed snapshot had."""
        session = self._context.session
        if isinstance(session, CountRows):
            self._counted = await counted(session, self._scope, self._context.options.page_timeout)
        expected = self._counted
        if expected is None and self._last is not None and not self._is_window:
            expected = self._last.rows_read
        if expected is not None:
            self._state.rows_expected = expected

    @property
    def _is_window(self) -> bool:
        return self._context.entry.run.layer == pb.SYNC_LAYER_WINDOW

    async def _read(self, ingest: DatasetIngest) -> EndOfSnapshot | None:
        """Take the whole snapshot in, from where the run was interrupted; return what is known of its end."""
        state, context, retained = self._state, self._context, self._retained
        state.rows_read = state.pages_read = 0
        cursor = ""
        if any(not segment.cursor for segment in retained.manifest):
            retained.forget()  # whoever gives no cursor begins anew, and must not be counted twice
        async with aclosing(retained.replay()) as segments:
            async for rows, segment in segments:
                await self._take(rows, JsonRows(rows), segment.digest, ingest, segment.seq)
                state.pages_read += 1
                cursor = segment.cursor
                del rows  # or they stay while the next ones are read
        retained.check()
        with connector_at_work():
            pages = context.session.read(self._scope, cursor)
        options = context.options
        async with aclosing(
            read_segments(pages, options.segment_rows, options.page_timeout, options.limits)
        ) as segments:
            async for read in segments:
                digest = await retained.keep(read.as_json)
                await self._take(read.rows, read.as_json, digest, ingest, self._as_of)
                retained.took(read, digest, self._as_of)
                state.pages_read += read.pages
                await context.save()
                retained.check()
                if read.end is not None:
                    return read.end
                del read  # or its rows stay while the next ones are read
        return None

    async def _take(
        self, rows: Sequence[Row], as_json: JsonRows, digest: bytes, ingest: DatasetIngest, as_of: int
    ) -> None:
        """Take the rows of a segment in, slice by slice, showing how far it has come.

        ``as_json`` is cleared: it takes a third as much as the rows, and nobody needs it any more.
        """
        memos = self._memos
        memo = None if memos is None else await memos.of(digest, rows, as_json)
        as_json.clear()
        for start in range(0, len(rows), SHOWN_ROWS):
            part = rows[start : start + SHOWN_ROWS]
            await ingest.take(part, as_of, memo, start)
            self._state.rows_read += len(part)
            await self._show(ingest)
        if memos is not None and memo is not None:
            await memos.keep(digest, memo)

    async def _show(self, ingest: DatasetIngest) -> None:
        show_counts(self._state, ingest)
        await self._context.show()

    def _note_surface(self) -> None:
        """Note from which of the MIS's interfaces rows came; what another one showed is out of this one's
        scope.
        """
        evidence = self._state.evidence
        evidence.surface = surface_of(self._context.session, self._dataset.name)
        if evidence.surface and self._surfaces - {"", evidence.surface}:
            evidence.scope_unchanged = False

    def _prove(self, end: EndOfSnapshot | None, ingest: DatasetIngest) -> None:
        """Put together what proves the snapshot complete, or does not."""
        evidence = self._state.evidence
        evidence.terminator_proven = end is not None and end.terminator_proven
        evidence.rows_read = self._state.rows_read
        evidence.permission_present = True  # a read without permission raises and comes to no evidence
        evidence.unidentified_rows = ingest.unidentified_rows
        counted = end.expected_rows if end is not None and end.expected_rows is not None else self._counted
        if counted is not None:
            evidence.expected_rows = counted
