"""Decides whether records that a snapshot lacks have left. Absence needs proof; doubt deletes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_UNKNOWN_ABSENCE, TombstoneReason
from schoolgate.v1.sync_service_pb2 import Evidence
from schoolgate_sdk import kind_info


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When deletions look wrong: more than ``fraction`` of a kind's live records and more than ``count``."""

    fraction: float = 0.10
    count: int = 20


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why the absences of one kind look wrong."""

    kind: Kind.ValueType
    absent: int
    live: int

    @property
    def explanation(self) -> str:
        """The suspicion in a sentence."""
        name = kind_info(self.kind).name
        if self.absent == self.live:
            return f"all {self.live} {name} records are missing from the snapshot"
        share = 100 * self.absent / self.live
        return f"{self.absent} of {self.live} {name} records ({share:.0f}%) are missing from the snapshot"


def incompleteness(evidence: Evidence) -> str | None:
    """Return why a snapshot does not prove anything about absence, or ``None`` where it does (G01, G02)."""
    if not evidence.terminator_proven:
        return "the MIS did not show that there is nothing after the last page"
    if not evidence.permission_present:
        return "permission for an entity was missing during the read"
    if evidence.HasField("expected_rows") and evidence.expected_rows != evidence.rows_read:
        return f"the MIS counts {evidence.expected_rows} rows and {evidence.rows_read} were read"
    if evidence.rows_read == 0 and not evidence.HasField("expected_rows"):
        return "no rows were read, and the MIS gives no count that says there are none"
    if evidence.unidentified_rows:
        return f"{evidence.unidentified_rows} rows could not be identified; each may be one that seems absent"
    if evidence.contradicted_absences:
        return (
            f"{evidence.contradicted_absences} records are missing from the snapshot, but the MIS has them "
            "when asked for each by its key"
        )
    return None


def suspicions(
    absent: Mapping[Kind.ValueType, int], live: Mapping[Kind.ValueType, int], thresholds: Thresholds
) -> list[Suspicion]:
    """Return the kinds whose absences must be held: a drop to zero, or one above the thresholds."""
    found: list[Suspicion] = []
    for kind, missing in absent.items():
        total = live[kind]
        to_zero = missing == total
        sharply = missing > thresholds.count and missing > thresholds.fraction * total
        if missing and (to_zero or sharply):
            found.append(Suspicion(kind, missing, total))
    return found


def change_set_digest(versions: Iterable[tuple[str, int]]) -> str:
    """Return the digest that names exactly one set of deletions: record ids with the versions they end."""
    sha = hashlib.sha256()
    for record_id, version in sorted(versions):
        sha.update(f"{record_id}:{version}\n".encode())
    return sha.hexdigest()


def tombstone_reason(spans_end: Sequence[str | None], today: date) -> TombstoneReason.ValueType:
    """Return why a record left.

    ``spans_end`` holds the half-open ends (ISO dates) of the record's own span, or of a pupil's enrolments.
    All of them past means that the MIS said it: ``LEFT``; otherwise nobody knows.
    """
    if spans_end and all(end is not None and end <= today.isoformat() for end in spans_end):
        return TOMBSTONE_REASON_LEFT
    return TOMBSTONE_REASON_UNKNOWN_ABSENCE
