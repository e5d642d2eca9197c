from __future__ import annotations

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk import source_key
from schoolgate_server.ingest.decisions import Finding
from schoolgate_server.ingest.identity import Claim
from schoolgate_server.ingest.memo import Memo, known_rows
from schoolgate_server.ingest.projection import Projected, Projection
from schoolgate_server.model.hashing import rows_digest
from schoolgate_server.reconcile.diff import Known, SnapshotDiff

FINDING = Finding(diagnostics.DECISION_REASON_CODE_UNMAPPED, "", "a code has no meaning")
ROWS = [rows_digest(f'{{"id":{number}}}'.encode()) for number in range(300)]


def read(number: int, digest: bytes = b"d" * 16) -> Projection:
    key = source_key("test/students", number)
    record_id = f"stu_{number:032x}"
    wire, keys = b"", (str(number),)
    return Projection(
        [Projected(record_id, KIND_STUDENT, key, keys, Student(), wire, digest, None, None, rank=number)]
    )


def noted(rows: range) -> Memo:
    memo = Memo.of_rows(ROWS, {})
    for number in rows:
        memo.note(number, read(number))
    return memo


def test_what_was_noted_is_known_when_it_is_taken_up_again() -> None:
    memo = Memo(noted(range(0, 300, 2)).encode(), is_kept=True)
    assert len(memo) == 300
    diff = SnapshotDiff([(f"stu_{number:032x}", Known(b"d" * 16, 1, True)) for number in range(300)])
    assert list(memo.settle(diff, range(100, 200), lambda: True)) == list(range(101, 200, 2))
    assert diff.observed_count == 50
    assert memo.is_kept


def test_rows_are_found_wherever_they_are_and_once() -> None:
    known = dict(known_rows(noted(range(10)).encode()))
    memo = Memo.of_rows([ROWS[250], ROWS[9], ROWS[3], ROWS[3]], known)
    assert set(known) == {ROWS[number] for number in (0, 1, 2, 4, 5, 6, 7, 8)}
    diff = SnapshotDiff([(f"stu_{number:032x}", Known(b"d" * 16, 1, True)) for number in range(10)])
    assert list(memo.settle(diff, range(4), lambda: True)) == [0, 3]
    assert sorted(set(diff.live().elements())) == [KIND_STUDENT]
    assert not diff.is_observed(f"stu_{2:032x}")
    assert diff.is_observed(f"stu_{3:032x}")


def test_rows_are_settled_in_their_order_and_as_long_as_what_is_known_holds() -> None:
    memo = noted(range(0, 300, 2))
    diff = SnapshotDiff([(f"stu_{number:032x}", Known(b"d" * 16, 1, True)) for number in range(300)])
    others = memo.settle(diff, range(300), lambda: diff.observed_count < 3)
    assert [next(others), diff.observed_count] == [1, 1]
    assert [next(others), diff.observed_count] == [3, 2]
    assert [next(others), diff.observed_count] == [5, 3]
    assert list(others) == list(range(6, 300))
    assert diff.observed_count == 3


def test_only_a_known_row_that_is_read_otherwise_contradicts() -> None:
    memo = noted(range(5))
    memo.is_kept = True
    memo.note(2, read(2))
    assert (memo.is_kept, memo.is_contradicted) == (True, False)
    memo.note(7, read(7))
    assert (memo.is_kept, memo.is_contradicted) == (False, False)
    memo.note(2, read(2, b"e" * 16))
    assert memo.is_contradicted


@pytest.mark.parametrize(
    "projection",
    [
        Projection(rejected=True),
        Projection([*read(1).records, *read(2).records]),
        read(1)._replace(outside=("stu_0",)),
        read(1)._replace(findings=[FINDING]),
        read(1)._replace(claims=[Claim("stu_0", "stu_1", "1")]),
        read(1)._replace(protects=("stu_0",)),
    ],
)
def test_a_row_of_which_more_is_to_be_said_is_not_known(projection: Projection) -> None:
    memo = Memo.of_rows(ROWS, {})
    memo.note(1, projection)
    assert not list(known_rows(memo.encode()))
    assert memo.sample(300, 64, 0) == []


def test_every_row_has_its_turn_and_the_first_ones_have_it_always() -> None:
    memo = noted(range(20, 300))
    turns = [memo.sample(3, 64, turn) for turn in range(1_000, 1_064)]
    assert all(turn[:3] == [20, 21, 22] for turn in turns)
    assert sorted(place for turn in turns for place in turn[3:]) == list(range(23, 300))
    assert memo.sample(3, 0, 7) == [20, 21, 22]


def test_parts_of_entries_are_no_memo() -> None:
    with pytest.raises(ValueError, match="53 bytes"):
        Memo(bytes(53), is_kept=True)
