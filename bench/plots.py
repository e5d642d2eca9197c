"""The plots of docs/performance.md, as SVG: the same results give the same files.

Lines and text are of a grey, and bars of colours, that show on light and dark pages; the ground is left out.
matplotlib is not installed where linters and type checkers run, hence it is imported by name, untyped.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from bench import report, results
from bench.results import Figure

_Drawing: TypeAlias = Any

_GREY: Final = "#7d8590"
_REACHED: Final = "#2a9d6e"
_MISSED: Final = "#d9822b"
_REFERENCE: Final = "#9aa5b1"
_STYLE: Final = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "legend.labelcolor": _GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "schoolgate",
    "text.color": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
}


def draw(root: Path) -> None:
    """Draw the plots again, from the results beside the document."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figures, _, _ = results.read(root / report.RESULTS)
    (root / report.PLOTS).mkdir(exist_ok=True)
    mark = report.fingerprint(root / report.RESULTS)
    with pyplot.rc_context(_STYLE):
        for name, plot in (("goals", _goals), ("sides", _sides)):
            drawn = plot(pyplot, figures)
            drawn.savefig(
                root / report.PLOTS / f"{name}.svg",
                transparent=True,
                bbox_inches="tight",
                metadata={"Date": None, "Creator": None, "Description": mark},
            )
            pyplot.close(drawn)


def _canvas(pyplot: ModuleType, bars: int) -> tuple[_Drawing, _Drawing]:
    drawn, axes = pyplot.subplots(figsize=(8, 0.6 + 0.3 * bars))
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", color=_GREY, alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(b=True)
    return drawn, axes


def _goals(pyplot: ModuleType, figures: Sequence[Figure]) -> _Drawing:
    """Draw how good each figure is, with its goal as 1: to the right of the line it is reached."""
    drawn, axes = _canvas(pyplot, len(figures))
    good = [each.value / each.goal if each.better == "higher" else each.goal / each.value for each in figures]
    names = [each.name for each in figures]
    # A bar begins at the goal, so that its length says by how much the goal is passed or missed.
    widths = [value - 1 for value in good]
    colours = [_REACHED if each.reached else _MISSED for each in figures]
    axes.barh(names, widths, left=1, color=colours, height=0.6)
    axes.axvline(1, color=_GREY, linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("times as good as the goal")
    return drawn


def _sides(pyplot: ModuleType, figures: Sequence[Figure]) -> _Drawing:
    """Draw both sides of the ratios that are rates: rows or records a second."""
    rates = [each for each in figures if each.reference is not None and "/s" in each.sides]
    drawn, axes = _canvas(pyplot, 2 * len(rates))
    places = range(len(rates))
    for shift, label, colour, values in (
        (-0.2, "ours", _REACHED, [each.ours for each in rates]),
        (0.2, "reference", _REFERENCE, [each.reference for each in rates]),
    ):
        axes.barh([place + shift for place in places], values, color=colour, height=0.38, label=label)
    axes.set_yticks([*places], [each.name for each in rates])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("rows or records a second")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return drawn
