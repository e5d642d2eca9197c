"""Decides whether records that a snapshot lacks have left. Absence needs proof; doubt deletes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_UNKNOWN_ABSENCE, TombstoneReason
from schoolgate.v1.sync_service_pb2 import Evidence


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


def tombstone_reason(spans_end: Sequence[str | None], today: date) -> TombstoneReason.ValueType:
    """Return why a record left.

    ``spans_end`` holds the half-open ends (ISO dates) of the record's own span, or of a pupil's enrolments.
    All of them past means that the MIS said it: ``LEFT``; otherwise nobody knows.
    """
    if spans_end and all(end is not None and end <= today.isoformat() for end in spans_end):
        return TOMBSTONE_REASON_LEFT
    return TOMBSTONE_REASON_UNKNOWN_ABSENCE
