"""The generated parts of docs/performance.md, each between two markers; the rest is written by people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import results
from bench.results import Described, Figure

RESULTS: Final = Path("bench/results.json")
DOCUMENT: Final = Path("docs/performance.md")
PLOTS: Final = Path("docs/performance")

_BEGIN: Final = "<!-- written by `make bench`: {} -->"
_END: Final = "<!-- end of what `make bench` wrote -->"


def update(root: Path) -> None:
    """Write the generated parts of the document again, from the results beside it."""
    document = root / DOCUMENT
    document.write_text(renewed(document.read_text(), root / RESULTS))


def renewed(text: str, path: Path) -> str:
    """Return the document's ``text`` with the generated parts as the results at ``path`` make them.

    Raises:
        LookupError: a part has no markers.
    """
    figures, machine, sizes = results.read(path)
    for name, part in (("machine", describe(machine, sizes)), ("table", table(figures))):
        begin = _BEGIN.format(name)
        pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(_END)}", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            raise LookupError(begin)
        text = f"{text[: found.start()]}{begin}\n\n{part}\n\n{_END}{text[found.end() :]}"
    return text


def fingerprint(path: Path) -> str:
    """Return what a plot is marked with, for to tell of which results it is."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def describe(machine: Described, sizes: Described) -> str:
    """Return a paragraph on the machine, and one on how much work was done."""
    size = {name: int(value) for name, value in sizes.items()}
    quick = "**These are the small sizes of `make bench-quick`, a smoke test and no measurement.** "
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, "
        f"Python {machine['python']}, MongoDB {machine['mongodb']}, dlt {machine['dlt']} with DuckDB "
        f"{machine['duckdb']}. Server, simulated MIS, MongoDB and whoever measures share the cores.\n\n"
        f"{quick if size['quick'] else ''}"
        f"A school of {size['pupils']:,} pupils with a year of marks; growth between schools of "
        f"{size['few_pupils']:,} and {size['many_pupils']:,}. {size['runs']} runs of each side, interleaved; "
        f"{size['points']:,} single reads, {size['commits']:,} followed commits and "
        f"{size['writes']:,} writes in each."
    )


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table, and below it what else was measured in the same runs."""
    lines = ["| | value | goal | | ours | reference | of what |", "|---|--:|--:|---|--:|--:|---|"]
    for figure in figures:
        reference = "" if figure.reference is None else results.number(figure.reference)
        unit = "" if figure.unit == "ratio" else f" {figure.unit}"
        lines.append(
            f"| `{figure.name}` | {results.number(figure.value)}{unit} | {results.goal(figure)} | "
            f"{verdict(figure)} | {results.number(figure.ours)} | {reference} | {figure.sides} |"
        )
    further = [
        f"* `{figure.name}` — "
        + "; ".join(f"{name}: {results.number(value)}" for name, value in figure.details.items())
        for figure in figures
        if figure.details
    ]
    return "\n".join([*lines, "", *further])


def verdict(figure: Figure) -> str:
    """Return whether the goal was reached, and else by how much it was missed, as a part of the goal."""
    if figure.reached:
        return "reached"
    return f"**missed by {abs(figure.value / figure.goal - 1):.0%}**"
