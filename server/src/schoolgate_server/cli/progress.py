"""How a run looks while it goes on: one bar per dataset, or plain lines where nobody watches a screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schoolgate.v1.sync_service_pb2 import DatasetRun, DatasetState, Run, RunState, SyncLayer
from schoolgate_server.cli import console
from schoolgate_server.cli.failures import describe

_REPORT_EVERY = 2.0
"""Seconds between two plain lines about a dataset that is still being read."""
_BAR_WIDTHS = (10, 40)
_FIXED_WIDTH = 70
"""Columns that the table takes besides the bar."""
_REPROJECTED_WIDTH = 12
"""And those of the column that is there where anything was reprojected."""

FINAL = frozenset(
    {
        RunState.RUN_STATE_SUCCEEDED,
        RunState.RUN_STATE_PARTIAL,
        RunState.RUN_STATE_FAILED,
        RunState.RUN_STATE_CANCELLED,
    }
)
"""States that a run does not leave."""

_MARKS = {
    DatasetState.DATASET_STATE_PENDING: ("·", "dim"),
    DatasetState.DATASET_STATE_READING: ("»", "cyan"),
    DatasetState.DATASET_STATE_SEALING: ("»", "cyan"),
    DatasetState.DATASET_STATE_SUCCEEDED: ("✓", "green"),
    DatasetState.DATASET_STATE_INCOMPLETE: ("!", "yellow"),
    DatasetState.DATASET_STATE_HELD: ("!", "yellow"),
    DatasetState.DATASET_STATE_FAILED: ("✗", "red"),
    DatasetState.DATASET_STATE_SKIPPED: ("–", "dim"),
}
_UNDECIDED = frozenset(
    {
        DatasetState.DATASET_STATE_PENDING,
        DatasetState.DATASET_STATE_READING,
        DatasetState.DATASET_STATE_SEALING,
    }
)


def dataset_state(dataset: DatasetRun) -> str:
    """Return where a dataset stands, as a word."""
    return DatasetState.Name(dataset.state).removeprefix("DATASET_STATE_").lower()


def run_state(run: Run) -> str:
    """Return where a run stands, as a word."""
    return RunState.Name(run.state).removeprefix("RUN_STATE_").lower()


def reads_anew(runs: Iterable[Run]) -> bool:
    """Whether any of ``runs`` wrote records because rows are read in another way; most never do."""
    return any(dataset.reprojected for run in runs for dataset in run.datasets)


def layer(value: SyncLayer.ValueType) -> str:
    """Return a layer as a word; runs from before there were layers read in full."""
    return SyncLayer.Name(value or SyncLayer.SYNC_LAYER_FULL).removeprefix("SYNC_LAYER_").lower()


def layers(run: Run) -> str:
    """Return a run's layer, with the one that datasets fell back to where any did."""
    fallen = sorted({layer(dataset.layer) for dataset in run.datasets if dataset.layer} - {layer(run.layer)})
    return "→".join((layer(run.layer), *fallen))


def fallbacks(run: Run) -> list[str]:
    """Return, line by line, which datasets were read in another way than the run's, and why."""
    why: dict[str, list[str]] = {}
    for dataset in run.datasets:
        if dataset.fallback:
            used = f"{layer(dataset.layer)}, since " if dataset.layer else ""
            why.setdefault(used + dataset.fallback, []).append(dataset.dataset)
    return [f"{', '.join(names)}: {reason}" for reason, names in why.items()]


def _bar(dataset: DatasetRun, width: int) -> ProgressBar:
    if dataset.state not in _UNDECIDED:
        return ProgressBar(total=1, completed=1, width=width)
    if dataset.state == DatasetState.DATASET_STATE_PENDING:
        return ProgressBar(total=1, completed=0, width=width)
    expected = dataset.rows_expected if dataset.HasField("rows_expected") else 0
    if not expected:
        return ProgressBar(total=None, pulse=True, width=width)
    return ProgressBar(total=expected, completed=min(dataset.rows_read, expected), width=width)


