"""How many writes, and the table of what came of them."""

from __future__ import annotations

import os
from typing import cast

import pytest

VARIABLE = "SCHOOLGATE_TEST_WRITES"
"""Writes of each class of safety; with more than a few, a replica set loses its primary too."""
FEW = 15


@pytest.fixture(scope="session")
def writes_per_class() -> int:
    """Return how many writes of each class are asked for beside those at whose steps a server is killed."""
    return int(os.environ.get(VARIABLE) or FEW)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, value in report.user_properties:
            if name == "writes":
                for line in cast("list[str]", value):
                    terminalreporter.write_line(line)
