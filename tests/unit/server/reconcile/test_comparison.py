from __future__ import annotations

from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK, KIND_STUDENT
from schoolgate.v1.people_pb2 import SEX_FEMALE, Student
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.reconcile import comparison
from schoolgate_server.reconcile.comparison import KEYS, LONGEST_VALUE, Comparison, Reading


def pupil(number: int, *keys: str, **fields: object) -> Reading:
    message = Student(**fields)  # type: ignore[arg-type]
    names = keys or (f'["x",{number}]',)
    digest = content_digest(message.SerializeToString(deterministic=True), names)
    return Reading(f"stu_{number:032x}", KIND_STUDENT, names, message, digest)


def mark(number: int, **fields: object) -> Reading:
    message = AttendanceMark(**fields)  # type: ignore[arg-type]
    digest = content_digest(message.SerializeToString(deterministic=True), ("k",))
    return Reading(f"mrk_{number:032x}", KIND_ATTENDANCE_MARK, ("k",), message, digest)


def test_records_are_alike_different_or_on_one_side() -> None:
    found = Comparison(5)
    found.take([pupil(1, surname="Reid")], [pupil(1, surname="Reid")])
    found.take([pupil(2, surname="Reid")], [pupil(2, surname="REID")])
    found.take([pupil(3, surname="Reid")], [])
    found.take([], [pupil(4, surname="Reid")])
    found.take([], [])
    assert (found.same, found.differing, found.only_before, found.only_after) == (1, 1, 1, 1)


def test_values_are_counted_by_pair() -> None:
    found = Comparison(2)
    for number in range(1, 6):
        code = "MD" if number < 5 else "I,"
        found.take([mark(number, code=code)], [mark(number, code=code[0])])
    [difference] = found.differences()
    assert (difference.name, difference.count) == ("code", 5)
    assert difference.pairs == {("MD", "M"): 4, ("I,", "I"): 1}
    assert difference.examples["MD", "M"] == [f"mrk_{1:032x}", f"mrk_{2:032x}"]


def test_values_are_shown_by_name_absence_as_nothing_and_texts_cut() -> None:
    found = Comparison(1)
    before = pupil(1, surname="Reid", forename="A" * 500, in_care=False)
    found.take([before], [pupil(1, surname="Reid", sex=SEX_FEMALE, in_care=True)])
    pairs = {difference.name: next(iter(difference.pairs)) for difference in found.differences()}
    assert pairs == {
        "sex": ("", "SEX_FEMALE"),
        "in_care": ("false", "true"),
        "forename": (f"{'A' * (LONGEST_VALUE - 1)}…", ""),
    }
    assert found.differences()[0].name == "sex"  # a meaning goes first


def test_values_of_false_and_of_none_differ() -> None:
    found = Comparison(1)
    found.take([pupil(1, in_care=False)], [pupil(1)])
    [difference] = found.differences()
    assert difference.pairs == {("false", ""): 1}


def test_keys_are_compared_too() -> None:
    found = Comparison(1)
    found.take([pupil(1, '["x",1]')], [pupil(1, '["x",1]', '["y",2]')])
    [difference] = found.differences()
    assert (difference.name, difference.pairs) == (KEYS, {('["x",1]', '["x",1] ["y",2]'): 1})


def test_a_row_that_comes_twice_counts_once() -> None:
    found = Comparison(5)
    for _ in range(3):
        found.take([pupil(1, surname="Reid")], [pupil(1, surname="REID")])
    assert (found.differing, found.only_before, found.only_after) == (1, 0, 0)
    assert found.differences()[0].count == 1


def test_records_that_come_from_different_rows_are_compared_as_a_whole() -> None:
    found = Comparison(5)
    found.take([pupil(1, surname="Reid")], [])
    found.take([], [pupil(1, surname="Reid")])
    found.take([pupil(2, surname="Reid")], [])
    found.take([], [pupil(2, surname="REID")])
    assert (found.same, found.differing, found.only_before, found.only_after) == (1, 1, 0, 0)


def test_pairs_beyond_the_most_are_counted_for_their_field_alone() -> None:
    found = Comparison(5)
    for number in range(1, comparison.MOST_PAIRS + 101):
        found.take([pupil(number, surname=f"Reid {number}")], [pupil(number, surname=f"REID {number}")])
    [difference] = found.differences()
    assert (difference.count, len(difference.pairs)) == (
        comparison.MOST_PAIRS + 100,
        comparison.MOST_PAIRS,
    )
