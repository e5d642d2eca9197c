"""What a run did, told from what the MIS delivered to it."""

from __future__ import annotations

import json
from collections import Counter

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from tests.simulation.base import DatasetFacts, RunFacts, require
from tests.simulation.meaning import Reading, key_of
from tests.simulation.mis import FOREIGN, UNSTORABLE, SimulatedMis
from tests.simulation.plans import Plan
from tests.simulation.world import DATASETS, Row, key_parts

_ENDS_THE_RUN = {
    failures.FAILURE_TYPE_AUTH_EXPIRED,
    failures.FAILURE_TYPE_AUTH_INVALID,
    failures.FAILURE_TYPE_RATE_LIMITED,
}
_WITHOUT_PROOF = {"unproven", "no_end", "count_disagrees", "contradiction"}
_COUNTERS = (
    *("created", "updated", "revived", "tombstoned", "reprojected", "merged"),
    *("rejected_rows", "rows_read"),
)


def facts_of(run: pb.Run, mis: SimulatedMis, plan: Plan, reading: Reading, segment_rows: int) -> RunFacts:
    """Return what a run did; checks that its own state says so."""
    read = tuple(part.dataset for part in run.datasets)
    require(read == plan.read, "run", f"{plan.read} were asked for, {read} were read")
    may_skip = bool(plan.weather.opening or plan.cancelled)
    facts: list[DatasetFacts] = []
    for part in run.datasets:
        found = _dataset_facts(part, mis, plan, segment_rows, may_skip)
        facts.append(found)
        may_skip = may_skip or part.failure.type in _ENDS_THE_RUN
    _check_state(run, plan)
    return RunFacts(frozenset({run.run_id}), reading, facts)


def _dataset_facts(
    part: pb.DatasetRun, mis: SimulatedMis, plan: Plan, segment_rows: int, may_skip: bool
) -> DatasetFacts:
    dataset, weather = part.dataset, plan.weather
    pages = [page for _, page in sorted(mis.pages.get(dataset, {}).items())]
    kept = [_kept(page) for page in pages]
    rows = [row for page in kept for row in page]
    facts = DatasetFacts(dataset, rows, False, set())
    facts.days, facts.replaced = plan.days, _kept(mis.replaced.get(dataset, []))
    facts.state = pb.DatasetState.Name(part.state).removeprefix("DATASET_STATE_")
    facts.counters = {name: getattr(part, name) for name in _COUNTERS}
    if plan.layer == pb.SYNC_LAYER_REPROJECTION:
        require(not mis.fired, "G08", "the MIS was asked where only retained rows were to be read")
        # Before a snapshot is sealed there are none.
        facts.retained, facts.expected = True, {"SUCCEEDED", "INCOMPLETE"}
        return facts
    if plan.layer == pb.SYNC_LAYER_CHANGES and part.layer != pb.SYNC_LAYER_FULL:
        _add_changes(facts, mis, may_skip=may_skip)
        return facts
    if plan.layer == pb.SYNC_LAYER_CHANGES and facts.state != "SKIPPED":
        require(part.fallback, "G10", f"{dataset} was read in full, and nobody is told why")
        facts.passing = [row for page in mis.told.get(dataset, []) for row in page.rows]
    facts.position = mis.feed.position if plan.days is None else None
    claim = weather.claim(dataset)
    at, error = weather.breaks.get(dataset, (1 << 30, ""))
    if facts.state == "SKIPPED":
        facts.expected = {"SKIPPED"} if may_skip else set()
    elif at < len(mis.content(dataset)):
        facts.expected = {"INCOMPLETE" if error == "Incomplete" else "FAILED"}
    elif any(page == [FOREIGN] for page in pages):  # a page of nothing that a MIS may have said
        facts.expected = {"FAILED"}
    elif _segment_twice(kept, segment_rows):
        facts.expected = {"INCOMPLETE"}
    else:
        facts.exact = True
        if claim in _WITHOUT_PROOF or (not facts.rows and claim not in {"counted", "empty_counted"}):
            facts.expected = {"INCOMPLETE"}
        facts.hidden = mis.shown.get(dataset, []) if weather.reads_back else []
        facts.passing += facts.hidden
        facts.read_back_error = weather.read_back_error
    return facts


