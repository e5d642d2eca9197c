"""Figures: how they are made of runs, shown and written."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from schoolgate_server.store.mongod_binary import find_mongod

Described = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Figure:
    """One result: a ratio of ``ours`` to ``reference`` (both in ``sides``), or ``ours`` alone.

    ``goal`` is what ``value`` is compared with, by ``better``; ``details`` are other figures of its runs.
    """

    name: str
    value: float
    unit: str
    goal: float
    better: Literal["higher", "lower"]
    sides: str
    ours: float
    reference: float | None
    runs: int
    details: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def reached(self) -> bool:
        """Whether the goal was reached."""
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def ratio(
    name: str,
    ours: Sequence[float],
    reference: Sequence[float],
    *,
    sides: str,
    goal: float,
    better: Literal["higher", "lower"] = "higher",
    details: Mapping[str, float] | None = None,
) -> Figure:
    """Return the ratio of the two medians; runs are paired, because they were interleaved."""
    assert len(ours) == len(reference) >= 5
    a, b = statistics.median(ours), statistics.median(reference)
    return Figure(name, a / b, "ratio", goal, better, sides, a, b, len(ours), details or {})


def absolute(
    name: str,
    ours: Sequence[float],
    *,
    unit: str,
    goal: float,
    better: Literal["higher", "lower"] = "higher",
) -> Figure:
    """Return the median of ``ours``."""
    value = statistics.median(ours)
    return Figure(name, value, unit, goal, better, unit, value, None, len(ours))


def with_details(figure: Figure, details: Mapping[str, float]) -> Figure:
    """Return the figure with further ones of the same runs."""
    return replace(figure, details=details)


def machine() -> Described:
    """Return what the figures depend on besides the code."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "mongodb": _mongodb(),
        **{name: importlib.metadata.version(name) for name in ("dlt", "duckdb")},
    }


def _mongodb() -> str:
    told = subprocess.run([find_mongod(), "--version"], check=True, capture_output=True, text=True).stdout
    return told.splitlines()[0].rpartition("v")[2]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(path: Path, figures: Sequence[Figure], where: Described, sizes: Described) -> None:
    """Write the figures as JSON: a member per name, beside "machine" and "sizes"."""
    document: dict[str, object] = {"machine": dict(where), "sizes": dict(sizes)}
    for figure in figures:
        values = asdict(figure)
        del values["name"]
        document[figure.name] = values
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read(path: Path) -> tuple[list[Figure], Described, Described]:
    """Return the figures of a file of results, and what it says of the machine and of the sizes."""
    document: dict[str, Any] = json.loads(path.read_text())
    where, sizes = document.pop("machine"), document.pop("sizes")
    return [Figure(name, **values) for name, values in document.items()], where, sizes


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("benchmark")
    for head in ("value", "goal", "ours", "reference"):
        table.add_column(head, justify="right")
    table.add_column("sides")
    for figure in figures:
        table.add_row(
            figure.name,
            number(figure.value),
            goal(figure),
            number(figure.ours),
            "" if figure.reference is None else number(figure.reference),
            figure.sides,
            style="" if figure.reached else "yellow",
        )
    Console(width=max(120, Console().width)).print(table)


def goal(figure: Figure) -> str:
    """Return what the value should be, as a person reads it."""
    return f"{'≥' if figure.better == 'higher' else '≤'} {number(figure.goal)}"


def number(value: float) -> str:
    """Return a figure as a person reads it: two decimals, or none from a thousand on."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
