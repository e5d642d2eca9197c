from __future__ import annotations

from datetime import date

import pytest

from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_UNKNOWN_ABSENCE
from schoolgate.v1.sync_service_pb2 import Evidence
from schoolgate_server.reconcile.absence import incompleteness, tombstone_reason


def proven() -> Evidence:
    return Evidence(terminator_proven=True, permission_present=True, rows_read=10, scope_unchanged=True)


def test_proof_is_enough() -> None:
    assert incompleteness(proven()) is None


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("terminator_proven", False, "nothing after the last page"),
        ("permission_present", False, "permission"),
        ("expected_rows", 11, "counts 11 rows and 10 were read"),
        ("rows_read", 0, "no rows"),
        ("unidentified_rows", 1, "could not be identified"),
        ("contradicted_absences", 2, "the MIS has them"),
    ],
)
def test_each_doubt_alone_is_enough_to_prove_nothing(field: str, value: int, says: str) -> None:
    evidence = proven()
    setattr(evidence, field, value)
    assert says in (incompleteness(evidence) or "")


def test_a_counted_zero_is_complete() -> None:
    evidence = proven()
    evidence.rows_read = evidence.expected_rows = 0
    assert incompleteness(evidence) is None


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ([], TOMBSTONE_REASON_UNKNOWN_ABSENCE),
        ([None], TOMBSTONE_REASON_UNKNOWN_ABSENCE),
        (["2026-11-02"], TOMBSTONE_REASON_LEFT),
        (["2026-11-03"], TOMBSTONE_REASON_UNKNOWN_ABSENCE),
        (["2026-07-01", None], TOMBSTONE_REASON_UNKNOWN_ABSENCE),
        (["2026-07-01", "2026-09-01"], TOMBSTONE_REASON_LEFT),
    ],
)
def test_only_what_the_mis_said_has_left(ends: list[str | None], reason: int) -> None:
    assert tombstone_reason(ends, date(2026, 11, 2)) == reason
