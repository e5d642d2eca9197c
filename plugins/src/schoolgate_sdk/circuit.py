"""A circuit breaker: after failures in a row nobody asks for a while, then one request tries for all."""

from __future__ import annotations

import random


class Circuit:
    """Closed, open or half-open; times are seconds of whatever clock the caller reads.

    It opens after ``failures`` in a row by at least ``parties`` different callers, for ``open_for`` seconds
    and up to a tenth more, so that not every process comes back at once. Then it is half-open: one request
    goes through. If that fails it is open for twice as long as before, at most ``longest`` seconds.

    Where the answer to that request takes long to come in, its beginning closes the circuit, so that others
    are let in; should it break off, the circuit is open for twice as long all the same. Else a MIS that
    begins every answer and ends none would be asked as often as at first, for ever.
    """

    def __init__(
        self, failures: int, open_for: float, longest: float, rng: random.Random, parties: int = 1
    ) -> None:
        self._most = failures
        self._first = open_for
        self._longest = longest
        self._rng = rng
        self._parties = parties
        self._count = 0
        self._failing: set[str] = set()
        self._open_for = open_for
        self._open_until: float | None = None
        self._trial = False

    def closed_for(self, now: float) -> float:
        """Return for how many seconds nobody may ask, 0.0 where somebody may."""
        if self._open_until is None:
            return 0.0
        if self._trial:
            return self._first
        return max(0.0, self._open_until - now)

    def enter(self, now: float) -> bool:
        """Note that a request is sent; return whether it is the one that tries a half-open circuit."""
        if self._open_until is None or now < self._open_until:
            return False
        self._trial = True
        return True

    def begun(self) -> None:
        """Note that the answer to the request that tries begins to come in, which closes the circuit."""
        self._count = 0
        self._failing.clear()
        self._open_until = None
        self._trial = False

    def succeeded(self) -> None:
        """Note a whole answer, which closes the circuit and lets it forget how long it was open."""
        self.begun()
        self._open_for = self._first

    def failed(self, now: float, party: str, *, trying: bool = False, tried: bool = False) -> None:
        """Note a failure of ``party``'s request; ``trying`` if it is the one that tries a half-open circuit,
        ``tried`` if it was, and its answer had begun.
        """
        if (trying and self._trial) or (tried and self._open_until is None):
            self._open_for = min(self._longest, self._open_for * 2)
            self._open(now)
            return
        if self._open_until is not None:
            return  # of a request that was on its way when the circuit opened
        self._count += 1
        self._failing.add(party)
        if self._count >= self._most and len(self._failing) >= self._parties:
            self._open(now)

    def abandoned(self) -> None:
        """Note that the request that tries ended without telling anything: another one may."""
        self._trial = False

    def _open(self, now: float) -> None:
        self._trial = False
        self._open_until = now + self._open_for * (1 + self._rng.uniform(0.0, 0.1))
