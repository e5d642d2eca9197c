"""How much work the benchmarks do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """``pupils`` with a whole year of marks (380 each); ``runs`` of each side; ``points`` single reads per
    run, ``commits`` that are followed, and ``writes`` per run that are accepted.

    Growth is measured between schools of ``few_pupils`` and of ``many_pupils``, memory in the larger one.
    """

    pupils: int
    few_pupils: int
    many_pupils: int
    runs: int
    points: int
    commits: int
    writes: int


FULL = Sizes(pupils=1_500, few_pupils=527, many_pupils=5_264, runs=5, points=5_000, commits=500, writes=1_000)
"""570,000 marks; 200,260 and 2,000,320 of them where it is growth."""

QUICK = Sizes(pupils=20, few_pupils=3, many_pupils=30, runs=5, points=300, commits=40, writes=60)
