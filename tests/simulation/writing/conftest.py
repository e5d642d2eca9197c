"""A summary of what the histories of writes met."""

from __future__ import annotations

import pytest

from tests.simulation.blocks import gathered
from tests.simulation.writing.judging import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts, failed = gathered(terminalreporter, "written")
    for line in summary(counts) if counts else []:
        terminalreporter.write_line(line)
    for seed in failed:
        again = f"make simulate SEEDS={seed}-{seed}"
        terminalreporter.write_line(f"  seed {seed} of writing failed; again: {again}")
