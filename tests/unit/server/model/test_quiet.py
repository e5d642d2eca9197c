"""Quiet hours are the school's own time of day, whatever the season."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schoolgate.v1.school_service_pb2 import QuietHours, School
from schoolgate_server.model.quiet import quiet_until


def _school(*hours: QuietHours, zone: str = "Europe/London") -> School:
    return School(time_zone=zone, quiet_hours=hours)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


REGISTRATION = QuietHours(begins="08:30", ends="09:30")


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-02T08:29:59", None),
        ("2026-11-02T08:30:00", "2026-11-02T09:30:00"),
        ("2026-11-02T09:29:59", "2026-11-02T09:30:00"),
        ("2026-11-02T09:30:00", None),
        # British Summer Time: an hour earlier by UTC.
        ("2026-09-14T07:30:00", "2026-09-14T08:30:00"),
        ("2026-09-14T08:45:00", None),
        # A Saturday.
        ("2026-11-07T08:45:00", None),
    ],
)
def test_registration_hours(now: str, until: str | None) -> None:
    found = quiet_until(_school(REGISTRATION), _at(now))
    assert found == (None if until is None else _at(until))


def test_days_that_are_given_are_those_that_count() -> None:
    school = _school(QuietHours(begins="08:30", ends="09:30", weekdays=[6]))
    assert quiet_until(school, _at("2026-11-07T08:45:00")) == _at("2026-11-07T09:30:00")
    assert quiet_until(school, _at("2026-11-02T08:45:00")) is None


def test_hours_that_touch_or_overlap_are_one() -> None:
    touching = QuietHours(begins="09:30", ends="10:00")
    overlapping = QuietHours(begins="09:45", ends="10:15")
    apart = QuietHours(begins="13:00", ends="13:30")
    school = _school(REGISTRATION, touching, overlapping, apart)
    assert quiet_until(school, _at("2026-11-02T08:45:00")) == _at("2026-11-02T10:15:00")


@pytest.mark.parametrize("ends", ["01:00", "01:30", "02:00"])
def test_hours_that_end_in_an_hour_that_does_not_come_end_as_the_clock_jumps_past_it(ends: str) -> None:
    """Seen to fail where the end was up to an hour earlier, and in the past before it came."""
    night = QuietHours(begins="00:00", ends=ends, weekdays=[7])
    assert quiet_until(_school(night), _at("2026-03-29T00:45:00")) == _at("2026-03-29T01:00:00")
    assert quiet_until(_school(night), _at("2026-03-29T01:00:00")) is None


EVENING = QuietHours(begins="22:00", ends="24:00")
NIGHT = QuietHours(begins="00:00", ends="06:00")


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-02T21:59:59", None),
        ("2026-11-02T22:00:00", "2026-11-03T06:00:00"),
        ("2026-11-02T23:59:59.999999", "2026-11-03T06:00:00"),
        ("2026-11-03T00:00:00", "2026-11-03T06:00:00"),
        ("2026-11-03T06:00:00", None),
        # A Friday evening, and a Saturday's night that is not given.
        ("2026-11-06T23:59:00", "2026-11-07T00:00:00"),
        ("2026-11-07T00:00:00", None),
        # The evening before the clock jumps, in British Winter Time.
        ("2026-03-27T23:30:00", "2026-03-28T00:00:00"),
    ],
)
def test_hours_until_24_touch_those_of_the_next_day(now: str, until: str | None) -> None:
    """Seen to fail where the last minute of a day stayed open, with 23:59 for 24:00."""
    found = quiet_until(_school(EVENING, NIGHT), _at(now))
    assert found == (None if until is None else _at(until))


def test_hours_until_a_midnight_that_the_clock_jumps_past_end_with_the_jump() -> None:
    """On 2026-03-29 Beirut goes from 00:00 to 01:00. Seen to fail where the end was an hour before."""
    school = _school(QuietHours(begins="22:00", ends="24:00", weekdays=[6]), zone="Asia/Beirut")
    assert quiet_until(school, _at("2026-03-28T21:30:00")) == _at("2026-03-28T22:00:00")
    assert quiet_until(school, _at("2026-03-28T22:00:00")) is None


def test_quiet_hours_without_a_gap_end_all_the_same() -> None:
    always = QuietHours(begins="00:00", ends="24:00", weekdays=range(1, 8))
    now = _at("2026-11-02T12:00:00")
    until = quiet_until(_school(always), now)
    assert until is not None
    assert now < until <= now + timedelta(days=21)


def test_the_zone_is_the_schools() -> None:
    assert quiet_until(_school(REGISTRATION, zone="Asia/Nicosia"), _at("2026-11-02T06:45:00")) is not None
    assert quiet_until(_school(REGISTRATION, zone=""), _at("2026-11-02T08:45:00")) is not None


def test_a_school_without_quiet_hours_has_none() -> None:
    assert quiet_until(_school(), _at("2026-11-02T08:45:00")) is None
