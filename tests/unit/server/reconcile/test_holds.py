from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STUDENT
from schoolgate_server.reconcile.holds import (
    Thresholds,
    change_set_digest,
    suspicious_deletions,
    suspicious_updates,
)


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
    found = suspicious_deletions({KIND_STUDENT: absent}, {KIND_STUDENT: live}, Thresholds())
    assert bool(found) is held


@given(st.integers(1, 10_000), st.data())
def test_a_drop_to_zero_is_always_suspect(live: int, data: st.DataObject) -> None:
    fraction = data.draw(st.floats(0, 1))
    thresholds = Thresholds(fraction, data.draw(st.integers(0, 20_000)))
    [found] = suspicious_deletions({KIND_STUDENT: live}, {KIND_STUDENT: live}, thresholds)
    assert f"all {live} student" in found.explanation


def test_only_the_suspect_kind_is_named() -> None:
    found = suspicious_deletions(
        {KIND_STUDENT: 40, KIND_GROUP: 1}, {KIND_STUDENT: 100, KIND_GROUP: 90}, Thresholds()
    )
    assert [(each.kind, each.explanation) for each in found] == [
        (KIND_STUDENT, "40 of 100 student records (40%) are missing from the snapshot")
    ]


def test_a_change_set_has_one_digest_whatever_its_order() -> None:
    one = [("stu_1", 1, b""), ("stu_2", 3, b"new")]
    assert change_set_digest(one) == change_set_digest(reversed(one))
    for other in (("stu_2", 4, b"new"), ("stu_2", 3, b"old"), ("stu_2", 3, b"")):
        assert change_set_digest(one) != change_set_digest([one[0], other])


@pytest.mark.parametrize(
    ("changed", "live", "held"),
    [(0, 0, False), (20, 20, False), (21, 28, False), (22, 28, True), (76, 100, True), (75, 100, False)],
)
def test_updates_of_nearly_everybody_are_held(changed: int, live: int, held: bool) -> None:
    found = suspicious_updates({KIND_STUDENT: changed}, {KIND_STUDENT: live}, Thresholds())
    assert bool(found) is held
