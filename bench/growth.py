"""Growth from 200,000 marks to 2,000,000, and the memory that the server takes for the larger school."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pymongo import MongoClient

from bench import altered_mis, progress, results, source
from bench.checks import check_counts, check_marks, rows_read
from bench.sizes import Sizes
from bench.stage import DATABASE, MIS_NUMBER, SEED, Service, Stage, simulated
from schoolgate.v1.sync_service_pb2 import Run
from schoolgate_server.cli.demo.mis import Simulator
from schoolgate_server.store.indexes import INDEXES

_BULK = ("records", "history", "raw_pages", "memos")
"""The collections that grow with the rows."""

_FIRST, _UNCHANGED, _CHANGED = "first load", "unchanged", "every mark changed"


@dataclass(slots=True)
class _School:
    """The runs of one school, by their kind: the seconds of each, and its most memory above idle, in MiB."""

    stage: Stage
    rows: int = 0
    records: int = 0
    id: str = ""
    seconds: dict[str, list[float]] = field(default_factory=lambda: {_FIRST: [], _UNCHANGED: []})
    peaks: dict[str, list[float]] = field(default_factory=lambda: {_FIRST: [], _UNCHANGED: []})

    def load(self, idle: float) -> None:
        """Load the school under a new id, and once more unchanged."""
        self.id = self.stage.register()
        run = self._timed(_FIRST, idle)
        assert rows_read(run) == self.rows, f"{rows_read(run)} rows were read instead of {self.rows}"
        self.records = sum(dataset.created for dataset in run.datasets)
        check_counts(run, created=self.records)
        check_counts(self._timed(_UNCHANGED, idle), unchanged=self.records)

    def _timed(self, kind: str, idle: float) -> Run:
        with peak_of(self.stage.service.pid) as peak:
            began = time.perf_counter()
            run = self.stage.sync(self.id)
            self.seconds[kind].append(time.perf_counter() - began)
        self.peaks[kind].append(peak[0] - idle)
        return run


def measure(service: Service, sizes: Sizes, runs: int) -> list[results.Figure]:
    """Return growth and memory of the server, which has not loaded anything before.

    Each load is into a database that was emptied, so that all find the same.
    """
    idle = resident(service.pid, "VmRSS")
    with ExitStack() as simulators:
        progress.say("growth: simulating the schools")
        few = _School(simulators.enter_context(simulated(service, sizes.few_pupils)))
        many = _School(simulators.enter_context(simulated(service, sizes.many_pupils)))
        for school in (few, many):
            school.rows, _ = source.decode(school.stage)  # makes the simulator's pages
        for _ in progress.rounds("growth: few marks, many marks", runs):
            for school in (few, many):
                _empty(service)
                school.load(idle)
        # Of the loads, whose counts are all checked, the last one's contents: reading all would take minutes.
        check_marks(many.stage, many.id)
    many.peaks[_CHANGED] = [_change_all(many, sizes.many_pupils) - idle]
    return [_growth(few, many), _memory(many, idle)]


def _growth(few: _School, many: _School) -> results.Figure:
    """Return the growth of the kind of run that grows most."""
    marks = [school.stage.world.count_marks() for school in (few, many)]
    figures = {
        kind: results.ratio(
            "growth",
            many.seconds[kind],
            few.seconds[kind],
            sides=f"s: {marks[1]:,} marks, {marks[0]:,}, {kind}",
            goal=11,
            better="lower",
        )
        for kind in (_FIRST, _UNCHANGED)
    }
    worst = max(figures.values(), key=lambda figure: figure.value)
    return results.with_details(worst, {kind: figure.value for kind, figure in figures.items()})


def _memory(many: _School, idle: float) -> results.Figure:
    """Return the most memory that any of the runs took."""
    peaks = {kind: max(taken) for kind, taken in many.peaks.items()}
    figure = results.absolute("memory_per_run", [max(peaks.values())], unit="MiB", goal=300, better="lower")
    details = {f"{kind} (MiB)": most for kind, most in peaks.items()}
    return results.with_details(figure, {**details, "idle (MiB)": idle})


def _empty(service: Service) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(service.mongo_uri)
    with client:
        for name in _BULK:
            client[DATABASE].drop_collection(name)
            client[DATABASE][name].create_indexes(INDEXES[name])


def _change_all(school: _School, pupils: int) -> float:
    """Sync once after every mark changed in the MIS; return the server's peak in MiB.

    The simulator has ended: one in which all marks have one code takes its place.
    """
    progress.say("memory: every mark changed")
    stage = school.stage
    changed = sum(mark.code != altered_mis.CODE for mark in stage.world.marks())
    with _altered(stage.simulator, pupils), peak_of(stage.service.pid) as peak:
        run = stage.sync(school.id)
    check_counts(run, updated=changed, unchanged=school.records - changed)
    check_marks(stage, school.id, altered_mis.CODE)
    return peak[0]


@contextmanager
def _altered(simulator: Simulator, pupils: int) -> Generator[None]:
    credentials = simulator.credentials
    options = {
        "--port": str(urlsplit(simulator.url).port),
        "--seed": str(SEED),
        "--pupils": str(pupils),
        "--school": str(MIS_NUMBER),
        "--application-id": credentials["application_id"],
        "--application-secret": credentials["application_secret"],
    }
    given = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "bench.altered_mis", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the altered MIS ended"
            yield
        finally:
            process.terminate()


@contextmanager
def peak_of(pid: int) -> Generator[list[float]]:
    """Measure the most memory that a process has while the block lasts: one figure in MiB, at its end."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    peak: list[float] = []
    yield peak
    peak.append(resident(pid, "VmHWM"))


def resident(pid: int, field_name: str) -> float:
    """Return a line of a process's memory in MiB: VmRSS, or VmHWM for the peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field_name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field_name)
