"""Whole histories from seeds: see the module ``history``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.simulation.history import play


def test_histories_keep_every_guarantee(seeds: range, record_property: Callable[[str, object], None]) -> None:
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts.update(play(seed).counts)
        counts["histories"] += 1
    record_property("simulated", dict(counts))


def test_a_seed_is_always_the_same_history() -> None:
    assert play(7) == play(7)
