"""Which seeds run, in blocks; a summary of what they met, and a record of it where one is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.simulation.blocks import gathered
from tests.simulation.writing import judging

VARIABLE = "SCHOOLGATE_TEST_SEEDS"
RECORD_VARIABLE = "SCHOOLGATE_TEST_RECORD"
"""Names a file that the summary is written to as JSON."""
DEFAULT = 48
"""Histories in an ordinary test run: about half a minute on one core."""
BLOCK = 8
_FAULT = "fault: "
_BEGAN = time.monotonic()


def seeds_of(text: str) -> range:
    """Return the seeds that ``text`` names: "N" the first N, "A-B" those from A to B, both included."""
    first, found, last = text.partition("-")
    return range(int(first), int(last) + 1) if found else range(int(text))


def _seeds() -> range:
    return seeds_of(os.environ.get(VARIABLE) or str(DEFAULT))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        seeds = _seeds()
        blocks = [seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK)]
        metafunc.parametrize("seeds", blocks, ids=[f"{block[0]}-{block[-1]}" for block in blocks])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also that of writes: a process that has others play does not load the ``conftest`` of their folder."""
    _tell_of_reading(terminalreporter)
    counts, failed = gathered(terminalreporter, "written")
    for line in judging.summary(counts) if counts else []:
        terminalreporter.write_line(line)
    for seed in failed:
        again = f"make simulate SEEDS={seed}-{seed}"
        terminalreporter.write_line(f"  seed {seed} of writing failed; again: {again}")


def _tell_of_reading(terminalreporter: pytest.TerminalReporter) -> None:
    counts, failed = gathered(terminalreporter, "simulated")
    if not counts and not failed:
        return
    summary = summary_of(counts, failed, _seeds(), time.monotonic() - _BEGAN)
    for line in lines_of(summary):
        terminalreporter.write_line(line)
    if path := os.environ.get(RECORD_VARIABLE):
        Path(path).write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")


def summary_of(counts: Mapping[str, int], failed: list[int], seeds: range, seconds: float) -> dict[str, Any]:
    """Return what the histories of ``seeds`` came to; ``counts`` of faults have names that say so."""
    faults = {name.removeprefix(_FAULT): count for name, count in counts.items() if name.startswith(_FAULT)}
    met = {name: count for name, count in counts.items() if not name.startswith(_FAULT)}
    return {
        "first_seed": seeds[0],
        "last_seed": seeds[-1],
        "seconds": round(seconds, 1),
        "failed_seeds": failed,
        "histories": met.pop("histories", 0),
        "steps": met.pop("steps", 0),
        "pairs_of_times": met.pop("pairs of times", 0),
        "faults_injected": sum(faults.values()),
        "faults_by_type": dict(sorted(faults.items())),
        "met": dict(sorted(met.items())),
    }


def lines_of(summary: Mapping[str, Any]) -> list[str]:
    """Return a summary as text."""
    seeds = f"{summary['first_seed']}-{summary['last_seed']}"
    faults, seconds = summary["faults_injected"], summary["seconds"]
    told = f"{summary['histories']} histories (seeds {seeds}), {summary['steps']} steps, {faults} faults"
    pairs = f"{summary['pairs_of_times']} pairs of effective_on and known_at"
    lines = [f"simulated: {told}, {pairs}, {seconds} s"]
    for title, key in (("faults", "faults_by_type"), ("met", "met")):
        lines.append(f"  {title}: " + ", ".join(f"{count} {what}" for what, count in summary[key].items()))
    lines += [
        f"  seed {seed} failed; again: make simulate SEEDS={seed}-{seed}" for seed in summary["failed_seeds"]
    ]
    return lines
