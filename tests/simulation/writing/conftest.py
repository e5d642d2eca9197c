"""A summary of what the histories of writes met."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from tests.simulation.writing.judging import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    failed: list[int] = []
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, value in report.user_properties:
            if name == "written":
                counts.update(cast("dict[str, int]", value))
            if name == "failed seeds of writing":
                failed += cast("list[int]", value)
    for line in summary(counts) if counts else []:
        terminalreporter.write_line(line)
    for seed in sorted(failed):
        again = f"make simulate SEEDS={seed}-{seed}"
        terminalreporter.write_line(f"  seed {seed} of writing failed; again: {again}")
