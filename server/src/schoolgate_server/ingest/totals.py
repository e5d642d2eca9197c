"""Counts what a run did."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Totals:
    """Counters of one dataset in one run; published with each commit, so that they survive a crash."""

    created: int = 0
    updated: int = 0
    revived: int = 0
    tombstoned: int = 0
    reprojected: int = 0
    merged: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
