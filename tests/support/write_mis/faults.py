"""What befalls a write at the MIS, drawn from a seed, the key of the write, and how often it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

BEFORE, AFTER, DROPPED, DROPPED_BEFORE = "error_before_effect", "error_after_effect", "answer_lost", "cut"
ASYNCHRONOUS, HELD, BUSY, SLOW = "asynchronous", "held_back", "rate_limit", "slow"
EXITS, EXITS_AFTER = "restart_before_effect", "restart_after_effect"

FAULTS = (BEFORE, AFTER, DROPPED, DROPPED_BEFORE, ASYNCHRONOUS, HELD, BUSY, SLOW, EXITS, EXITS_AFTER)
"""Names of all faults.

``held_back``: the request lies in a queue, and takes effect when its client has long given up.
``asynchronous``: it is accepted, and takes effect later.
"""

WITH_EFFECT = frozenset({AFTER, DROPPED, EXITS_AFTER})
"""Those of which nobody hears that the write took effect at once."""

REFUSALS = frozenset({BEFORE, AFTER, DROPPED, DROPPED_BEFORE, BUSY, EXITS, EXITS_AFTER})
"""Those that leave no answer, or a bad one."""


@dataclass(frozen=True)
class Odds:
    """How often what befalls a write: ``of`` maps faults to chances, which are at most 1 together.

    ``held`` and ``delay`` are spans of seconds, for requests that are held back and for accepted ones.
    ``most`` faults befall one write, so that it comes to an end.
    """

    seed: int = 0
    of: Mapping[str, float] = field(default_factory=dict[str, float])
    held: tuple[float, float] = (1.5, 2.5)
    delay: tuple[float, float] = (0.1, 1.5)
    most: int = 3

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Odds:
        """Return the odds that a control request gives; raises ``ValueError`` for an unknown fault."""
        of = {str(name): float(chance) for name, chance in given.get("of", {}).items()}
        if unknown := sorted({*of} - {*FAULTS}):
            raise ValueError(f"no such fault: {', '.join(unknown)}")
        usual = cls()
        return cls(
            int(given.get("seed", usual.seed)),
            of,
            _span(given.get("held", usual.held)),
            _span(given.get("delay", usual.delay)),
            int(given.get("most", usual.most)),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what :meth:`read` takes."""
        return {
            "seed": self.seed,
            "of": dict(self.of),
            "held": list(self.held),
            "delay": list(self.delay),
            "most": self.most,
        }


class Fates:
    """Says what befalls each request that writes. ``struck`` is how often each key was struck before."""

    def __init__(self, odds: Odds, struck: Counter[str]) -> None:
        self.odds = odds
        self._struck = struck

    def fate(self, entity: str, judged: str) -> tuple[str, Random]:
        """Return the fault, empty for none, and what to draw its seconds from."""
        odds = self.odds
        rng = Random(f"{odds.seed}/{entity}/{judged}/{self._struck[judged]}")
        if self._struck[judged] >= odds.most:
            return "", rng
        drawn, sum_of = rng.random(), 0.0
        for name in FAULTS:
            sum_of += odds.of.get(name, 0.0)
            if drawn < sum_of:
                self._struck[judged] += 1
                return name, rng
        return "", rng


def _span(given: Any) -> tuple[float, float]:
    first, last = given
    return float(first), float(last)
