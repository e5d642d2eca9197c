from __future__ import annotations

import pytest

from schoolgate_bromcom import values


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("AM             ", "AM"),
        ("  Zoë ", "Zoë"),
        ("", None),
        ("   ", None),
        (None, None),
        (1204, "1204"),
    ],
)
def test_text_is_trimmed(given: object, expected: str | None) -> None:
    assert values.text(given) == expected


@pytest.mark.parametrize("given", [True, 1.5, ["AM"], {"a": 1}])
def test_text_is_text(given: object) -> None:
    with pytest.raises(ValueError, match="is no text"):
        values.text(given)


@pytest.mark.parametrize("given", ["DEFAULT", "UNKNOWN", "NoTutorGrp", "UNKNOWN   ", "", None])
def test_stand_ins_for_nothing_are_no_codes(given: object) -> None:
    assert values.code(given) is None


def test_somebody_may_be_called_unknown() -> None:
    assert values.text("UNKNOWN") == "UNKNOWN"
    assert values.code("Unknown heritage") == "Unknown heritage"


def test_zero_is_no_reference_number_and_no_id() -> None:
    assert values.reference_number("0") is None
    assert values.reference_number(0) is None
    assert values.reference_number("004021") == "004021"
    assert values.identifier(0) is None
    assert values.identifier("0") is None


@pytest.mark.parametrize(
    ("given", "expected"), [(17, 17), ("17", 17), (" 17  ", 17), ("", None), (None, None)]
)
def test_an_id_is_an_integer_however_it_is_written(given: object, expected: int | None) -> None:
    assert values.identifier(given) == expected


@pytest.mark.parametrize("given", [True, 17.0, "17a", "1e3", "٣", -4, "-4", 1 << 63, "9" * 30, [17]])
def test_anything_else_is_no_id(given: object) -> None:
    with pytest.raises(ValueError, match="is no integer"):
        values.identifier(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Yes", True), ("No  ", False), ("yes", True), (True, True), (False, False), ("", None), (None, None)],
)
def test_yes_no_and_booleans_are_flags(given: object, expected: bool | None) -> None:
    assert values.flag(given) is expected


@pytest.mark.parametrize("given", ["Perhaps", 1, 0, "Y"])
def test_a_flag_is_not_guessed(given: object) -> None:
    with pytest.raises(ValueError, match="neither Yes nor No"):
        values.flag(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-09-03", "2026-09-03"),
        ("2026-09-03T00:00:00", "2026-09-03"),
        (" 2026-09-03T08:50:00.000  ", "2026-09-03"),
        ("2024-02-29T00:00:00", "2024-02-29"),
        ("1900-01-01T00:00:00", None),
        ("1900-01-02T09:09:00", None),
        ("", None),
        ("    ", None),
        (None, None),
    ],
)
def test_day(given: str | None, expected: str | None) -> None:
    assert values.day(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "2026-02-30",
        "2026-13-01",
        "0000-01-01",
        "03/09/2026",
        "2026-08-31T23:00:00Z",
        "2026-09-01T00:00:00+01:00",
        "/Date(1788000000000)/",
        "2026-09-03x",
        20260903,
        True,
    ],
)
def test_a_day_is_not_guessed(given: str | int) -> None:
    with pytest.raises(ValueError, match="is no date"):
        values.day(given)


def test_the_last_day_becomes_the_first_day_after() -> None:
    assert values.day_after_last("2026-12-31T00:00:00") == "2027-01-01"
    assert values.day_after_last("2028-02-28") == "2028-02-29"
    assert values.day_after_last("1900-01-01T00:00:00") is None
    assert values.day_after_last("") is None


def test_what_ends_on_the_last_day_of_the_calendar_does_not_end() -> None:
    assert values.day_after_last("9999-12-31T00:00:00") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("7x/Ma1 (24/25)", "7x/Ma1"),
        ("7x/Ma1 (24/25)   ", "7x/Ma1"),
        ("Chess (lunch)", "Chess (lunch)"),
        ("7x (24/25) old", "7x (24/25) old"),
        (" (24/25)", "(24/25)"),
        (None, None),
    ],
)
def test_the_year_suffix_is_no_part_of_a_groups_name(given: str | None, expected: str | None) -> None:
    assert values.group_name(given) == expected


def test_spelling_finds_columns_in_any_case() -> None:
    assert values.spelling(("studentId", "StudentEMail")) == {
        "studentid": "studentId",
        "studentemail": "StudentEMail",
    }


def test_spelling_refuses_one_column_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        values.spelling(("studentId", "StudentID"))


def test_spelling_is_bounded() -> None:
    with pytest.raises(ValueError, match="more columns"):
        values.spelling(tuple(f"column{n}" for n in range(600)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1900-01-01T09:09:00", "09:09"),
        (" 1900-01-02 09:09:59.9999999 ", "09:09"),
        ("14:05", "14:05"),
        ("14:05:00", "14:05"),
        ("", None),
        (None, None),
    ],
)
def test_times_of_day(written: object, read: str | None) -> None:
    assert values.time_of_day(written) == read


@pytest.mark.parametrize("written", ["24:00", "09:60", "2026-09-01T09:00:00", "9:00", 900, "1900-01-01"])
def test_what_is_no_time_of_day(written: object) -> None:
    with pytest.raises(ValueError, match="is no time of day"):
        values.time_of_day(written)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-09-22T10:05:00", "2026-09-22T10:05:00"),
        ("2026-09-22 10:05:00.000", "2026-09-22T10:05:00"),
        ("2026-07-04T09:00:00.000Z", "2026-07-04T09:00:00Z"),
        ("2026-07-04T09:00:00+01:00", "2026-07-04T09:00:00+01:00"),
        ("2026-09-22T10:05", "2026-09-22T10:05:00"),
        ("2026-09-22", "2026-09-22"),
        ("1900-01-01T00:00:00", None),
        (" ", None),
    ],
)
def test_moments_are_as_precise_as_they_come(written: object, read: str | None) -> None:
    assert values.moment(written) == read


@pytest.mark.parametrize("written", ["2026-02-30T10:00:00", "2026-09-22T25:00:00", "22/09/2026", 20260922])
def test_what_is_no_moment(written: object) -> None:
    with pytest.raises(ValueError, match="is no date"):
        values.moment(written)


@pytest.mark.parametrize(
    ("written", "read"), [(-2, -2), (0, 0), ("-5 ", -5), ("", None), (None, None), (2.0, 2)]
)
def test_points(written: object, read: int | None) -> None:
    assert values.points(written) == read


@pytest.mark.parametrize("written", [True, 1.5, "1.5", "many", 1 << 31, "99999999999", float("inf")])
def test_what_is_no_number_of_points(written: object) -> None:
    with pytest.raises(ValueError, match="is no whole number of points"):
        values.points(written)


def test_g18_what_is_remembered_is_short() -> None:
    """Seen to fail: every row could leave megabytes behind, for as long as the server runs."""
    for long in ("2026-09-01" + " " * 1_000, " " * 1_000):
        with pytest.raises(ValueError, match="longer than any date"):
            values.day(long)
    with pytest.raises(ValueError, match="longer name"):
        values.spelling(("studentId", "x" * 1_000))
    assert values.spelling(()) == {}
