"""Quiet hours: when a school's MIS is to be spared, by the school's own clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schoolgate.v1.school_service_pb2 import QuietHours, School

DEFAULT_TIME_ZONE = "Europe/London"
"""Of a school that names none."""

END_OF_DAY = "24:00"
"""When hours are over that last until the next day."""

_MONDAY_TO_FRIDAY = (1, 2, 3, 4, 5)
_MINUTE = timedelta(minutes=1)
_MOST = 20
"""Quiet hours that a school may have, and so as many that may follow each other without a gap."""


def zone_of(school: School) -> ZoneInfo:
    """Return the time zone by which the school has its days; the default where it has none that is known."""
    try:
        return ZoneInfo(school.time_zone or DEFAULT_TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(DEFAULT_TIME_ZONE)


def quiet_until(school: School, now: datetime) -> datetime | None:
    """Return when the quiet hours that ``now`` lies in are over (UTC), ``None`` outside of any.

    Hours that touch or overlap are one. A day on which clocks change has its own length.
    """
    zone = zone_of(school)
    until: datetime | None = None
    for _ in range(_MOST):
        local = (until or now).astimezone(zone)
        ends = [_end(hours, local.date()) for hours in school.quiet_hours if _covers(hours, local)]
        if not ends:
            break
        # fold: where an hour comes twice, quiet is over after the second one.
        last = max(ends).replace(tzinfo=zone, fold=1).astimezone(UTC)
        while last.astimezone(zone).replace(tzinfo=None) < max(ends):
            last += _MINUTE  # where it does not come, as the clock jumps past it
        if until is not None and last <= until:
            break
        until = last
    return until


def _covers(hours: QuietHours, local: datetime) -> bool:
    if local.isoweekday() not in (hours.weekdays or _MONDAY_TO_FRIDAY):
        return False
    now = local.replace(tzinfo=None)
    return datetime.combine(now, time.fromisoformat(hours.begins)) <= now < _end(hours, now.date())


def _end(hours: QuietHours, day: date) -> datetime:
    """Return the local time at which the hours of a day are over, the next day's first where it is 24:00."""
    if hours.ends == END_OF_DAY:
        return datetime.combine(day + timedelta(days=1), time.min)
    return datetime.combine(day, time.fromisoformat(hours.ends))
