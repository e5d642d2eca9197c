"""When a MIS wants to be asked again, as HTTP says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_LONGEST_PAUSE: Final = timedelta(days=1)
"""What a longer Retry-After counts as: nobody means it."""


def retry_after(header: str | None, now: datetime) -> datetime | None:
    """Return the moment that a Retry-After header names (RFC 9110: seconds or a date), a day ahead at most.

    ``None`` for nonsense, and for dates that lie beyond the calendar.
    """
    if header is None:
        return None
    value = header.strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = int(value) if len(value) <= 9 else _LONGEST_PAUSE.total_seconds()
            named = now + timedelta(seconds=seconds)
        else:
            named = parsedate_to_datetime(value)
            named = (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return min(named, now + _LONGEST_PAUSE)
