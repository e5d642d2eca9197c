"""How much work the benchmarks do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """``pupils`` with a whole year of marks; ``runs`` of each side; ``points`` single reads per run,
    ``commits`` that are followed, and ``writes`` per run that are accepted.
    """

    pupils: int
    runs: int
    points: int
    commits: int
    writes: int


FULL = Sizes(pupils=1500, runs=5, points=5_000, commits=500, writes=1_000)
QUICK = Sizes(pupils=150, runs=5, points=1_000, commits=150, writes=300)
