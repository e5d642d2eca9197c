"""Quiet hours: when a school's MIS is to be spared, by the school's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schoolgate.v1.school_service_pb2 import QuietHours, School

DEFAULT_TIME_ZONE = "Europe/London"
"""Of a school that names none."""

_MONDAY_TO_FRIDAY = (1, 2, 3, 4, 5)
_MINUTE = timedelta(minutes=1)
_MOST = 20
"""Quiet hours that a school may have, and so as many that may follow each other without a gap."""


def quiet_until(school: School, now: datetime) -> datetime | None:
    """Return when the quiet hours that ``now`` lies in are over (UTC), ``None`` outside of any.

    Hours that touch or overlap are one. A day on which clocks change has its own length.
    """
    zone = ZoneInfo(school.time_zone or DEFAULT_TIME_ZONE)
    until: datetime | None = None
    for _ in range(_MOST):
        local = (until or now).astimezone(zone)
        ends = [time.fromisoformat(hours.ends) for hours in school.quiet_hours if _covers(hours, local)]
        if not ends:
            break
        # fold: where an hour comes twice, quiet is over after the second one.
        last = datetime.combine(local.date(), max(ends), zone).replace(fold=1).astimezone(UTC)
        while last.astimezone(zone).time() < max(ends):
            last += _MINUTE  # where it does not come, as the clock jumps past it
        if until is not None and last <= until:
            break
        until = last
    return until


def _covers(hours: QuietHours, local: datetime) -> bool:
    if local.isoweekday() not in (hours.weekdays or _MONDAY_TO_FRIDAY):
        return False
    return time.fromisoformat(hours.begins) <= local.time() < time.fromisoformat(hours.ends)
