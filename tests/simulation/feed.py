"""What a MIS tells of changes: which entities were touched since a position, as they are when it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.world import DATASETS, Row, World, key_parts

OVERLAP = 2
"""Entries that a read of changes goes back, where it is asked to."""


@dataclass
class Told:
    """One page of changes: rows, the parts of deleted keys, and the position after it."""

    rows: list[Row] = field(default_factory=list[Row])
    deleted: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    position: int = 0


class Feed:
    """The log of a MIS. A position is the number of its entries."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log: list[tuple[str, str]] = []
        self._parts: dict[str, tuple[Any, ...]] = {}
        self._shown = {dataset: self._rows(dataset) for dataset in DATASETS}

    @property
    def position(self) -> int:
        return len(self._log)

    def note(self) -> None:
        """Write down what was touched since this was called last."""
        for dataset in DATASETS:
            before, now = self._shown[dataset], self._rows(dataset)
            touched = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            self._log += [(dataset, key) for key in touched]
            self._shown[dataset] = now

    def since(self, dataset: str, position: int, size: int) -> list[Told]:
        """Return pages with up to ``size`` entities that were touched after ``position``; at least one.

        What was deleted comes with the last one.
        """
        latest = {key: at for at, (name, key) in enumerate(self._log, 1) if at > position and name == dataset}
        keys = sorted(latest, key=latest.__getitem__)
        pages: list[Told] = []
        last = Told(position=self.position)
        for start in range(0, len(keys), size):
            page = Told(position=latest[keys[min(start + size, len(keys)) - 1]])
            for key in keys[start : start + size]:
                rows = self._shown[dataset].get(key, [])
                page.rows += [dict(row) for row in rows]
                if not rows and all(type(part) in {int, str} and part != "" for part in self._parts[key]):
                    last.deleted.append(self._parts[key])
            pages.append(page)
        return [*pages, last]

    def _rows(self, dataset: str) -> dict[str, list[Row]]:
        """Return the rows by key."""
        found: dict[str, list[Row]] = {}
        for row in self._world.rows[dataset]:
            parts = key_parts(dataset, row)
            self._parts[repr(parts)] = parts
            found.setdefault(repr(parts), []).append(dict(row))
        for rows in found.values():
            rows.sort(key=repr)
        return found
