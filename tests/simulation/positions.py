"""Up to where the changes of each dataset are known (G10): what comes after must be asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tests.simulation.base import DatasetFacts, require


class Positions:
    """The positions from which changes may be read."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def verify(self, parts: Iterable[DatasetFacts], held: Collection[str]) -> None:
        """Check from where changes were read; of datasets with something ``held`` they may not be."""
        for part in parts:
            if part.asked is None:
                continue
            known = self._known.get(part.dataset, -1)
            text = f"{part.dataset}: changes after {part.asked} were read, and nothing is known after {known}"
            require(part.asked <= known, "G10", text)
            text = f"{part.dataset}: less than a snapshot was read while a hold is open"
            require(part.dataset not in held, "G02", text)

    def conclude(self, part: DatasetFacts) -> None:
        """Take note of what is known after ``part``."""
        if part.position is None or part.retained:
            return
        broken_off = part.asked is not None and not part.exact
        if part.state == "SUCCEEDED" or broken_off:
            self._known[part.dataset] = max(part.position, self._known.get(part.dataset, 0))
