"""Decides which changes look wrong and are set aside for an operator (G02)."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import kind_info


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When the changes of a run look wrong, per kind.

    Deletions do when they are more than ``deletions_fraction`` of the live records and more than
    ``deletions_count``; updates when they are more than ``updates_fraction`` of the live records and more
    than ``updates_count``.
    """

    deletions_fraction: float = 0.10
    deletions_count: int = 20
    updates_fraction: float = 0.75
    updates_count: int = 20


class Doubt(enum.Enum):
    """What looks wrong about a number of records."""

    MISSING = "are missing from the snapshot"
    CHANGED = "changed at once"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why the deletions or updates of one kind look wrong."""

    kind: Kind.ValueType
    doubt: Doubt
    number: int
    live: int

    @property
    def explanation(self) -> str:
        """The suspicion in a sentence."""
        name = kind_info(self.kind).name
        if self.number == self.live:
            return f"all {self.live} {name} records {self.doubt.value}"
        share = 100 * self.number / self.live
        return f"{self.number} of {self.live} {name} records ({share:.0f}%) {self.doubt.value}"


def suspicious_deletions(
    absent: Mapping[Kind.ValueType, int], live: Mapping[Kind.ValueType, int], thresholds: Thresholds
) -> list[Suspicion]:
    """Return the kinds whose deletions must be held: a drop to zero, or one above the thresholds."""
    found: list[Suspicion] = []
    for kind, missing in absent.items():
        total = live[kind]
        to_zero = missing == total
        sharply = missing > thresholds.deletions_count and missing > thresholds.deletions_fraction * total
        if missing and (to_zero or sharply):
            found.append(Suspicion(kind, Doubt.MISSING, missing, total))
    return found


def suspicious_updates(
    changed: Mapping[Kind.ValueType, int], live: Mapping[Kind.ValueType, int], thresholds: Thresholds
) -> list[Suspicion]:
    """Return the kinds whose updates must be held."""
    return [
        Suspicion(kind, Doubt.CHANGED, number, live.get(kind, 0))
        for kind, number in changed.items()
        if number > thresholds.updates_count and number > thresholds.updates_fraction * live.get(kind, 0)
    ]


def change_set_digest(changes: Iterable[tuple[str, int, bytes]]) -> str:
    """Return the digest that names exactly one change set.

    A change is a record id, the version that it replaces, and the digest of the new content (empty for a
    deletion).
    """
    sha = hashlib.sha256()
    for record_id, version, digest in sorted(changes):
        sha.update(f"{record_id}:{version}:{digest.hex()}\n".encode())
    return sha.hexdigest()
