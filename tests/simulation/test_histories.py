"""Whole histories from seeds: see the module ``history``.

Seen to fail, by the first seed that shows it: where pupils that were merged at the MIS only leave (4); where
rows are not read anew before the MIS is asked (3); where what that changes is told as the school's edit (3);
where a window is compared with the whole year (0), and where one that was sealed forgets what is held (50);
where a reading counts as complete before its last record is written (39).
``scripts/mutants.py`` tries most of these again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.simulation.history import play


def test_histories_keep_every_guarantee(seeds: range, record_property: Callable[[str, object], None]) -> None:
    """Every seed of the block is played, whatever became of those before it."""
    counts: Counter[str] = Counter()
    failed: dict[int, AssertionError] = {}
    for seed in seeds:
        try:
            counts.update(play(seed).counts)
            counts["histories"] += 1
        except AssertionError as error:
            failed[seed] = error
    record_property("simulated", dict(counts))
    record_property("failed seeds", list(failed))
    if failed:
        raise AssertionError("\n\n".join(map(str, failed.values()))) from next(iter(failed.values()))


def test_a_seed_is_always_the_same_history() -> None:
    assert play(7) == play(7)
