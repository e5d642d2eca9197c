from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STUDENT
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_UNKNOWN_ABSENCE
from schoolgate.v1.sync_service_pb2 import Evidence
from schoolgate_server.reconcile.absence import (
    Thresholds,
    change_set_digest,
    incompleteness,
    suspicions,
    tombstone_reason,
)


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
    ("absent", "live", "held"),
    [
        (0, 0, False),
        (1, 1, True),
        (20, 100, False),
        (21, 100, True),
        (30, 300, False),
        (31, 300, True),
        (5, 5, True),
    ],
)
def test_thresholds(absent: int, live: int, held: bool) -> None:
    found = suspicions({KIND_STUDENT: absent}, {KIND_STUDENT: live}, Thresholds())
    assert bool(found) is held


@given(st.integers(1, 10_000), st.data())
def test_a_drop_to_zero_is_always_suspect(live: int, data: st.DataObject) -> None:
    fraction = data.draw(st.floats(0, 1))
    thresholds = Thresholds(fraction, data.draw(st.integers(0, 20_000)))
    [found] = suspicions({KIND_STUDENT: live}, {KIND_STUDENT: live}, thresholds)
    assert f"all {live} student" in found.explanation


def test_only_the_suspect_kind_is_named() -> None:
    found = suspicions({KIND_STUDENT: 40, KIND_GROUP: 1}, {KIND_STUDENT: 100, KIND_GROUP: 90}, Thresholds())
    assert [(each.kind, each.explanation) for each in found] == [
        (KIND_STUDENT, "40 of 100 student records (40%) are missing from the snapshot")
    ]


def test_a_change_set_has_one_digest_whatever_its_order() -> None:
    one = [("stu_1", 1), ("stu_2", 3)]
    assert change_set_digest(one) == change_set_digest(reversed(one))
    assert change_set_digest(one) != change_set_digest([("stu_1", 1), ("stu_2", 4)])


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
