"""Reprojection: retained rows are read anew where their reading changed, before the MIS is asked for others.

What then differs comes from the reading alone and is committed as such, so that the read that follows shows
only what the school changed (G08). It rests on the rows of the last sealed snapshot:

* A record that the MIS showed in another state since is left alone: those rows are older (G07).
* A record that the rows are there for, and that is not read from them any more, is out of scope; many of them
  look wrong, like deletions, and wait for an operator.
* Done again after a crash it comes to the same end: what is written already does not differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import NamedTuple

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_REPROJECTION, TOMBSTONE_REASON_OUT_OF_SCOPE, Record
from schoolgate_sdk import Dataset, Row, Scope, kind_info
from schoolgate_server.ingest.context import EVERY_RECORD
from schoolgate_server.ingest.decisions import DecisionLog
from schoolgate_server.ingest.pipeline import DatasetIngest, Mode
from schoolgate_server.model.failures import failure
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.runs import SealedSnapshot
from schoolgate_server.reconcile.diff import NOTHING, SnapshotDiff, Withheld
from schoolgate_server.reconcile.holds import Suspicion, policy_of, strange_population, suspicious_deletions
from schoolgate_server.store.errors import RawPageMissing
from schoolgate_server.store.readings import FoundUnsealed, StoredReading
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.holding import DoubtfulChanges, begin, close, hold, is_approved, versions_of
from schoolgate_server.sync.outcome import DatasetOutcome
from schoolgate_server.sync.parts import projector_of
from schoolgate_server.sync.progress import SHOWN_ROWS
from schoolgate_server.sync.replay import retained_rows
from schoolgate_server.sync.scope import scope_of
from schoolgate_server.sync.tombstones import body_of, tombstone_of

BATCH = 1_000
"""Records that are looked at together before they are let go."""

MOST_APART = 1_000
"""Records that a read may have missed, for which it is known that it found the others; some 40 kB."""


class Reprojection(NamedTuple):
    """What became of it.

    ``apart``: what the read that follows changes can be told from what the reading changed. ``outcome`` is
    that of a run that does nothing else.
    """

    apart: bool
    outcome: DatasetOutcome = DatasetOutcome(pb.DATASET_STATE_SUCCEEDED)


async def note_found(context: RunContext, name: str, diff: SnapshotDiff, as_of: int) -> None:
    """Take note of which records a read found as they are stored, where they had been read otherwise.

    Nothing else tells: what differs has a new version, and a sealed snapshot has all of it. Its rows were
    asked for when the school's published seq was ``as_of``, or later; they are stored already.
    """
    ingest = context.ingest
    otherwise = ingest.read_otherwise.get(name)
    if not isinstance(otherwise, frozenset):
        return
    readings = ingest.store.readings
    stored = await readings.get(ingest.school_id, name) if otherwise else None
    apart = frozenset(record_id for record_id in otherwise if not diff.is_settled(record_id))
    if stored is not None and len(apart) < len(otherwise) and len(apart) <= MOST_APART:
        found = FoundUnsealed(ingest.run_id, as_of, apart)
        await readings.put(ingest.lease(), name, replace(stored, found=found))


class _Edits(NamedTuple):
    """Records that the MIS showed since the snapshot: their seqs, and those that were read in another way."""

    seqs: dict[str, int]
    read_otherwise: frozenset[str]


async def reproject(
    context: RunContext, dataset: Dataset, state: pb.DatasetRun, last: SealedSnapshot | None
) -> Reprojection:
    """Write again what the retained rows of ``last`` mean, where ``state``'s evidence names another reading.

    The run's ingest learns of which records a change that the MIS shows cannot be told from a change of the
    reading, and which ones the reading drops but an operator has yet to let go.

    Raises:
        LeaseLost, StoreUnavailable, RunCancelled: as elsewhere in a run; it is done again by the next.
    """
    return await _Reprojector(context, dataset, state, last).run()


class _Reprojector:
    def __init__(
        self, context: RunContext, dataset: Dataset, state: pb.DatasetRun, last: SealedSnapshot | None
    ) -> None:
        self._context = context
        self._dataset = dataset
        self._state = state
        self._last = last
        self._ingest = context.ingest
        self._store = context.ingest.store
        self._wanted = state.evidence.projection_fingerprint
        self._found: FoundUnsealed | None = None

    async def run(self) -> Reprojection:
        last, name = self._last, self._dataset.name
        snapshot = "" if last is None else last.run_id
        stored = await self._store.readings.get(self._ingest.school_id, name)
        if stored is not None and stored.snapshot != snapshot:
            stored = None  # another snapshot was sealed since, and all its records are under one reading
        if last is None:
            return await self._never_sealed(stored)
        in_force = last.state.evidence.projection_fingerprint if stored is None else stored.fingerprint
        if stored is None and in_force == self._wanted:
            return Reprojection(apart=True)
        self._found = None if stored is None else stored.found
        edits = await self._edits(last, in_force)
        self._ingest.read_otherwise[name] = edits.read_otherwise
        if in_force == self._wanted:
            return Reprojection(apart=True)
        if in_force:
            await self._note("")
        outcome = await self._project(last, edits)
        if outcome is None:
            return self._cannot_tell("the source rows of the last snapshot are not kept any more")
        if outcome.state == pb.DATASET_STATE_SUCCEEDED:
            await self._note(self._wanted)
        return Reprojection(apart=True, outcome=outcome)

    async def _never_sealed(self, stored: StoredReading | None) -> Reprojection:
        """Without a snapshot that was sealed there are no rows to read what was stored from anew."""
        if stored is None:
            await self._note(self._wanted)
        elif stored.fingerprint != self._wanted:
            if stored.fingerprint:
                await self._note("")
            return self._cannot_tell("no snapshot of the dataset has been sealed yet")
        return Reprojection(apart=True)

    def _cannot_tell(self, why: str) -> Reprojection:
        sentence = (
            f"{why}: what the new reading changes and what the school changes cannot be told apart, and is "
            "recorded as reprojection"
        )
        state = self._state
        if sentence not in state.fallback:
            state.fallback = f"{state.fallback}; {sentence}" if state.fallback else sentence
        self._ingest.read_otherwise[self._dataset.name] = EVERY_RECORD
        message = f"{why}; a full sync reads them"
        connector = self._context.connector.name
        return Reprojection(
            apart=False,
            outcome=DatasetOutcome(
                pb.DATASET_STATE_INCOMPLETE,
                failure(failures.FAILURE_TYPE_INCOMPLETE, message, connector=connector),
            ),
        )

    async def _note(self, fingerprint: str) -> None:
        """Store under which reading the records are; under several, until all of them are written."""
        snapshot = "" if self._last is None else self._last.run_id
        reading = StoredReading(snapshot, fingerprint, self._found)
        await self._store.readings.put(self._ingest.lease(), self._dataset.name, reading)

    async def _edits(self, last: SealedSnapshot, in_force: str) -> _Edits:
        school_id, name, since = self._ingest.school_id, self._dataset.name, _as_of(last)
        readings, kinds = self._store.readings, [spec.kind for spec in self._dataset.kinds]
        survivors = await readings.survivors(school_id, kinds)
        seqs: dict[str, int] = {}
        read_by: dict[str, tuple[int, str]] = {}
        async for batch in readings.edits(school_id, name, kinds, since, not_by=last.run_id):
            for record_id, seq, run_id in batch:
                # The rows of a merged record are its survivor's by now, and so is what was edited in them.
                both = {record_id, survivors.get(record_id, record_id)}
                reader = self._reader(both, seq, run_id)
                for each in both:
                    seqs[each] = max(seq, seqs.get(each, 0))
                    read_by[each] = max((seq, reader), read_by.get(each, (0, "")))
        async for batch in readings.reread(school_id, seqs, since):
            for record_id, seq, run_id in batch:
                each = survivors.get(record_id, record_id)
                read_by[each] = max((seq, self._reader({record_id, each}, seq, run_id)), read_by[each])
        # What this run itself read before an interruption was read as the records were then.
        known = {self._ingest.run_id: in_force}
        for run_id in {run_id for _, run_id in read_by.values()} - known.keys():
            known[run_id] = await self._reading_of(run_id)
        read_otherwise = [
            record_id for record_id, (_, run_id) in read_by.items() if known[run_id] != self._wanted
        ]
        return _Edits(seqs, frozenset(read_otherwise))

    def _reader(self, record_ids: set[str], seq: int, run_id: str) -> str:
        """Return the run that read last what ``run_id`` wrote at ``seq``."""
        found = self._found
        is_found = found is not None and all(found.covers(each, seq) for each in record_ids)
        return found.run if found is not None and is_found else run_id

    async def _reading_of(self, run_id: str) -> str:
        entry = await self._store.runs.get(self._ingest.school_id, run_id)
        states = (part for part in entry.run.datasets if part.dataset == self._dataset.name)
        return next((part.evidence.projection_fingerprint for part in states), "")

    async def _project(self, last: SealedSnapshot, edits: _Edits) -> DatasetOutcome | None:
        """Take the retained rows in; ``None`` where they are not there, or another connector's."""
        entry = await self._store.runs.get(self._ingest.school_id, last.run_id)
        foreign = entry.run.connector != self._context.connector.name
        if foreign or (not last.segments and last.state.rows_read):
            return None
        diff = SnapshotDiff(newer=edits.seqs)
        ingest = await self._open(diff, last)
        self._state.rows_read, self._state.rows_expected = 0, last.state.rows_read
        try:
            async with aclosing(self._rows(last)) as segments:
                async for rows in segments:
                    await self._take(ingest, rows, _as_of(last))
            is_clear = not ingest.relinking.holders()
            await ingest.settle_identities(complete=False, present=())
            outcome = await self._conclude(ingest, diff, is_clear=is_clear and not ingest.unidentified_rows)
        except RawPageMissing:
            with suppress(RawPageMissing):
                await ingest.finish()  # as far as the rows go, they were read
            self._count(ingest)
            return None
        except BaseException:
            await ingest.abandon()
            raise
        self._count(ingest)
        return outcome

    async def _open(self, diff: SnapshotDiff, last: SealedSnapshot) -> DatasetIngest:
        context, name = self._context, self._dataset.name
        scope = self._scope()
        window = (str(scope.date_from), str(scope.date_to)) if scope.date_from is not None else (None, None)
        async for states in self._store.records.states(self._ingest.school_id, name, *window):
            diff.add(states)
        diff.protect_newer()
        known = await self._store.decisions.known(self._ingest.school_id, name)
        log = DecisionLog(self._ingest.school_id, name, self._ingest.run_id, known)
        mode = Mode(cause=CHANGE_CAUSE_REPROJECTION, update_cause=CHANGE_CAUSE_REPROJECTION)
        return DatasetIngest(
            self._ingest,
            name,
            projector_of(context, self._dataset, scope),
            context.identities,
            diff,
            log,
            mode,
            lambda: self._rows(last),
        )

    def _scope(self) -> Scope:
        """Return the scope that the rows were read under; where that was another one, one without dates."""
        scope = scope_of(self._context.school, self._dataset, self._context.today)
        if self._state.evidence.scope_unchanged:
            return scope
        return Scope(scope.dataset, scope.academic_year)

    def _rows(self, last: SealedSnapshot) -> AsyncGenerator[list[Row]]:
        return retained_rows(self._store, self._ingest.school_id, self._dataset.name, last.segments)

    async def _take(self, ingest: DatasetIngest, rows: Sequence[Row], as_of: int) -> None:
        for start in range(0, len(rows), SHOWN_ROWS):
            part = rows[start : start + SHOWN_ROWS]
            await ingest.take(part, as_of)
            self._state.rows_read += len(part)
            self._count(ingest)
            await self._context.show()

    async def _conclude(self, ingest: DatasetIngest, diff: SnapshotDiff, *, is_clear: bool) -> DatasetOutcome:
        """Commit what differs; let go what is not read any more, hold it, or leave it to the read to hold.

        ``is_clear``: every row was identified. Nothing is dropped for its absence otherwise, nor where other
        rows than these are asked for by now.
        """
        absent = diff.absent() if is_clear and self._state.evidence.scope_unchanged else []
        withheld, doubtful = self._doubts(diff, absent)
        is_held = len(doubtful) > 0 and not await is_approved(self._context, self._dataset.name, doubtful)
        if doubtful and not is_held:
            await begin(self._context, self._dataset.name, doubtful)
        await ingest.finish(withheld if is_held else NOTHING)
        held: Container[str] = doubtful.deletions if is_held else ()
        await self._drop(ingest, diff, [record_id for record_id in absent if record_id not in held])
        if not is_held:
            if doubtful:
                await close(self._context, self._dataset.name)
            return DatasetOutcome(pb.DATASET_STATE_SUCCEEDED)
        self._ingest.dropped[self._dataset.name] = frozenset(doubtful.deletions)
        if self._context.entry.run.layer == pb.SYNC_LAYER_REPROJECTION:
            await hold(self._context, self._dataset.name, doubtful, diff.live().total())
        why = failure(
            failures.FAILURE_TYPE_HELD, doubtful.explanation, connector=self._context.connector.name
        )
        return DatasetOutcome(pb.DATASET_STATE_HELD, why, len(doubtful))

    def _doubts(self, diff: SnapshotDiff, absent: Sequence[str]) -> tuple[Withheld, DoubtfulChanges]:
        """Return what looks wrong: a reading that drops much of a kind, or knows none of its records."""
        missing = Counter(kind_of(record_id) for record_id in absent)
        live = diff.live()
        strange = strange_population(diff.overlap(), diff.waiting_new(), live)
        if strange is not None:
            withheld = Withheld(everything=True)
            return withheld, DoubtfulChanges(
                (_explain(strange),),
                versions_of(diff, absent, missing),
                list(diff.withheld_changes(withheld)),
            )
        policy = policy_of(self._context.school, self._context.options.thresholds)
        found = suspicious_deletions(missing, live, policy)
        kinds = {suspicion.kind for suspicion in found}
        reasons = tuple(_explain(suspicion) for suspicion in found)
        return NOTHING, DoubtfulChanges(reasons, versions_of(diff, absent, kinds))

    async def _drop(self, ingest: DatasetIngest, diff: SnapshotDiff, record_ids: Sequence[str]) -> None:
        for start in range(0, len(record_ids), BATCH):
            some = record_ids[start : start + BATCH]
            records = await self._store.records.many(self._ingest.school_id, some)
            await ingest.tombstone(
                [
                    tombstone_of(
                        record, self._dataset.name, TOMBSTONE_REASON_OUT_OF_SCOPE, CHANGE_CAUSE_REPROJECTION
                    )
                    for record in records
                    # A row that is rejected may be about what refers to its record, too.
                    if not any(diff.is_protected(target) for target in _targets(record))
                ]
            )

    def _count(self, ingest: DatasetIngest) -> None:
        state = self._state
        state.reprojected = ingest.totals.reprojected
        state.unchanged, state.rejected_rows = ingest.unchanged, ingest.rejected_rows


def _targets(record: Record) -> list[str]:
    """Return the records that ``record`` refers to."""
    body = body_of(record)
    return [target for field in kind_info(record.kind).references if (target := getattr(body, field))]


def _explain(suspicion: Suspicion) -> str:
    name = kind_info(suspicion.kind).name
    return (
        f"{suspicion.number} of {suspicion.live} {name} records: a new reading of the same rows drops them, "
        "or knows others in their place; the school changed nothing"
    )


def _as_of(last: SealedSnapshot) -> int:
    """Return the published seq when the first of the sealed rows was asked for: what came later is newer.

    The run that sealed them may have gone on for long after that, and others may have come in between.
    """
    return min((segment.seq for segment in last.segments), default=last.seq)
