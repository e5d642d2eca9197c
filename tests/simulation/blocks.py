"""Histories of a block of seeds, which one test plays, and what those of a test run came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import pytest


class Played(Protocol):
    """What a history came to."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How often it met what."""
        ...


def play_block(
    seeds: range, play: Callable[[int], Played], name: str, record_property: Callable[[str, object], None]
) -> None:
    """Play every seed of the block, whatever became of those before it; keep the counts under ``name``.

    Raises:
        AssertionError: histories failed; it has the texts of all of them.
    """
    counts: Counter[str] = Counter()
    failed: dict[int, AssertionError] = {}
    for seed in seeds:
        try:
            counts.update(play(seed).counts)
            counts["histories"] += 1
        except AssertionError as error:
            failed[seed] = error
    record_property(name, dict(counts))
    record_property(_failed(name), list(failed))
    if failed:
        raise AssertionError("\n\n".join(map(str, failed.values()))) from next(iter(failed.values()))


def gathered(reporter: pytest.TerminalReporter, name: str) -> tuple[Counter[str], list[int]]:
    """Return what all blocks under ``name`` counted, and the seeds that failed, in their order."""
    counts: Counter[str] = Counter()
    failed: list[int] = []
    for report in [*reporter.getreports("passed"), *reporter.getreports("failed")]:
        for key, value in report.user_properties:
            if key == name:
                counts.update(cast("dict[str, int]", value))
            if key == _failed(name):
                failed += cast("list[int]", value)
    return counts, sorted(failed)


def _failed(name: str) -> str:
    return f"failed seeds of {name}"
