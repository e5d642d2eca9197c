"""Decides which changes look wrong and are set aside for an operator (G02)."""

from __future__ import annotations

import enum
import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from schoolgate.v1.kind_pb2 import KIND_UNSPECIFIED, Kind
from schoolgate.v1.school_service_pb2 import HoldThreshold, School
from schoolgate_sdk import kind_info

STRANGE_ABOVE = 20
"""Live records of a kind above which a snapshot with none of them, and with others, is taken for another
school's. Of so few as a small school has of some kinds, all may well be replaced at once."""


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

    def of(self, kind: Kind.ValueType) -> Thresholds:  # noqa: ARG002 - the same for every kind
        """Return the thresholds of ``kind``: these, as a policy without exceptions."""
        return self


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """One school's thresholds: those of the kinds in ``by_kind``, and ``default`` for every other."""

    default: Thresholds = field(default_factory=Thresholds)
    by_kind: Mapping[Kind.ValueType, Thresholds] = field(default_factory=dict[Kind.ValueType, Thresholds])

    def of(self, kind: Kind.ValueType) -> Thresholds:
        """Return the thresholds of ``kind``."""
        return self.by_kind.get(kind, self.default)


Policy: TypeAlias = Thresholds | HoldPolicy
"""Anything that has thresholds ``of`` a kind."""


def policy_of(school: School, default: Thresholds) -> HoldPolicy:
    """Return the thresholds of ``school``, value by value: what it gives for a kind, else what it gives for
    every kind, else the server's ``default``.
    """
    given = {threshold.kind: threshold for threshold in school.hold_thresholds}
    general = _over(given.pop(KIND_UNSPECIFIED, HoldThreshold()), default)
    return HoldPolicy(general, {kind: _over(threshold, general) for kind, threshold in given.items()})


def _over(threshold: HoldThreshold, default: Thresholds) -> Thresholds:
    given = {
        descriptor.name: value for descriptor, value in threshold.ListFields() if descriptor.name != "kind"
    }
    return replace(default, **given)


class Doubt(enum.Enum):
    """What looks wrong about a number of records."""

    MISSING = "are missing from the snapshot"
    CHANGED = "changed at once"
    STRANGE = "is in the snapshot"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why the deletions or updates of one kind, or its whole snapshot, look wrong.

    ``number`` counts the records that are missing, that changed, or, of a strange snapshot, that are new.
    """

    kind: Kind.ValueType
    doubt: Doubt
    number: int
    live: int

    @property
    def explanation(self) -> str:
        """The suspicion in a sentence."""
        name = kind_info(self.kind).name
        if self.doubt is Doubt.STRANGE:
            return (
                f"none of the {self.live} {name} records {self.doubt.value}, which has {self.number} unknown "
                "ones instead: it may be another school's"
            )
        if self.number == self.live:
            return f"all {self.live} {name} records {self.doubt.value}"
        share = 100 * self.number / self.live
        return f"{self.number} of {self.live} {name} records ({share:.0f}%) {self.doubt.value}"


def suspicious_deletions(
    absent: Mapping[Kind.ValueType, int], live: Mapping[Kind.ValueType, int], policy: Policy
) -> list[Suspicion]:
    """Return the kinds whose deletions must be held: a drop to zero, or one above the thresholds."""
    found: list[Suspicion] = []
    for kind, missing in absent.items():
        total, limits = live[kind], policy.of(kind)
        to_zero = missing == total
        sharply = missing > limits.deletions_count and missing > limits.deletions_fraction * total
        if missing and (to_zero or sharply):
            found.append(Suspicion(kind, Doubt.MISSING, missing, total))
    return found


def suspicious_updates(
    changed: Mapping[Kind.ValueType, int], live: Mapping[Kind.ValueType, int], policy: Policy
) -> list[Suspicion]:
    """Return the kinds whose updates must be held."""
    found: list[Suspicion] = []
    for kind, number in changed.items():
        total, limits = live.get(kind, 0), policy.of(kind)
        if number > limits.updates_count and number > limits.updates_fraction * total:
            found.append(Suspicion(kind, Doubt.CHANGED, number, total))
    return found


def strange_population(
    observed_known: Mapping[Kind.ValueType, int],
    observed_new: Mapping[Kind.ValueType, int],
    live: Mapping[Kind.ValueType, int],
) -> Suspicion | None:
    """Return why a sealed snapshot looks like another school's, whatever the thresholds are.

    Per kind, ``live`` counts the records that were live before, ``observed_known`` those of them that the
    snapshot has, and ``observed_new`` the records that it has and nobody knew. A kind with more than
    ``STRANGE_ABOVE`` live records, none of which came while others did, makes the whole dataset suspect: its
    creations too belong in the hold. A snapshot without any record of the kind is a drop to zero instead.
    """
    strange = [
        Suspicion(kind, Doubt.STRANGE, observed_new.get(kind, 0), total)
        for kind, total in live.items()
        if total > STRANGE_ABOVE and not observed_known.get(kind, 0) and observed_new.get(kind, 0)
    ]
    return max(strange, key=lambda suspicion: suspicion.live, default=None)


def change_set_digest(changes: Iterable[tuple[str, int, bytes]]) -> str:
    """Return the digest that names exactly one change set.

    A change is a record id, the version that it replaces, and the digest of the new content (empty for a
    deletion).
    """
    sha = hashlib.sha256()
    for change in sorted(changes):
        sha.update(_line(change))
    return sha.hexdigest()


def change_marks(changes: Iterable[tuple[str, int, bytes]]) -> array[int]:
    """Return a mark of 64 bits per change, ascending: what tells later whether a change was in the set."""
    marks = (int.from_bytes(hashlib.sha256(_line(change)).digest()[:8], "big") for change in changes)
    return array("Q", sorted(marks))


def all_marked(changes: Iterable[tuple[str, int, bytes]], marks: array[int]) -> bool:
    """Whether each of ``changes`` was in the set that :func:`change_marks` was given."""
    for mark in change_marks(changes):
        place = bisect_left(marks, mark)
        if place == len(marks) or marks[place] != mark:
            return False
    return True


def _line(change: tuple[str, int, bytes]) -> bytes:
    record_id, version, digest = change
    return f"{record_id}:{version}:{digest.hex()}\n".encode()
