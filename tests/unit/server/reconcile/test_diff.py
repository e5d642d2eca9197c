from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from schoolgate_server.reconcile.diff import Known, Outcome, SnapshotDiff

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16

ids = st.sampled_from(["stu_1", "stu_2", "stu_3", "stu_4"])
digests = st.sampled_from([A, B, C])
stores = st.dictionaries(ids, st.builds(Known, digests, st.integers(1, 9), st.booleans()))
snapshots = st.lists(st.tuples(ids, digests))


def test_outcomes_of_first_sight() -> None:
    diff = SnapshotDiff(
        [("same", Known(A, 1, True)), ("other", Known(A, 1, True)), ("dead", Known(A, 2, False))]
    )
    assert diff.observe("new", A) is Outcome.CREATE
    assert diff.observe("same", A) is Outcome.UNCHANGED
    assert diff.observe("other", B) is Outcome.UPDATE
    assert diff.observe("dead", A) is Outcome.UPDATE


def test_outcomes_of_second_sight() -> None:
    diff = SnapshotDiff()
    diff.observe("x", B)
    assert diff.observe("x", B) is Outcome.DUPLICATE
    assert diff.observe("x", C) is Outcome.CONFLICT_LOST
    assert diff.observe("x", A) is Outcome.CONFLICT_WON
    assert diff.observe("x", B) is Outcome.CONFLICT_LOST


@given(stores, snapshots)
def test_absent_is_what_is_live_and_not_observed(
    stored: dict[str, Known], snapshot: list[tuple[str, bytes]]
) -> None:
    diff = SnapshotDiff(stored.items())
    for record_id, digest in snapshot:
        diff.observe(record_id, digest)
    seen = {record_id for record_id, _ in snapshot}
    assert set(diff.absent()) == {key for key, known in stored.items() if known.live} - seen


def winners(stored: dict[str, Known], snapshot: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """Apply the outcomes as ingest does, and return the content that each record ends with."""
    diff = SnapshotDiff(stored.items())
    written = {Outcome.CREATE, Outcome.UPDATE, Outcome.CONFLICT_WON}
    changes = {key: digest for key, digest in snapshot if diff.observe(key, digest) in written}
    return {key: known.digest for key, known in stored.items()} | changes


@given(stores, snapshots, st.randoms())
def test_g03_the_order_of_rows_makes_no_difference(
    stored: dict[str, Known], snapshot: list[tuple[str, bytes]], order: random.Random
) -> None:
    shuffled = list(snapshot)
    order.shuffle(shuffled)
    first = winners(stored, snapshot)
    assert winners(stored, shuffled) == first
    settled = {key: Known(digest, 1, True) for key, digest in first.items()}
    assert winners(settled, shuffled) == first


def test_a_protected_record_is_not_absent() -> None:
    diff = SnapshotDiff([("x", Known(A, 1, True)), ("y", Known(A, 1, True))])
    diff.protect("x")
    assert diff.absent() == ["y"]
    assert diff.protected == {"x"}


def test_what_a_run_stored_is_known_and_never_absent() -> None:
    diff = SnapshotDiff()
    diff.observe("x", A)
    diff.stored("x", Known(A, 1, True))
    assert diff.known("x") == Known(A, 1, True)
    assert diff.absent() == []
    assert (diff.observed_count, list(diff.live_ids())) == (1, ["x"])
