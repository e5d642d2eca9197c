"""Figures: how they are made of runs, shown and written."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One result: a ratio of ``ours`` to ``reference`` (both in ``sides``), or ``ours`` alone.

    ``goal`` is what ``value`` is compared with, by ``better``; ``details`` are further figures of the same runs.
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


def machine() -> dict[str, str | int]:
    """Return what the figures depend on besides the code."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(path: Path, figures: Sequence[Figure], sizes: Mapping[str, object]) -> None:
    """Write the figures as JSON: a member per name, beside "machine" and "sizes"."""
    document: dict[str, object] = {"machine": machine(), "sizes": dict(sizes)}
    for figure in figures:
        values = asdict(figure)
        del values["name"]
        document[figure.name] = values
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("benchmark")
    for head in ("value", "goal", "ours", "reference"):
        table.add_column(head, justify="right")
    table.add_column("sides")
    for figure in figures:
        sign = "≥" if figure.better == "higher" else "≤"
        table.add_row(
            figure.name,
            _number(figure.value),
            f"{sign} {_number(figure.goal)}",
            _number(figure.ours),
            "" if figure.reference is None else _number(figure.reference),
            figure.sides,
            style="" if figure.reached else "yellow",
        )
    Console(width=max(100, Console().width)).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
