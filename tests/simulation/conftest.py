"""Which seeds run, in blocks, and a summary of what they met."""

from __future__ import annotations

import os
from collections import Counter
from typing import cast

import pytest

VARIABLE = "SCHOOLGATE_TEST_SEEDS"
DEFAULT = 48
"""Histories in an ordinary test run: about half a minute on one core."""
BLOCK = 8


def seeds_of(text: str) -> range:
    """Return the seeds that ``text`` names: "N" the first N, "A..B" or "A-B" both ends included, "=S" one."""
    if text.startswith("="):
        return range(int(text[1:]), int(text[1:]) + 1)
    for between in ("..", "-"):
        first, found, last = text.partition(between)
        if found:
            return range(int(first), int(last) + 1)
    return range(int(text))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        seeds = seeds_of(os.environ.get(VARIABLE) or str(DEFAULT))
        blocks = [seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK)]
        metafunc.parametrize("seeds", blocks, ids=[f"{block[0]}-{block[-1]}" for block in blocks])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "simulated":
                counts.update(cast("dict[str, int]", value))
    if counts:
        text = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        terminalreporter.write_line(f"simulated: {text}")