def board(run: Run, width: int) -> Table:
    """Return the datasets of ``run`` with a bar and counts each, for a screen of ``width`` columns."""
    narrow, wide = _BAR_WIDTHS
    rereads = reads_anew([run])
    heads = ["rows", "new", "changed", "reprojected", "unchanged", "left"]
    if not rereads:
        heads.remove("reprojected")
    elif width < _FIXED_WIDTH + _REPROJECTED_WIDTH + narrow:
        heads.remove("unchanged")  # what is told of least
        width += len("unchanged")
    bar_width = max(narrow, min(wide, width - _FIXED_WIDTH - (_REPROJECTED_WIDTH if rereads else 0)))
    made = Table.grid(padding=(0, 1))
    made.add_column(width=1)
    made.add_column(no_wrap=True)
    made.add_column(width=bar_width)
    for head in heads:
        made.add_column(justify="right", no_wrap=True, min_width=max(7, len(head)))
    made.add_row("", "", "", *(Text(head, style="dim") for head in heads))
    for dataset in run.datasets:
        mark, style = _MARKS.get(dataset.state, ("?", ""))
        counts = {
            "rows": dataset.rows_read,
            "new": dataset.created + dataset.revived,
            "changed": dataset.updated,
            "reprojected": dataset.reprojected,
            "unchanged": dataset.unchanged,
            "left": dataset.tombstoned,
        }
        numbers = (Text(console.number(counts[head]), style="" if counts[head] else "dim") for head in heads)
        made.add_row(
            Text(mark, style=style), console.clean(dataset.dataset), _bar(dataset, bar_width), *numbers
        )
    return made


def dataset_line(dataset: DatasetRun) -> str:
    """Return one plain line about a dataset."""
    rows = console.number(dataset.rows_read)
    if dataset.state in _UNDECIDED:
        known = f" of {console.number(dataset.rows_expected)}" if dataset.rows_expected else ""
        return f"{dataset.dataset}: {dataset_state(dataset)}, {rows}{known} rows"
    counts = (
        (dataset.created + dataset.revived, "new"),
        (dataset.updated, "changed"),
        *([(dataset.reprojected, "reprojected")] if dataset.reprojected else []),
        (dataset.unchanged, "unchanged"),
        (dataset.tombstoned, "left"),
    )
    told = ", ".join(f"{console.number(n)} {word}" for n, word in counts)
    took = console.span(dataset.started_at, dataset.finished_at)
    return f"{dataset.dataset}: {dataset_state(dataset)}, {rows} rows: {told}" + (
        f" ({took})" if took else ""
    )


class PlainReporter:
    """Writes a line when a dataset has ended, and now and then while one is read."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._write = write
        self._clock = clock
        self._ended: set[str] = set()
        self._reported = clock()

    def update(self, run: Run) -> None:
        """Report what is new in ``run``."""
        for dataset in run.datasets:
            if dataset.state == DatasetState.DATASET_STATE_PENDING or dataset.dataset in self._ended:
                continue
            ended = dataset.state not in _UNDECIDED
            if ended:
                self._ended.add(dataset.dataset)
            elif self._clock() - self._reported < _REPORT_EVERY:
                continue
            self._reported = self._clock()
            self._write(console.clean(dataset_line(dataset)))


def follow(printer: Console, states: Iterable[Run], indent: int = 0) -> Run:
    """Show ``states`` of one run as they come, ``indent`` columns in, and return the last one."""
    last = Run()
    if not printer.is_terminal:
        reporter = PlainReporter(lambda line: printer.print(" " * indent + line))
        for last in states:
            reporter.update(last)
        return last
    with Live(console=printer, refresh_per_second=10, transient=False) as live:
        for last in states:
            live.update(Padding(board(last, printer.width - indent), (0, 0, 0, indent)))
    return last


def summary(run: Run) -> str:
    """Return the outcome of a run in one line, without its id."""
    took = console.span(run.started_at, run.finished_at)
    moved = (
        f"seq {console.number(run.seq_before)} → {console.number(run.seq_after)}"
        if run.seq_after != run.seq_before
        else f"nothing written, seq stays {console.number(run.seq_after)}"
    )
    return run_state(run) + (f" in {took}" if took else "") + f", {moved}"


def complaints(run: Run) -> list[str]:
    """Return what did not go well in a run, line by line; what befell several datasets alike stands once."""
    failed: dict[tuple[str, ...], list[str]] = {}
    if run.HasField("failure"):
        failed[tuple(describe(run.failure))] = []
    for dataset in run.datasets:
        if dataset.HasField("failure"):
            failed.setdefault(tuple(describe(dataset.failure)), []).append(dataset.dataset)
    found: list[str] = []
    for (first, *rest), names in failed.items():
        found += [f"{', '.join(names)}: {first}" if names else first, *rest]
    for dataset in run.datasets:
        if dataset.held:
            held = console.amount(dataset.held, "change")
            found.append(f"{dataset.dataset}: {held} held; `schoolgate holds {run.school_id}` says why")
        if dataset.rejected_rows:
            rejected = console.amount(dataset.rejected_rows, "row")
            found.append(
                f"{dataset.dataset}: {rejected} not taken over; "
                f"`schoolgate decisions {run.school_id}` says why"
            )
    return found