def _add_changes(facts: DatasetFacts, mis: SimulatedMis, *, may_skip: bool) -> None:
    """Add what a read of changes came to."""
    dataset, weather = facts.dataset, mis.weather
    facts.targeted = True
    skipped = facts.state == "SKIPPED"
    if skipped and dataset not in mis.told:
        facts.expected = {"SKIPPED"} if may_skip else set()
        return
    require(not weather.expired, "G10", f"{dataset} has an expired position, and was not read in full")
    facts.asked = mis.positions[dataset][0]
    pages = mis.told[dataset]
    at, error = weather.breaks.get(dataset, (1 << 30, ""))
    # Whoever goes on from the position of a page that came may get past the one that did not.
    again = len(mis.positions[dataset]) > 1
    # Whoever is cancelled asks for no further page, and judges nothing of what those have.
    came = pages if again else pages[: mis.handed[dataset] if skipped else at]
    facts.position = came[-1].position if came else None
    facts.rows = [row for page in came for row in page.rows * (1 + weather.repeats)]
    facts.deleted = [key_of(dataset, parts) for page in came for parts in page.deleted]
    facts.hidden = mis.answered.get(dataset, [])  # some of them may have been created again meanwhile
    counts = Counter(repr(key_parts(dataset, row)) for page in came for row in page.rows)
    # Of several rows of one entity the last one counts, whichever the MIS has last.
    facts.exact = at >= len(pages) and not skipped and all(count == 1 for count in counts.values())
    if skipped:  # what came before it was cancelled is kept
        facts.expected = {"SKIPPED"} if may_skip else set()
        facts.read_back_error = weather.read_back_error if weather.reads_back else ""
    elif at < len(pages):
        facts.expected = {"INCOMPLETE" if error == "Incomplete" else "FAILED"}
        facts.expected |= {"SUCCEEDED", "HELD"} if again else set()
    elif facts.exact:
        facts.read_back_error = weather.read_back_error if weather.reads_back else ""
    else:
        facts.expected = {"SUCCEEDED", "HELD", "INCOMPLETE"}
        facts.expected |= {"FAILED"} if weather.read_back_error else set()


def _kept(rows: list[Row]) -> list[Row]:
    """Return ``rows`` as they are retained; what cannot be keeps its place, and is nothing."""
    return [{} if row in (UNSTORABLE, FOREIGN) else row for row in rows]


def _segment_twice(pages: list[list[Row]], segment_rows: int) -> bool:
    """Whether the same rows came twice where they are kept together."""
    segments: list[str] = []
    rows: list[Row] = []
    for index, page in enumerate(pages):
        rows += page
        if len(rows) >= segment_rows or index == len(pages) - 1:
            if rows:
                segments.append(json.dumps(rows))
            rows = []
    return len(set(segments)) < len(segments)


def _check_state(run: pb.Run, plan: Plan) -> None:
    states = {part.state for part in run.datasets}
    lost = {pb.DATASET_STATE_FAILED, pb.DATASET_STATE_SKIPPED}
    if states == {pb.DATASET_STATE_SUCCEEDED}:
        expected = {pb.RUN_STATE_SUCCEEDED}
    elif states <= lost:
        expected = {pb.RUN_STATE_FAILED}
    else:
        expected = {pb.RUN_STATE_PARTIAL}
    if plan.cancelled and states != {pb.DATASET_STATE_SUCCEEDED}:
        expected = {pb.RUN_STATE_CANCELLED}
    require(run.state in expected, "run", f"it ended {pb.RunState.Name(run.state)}: {run.failure}")


def joined(runs: list[RunFacts]) -> RunFacts:
    """Return what several runs did that read the same; each of their datasets must have ended well."""
    parts: dict[str, DatasetFacts] = {}
    for run in runs:
        for part in run.datasets:
            require(part.state == "SUCCEEDED", "G02", f"{part.dataset} ended {part.state}")
            known = parts.setdefault(part.dataset, part)
            if known is not part:
                known.counters = {name: known.counters[name] + part.counters[name] for name in _COUNTERS}
    ordered = [parts[name] for name in DATASETS if name in parts]
    return RunFacts(frozenset(run_id for run in runs for run_id in run.runs), runs[0].reading, ordered)
