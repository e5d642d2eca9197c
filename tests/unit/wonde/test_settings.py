"""Settings of the Wonde connector, and single values of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schoolgate_sdk import AuthInvalid, Unsupported
from schoolgate_wonde import fields, values
from schoolgate_wonde.settings import WondeSettings, token_of


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "ftp://api.wonde.com"),
        ("base_url", "http://api.wonde.com/v1.0"),
        ("base_url", "https://user:secret@api.wonde.com/v1.0"),
        ("school_id", "A1/../A2"),
        ("school_id", "A1?x"),
        ("updated_after_zone", "Europe/Nowhere"),
        ("page_size", "0"),
        ("behaviour_writes", "maybe"),
        ("fields_students", "upn"),
        ("fields_students", "nobody=x"),
        ("fields_students", "upn=a..b"),
        ("fields_students", "upn=" + "a" * 3000),
    ],
)
def test_a_malformed_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(Unsupported, match=name):
        WondeSettings.parse({"school_id": "A1", name: value})


@pytest.mark.parametrize("token", ["", "two words", "a\nb", "é"])
def test_a_malformed_token_is_not_quoted(token: str) -> None:
    with pytest.raises(AuthInvalid) as refused:
        token_of({"token": token})
    assert not token or token not in str(refused.value)


def test_what_nests_is_asked_for() -> None:
    assert fields.includes("students", {}) == ("education_details", "contact_details", "year")
    assert fields.includes("attendance/lesson", {}) == ("lesson", "lesson.period", "attendance_code")
    settings = {"fields_students": "upn=upn, uln=, admission_number=, national_curriculum_year=, email="}
    assert fields.includes("students", settings) == ("year",)


@pytest.mark.parametrize(
    ("read", "given", "found"),
    [
        (values.day, {"date": "2026-09-07 00:00:00.000000", "timezone_type": 3}, "2026-09-07"),
        (values.day, "2026-09-07", "2026-09-07"),
        (values.day, None, None),
        (values.next_day, "9999-12-31", None),
        (values.next_day, "2026-12-31", "2027-01-01"),
        (values.moment, {"date": "2026-09-08 12:03:00.000000"}, "2026-09-08T12:03:00"),
        (values.moment, "2026-09-08", "2026-09-08"),
        (values.time_of_day, "09:05:00", "09:05"),
        (values.flag, 1, True),
        (values.flag, " false ", False),
        (values.whole, "-3", -3),
        (values.whole, " ", None),
        (values.identifier, " A1 ", "A1"),
        (values.text, 17, "17"),
    ],
)
def test_values(read: Callable[[Any], Any], given: object, found: object) -> None:
    assert read(given) == found


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (values.day, {"date": "2026-02-30 00:00:00"}),
        (values.day, {}),
        (values.day, 20260907),
        (values.moment, "2026-09-08T25:00"),
        (values.time_of_day, "24:00"),
        (values.flag, "perhaps"),
        (values.whole, 1 << 40),
        (values.whole, True),
        (values.weekday, 0),
        (values.identifier, 17),
        (values.identifier, "x" * 200),
        (values.text, ["x"]),
    ],
)
def test_what_is_no_such_value(read: Callable[[Any], Any], given: object) -> None:
    with pytest.raises(ValueError, match=r"^is "):
        read(given)
