"""Single values of Wonde's rows: trimmed and typed. Pure functions.

Every one raises ``ValueError`` with a sentence that holds no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final, cast

_MOMENT: Final = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,7})?)?)?\s*", re.ASCII
)
_TIME: Final = re.compile(r"\s*(\d\d):(\d\d)(?::\d\d)?\s*", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,10}", re.ASCII)
_LONGEST_ID: Final = 100
_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}


def text(value: object) -> str | None:
    """Return a text without padding; ``None`` for nothing. Numbers are taken as their digits."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError("is no text")


def identifier(value: object) -> str | None:
    """Return one of Wonde's ids, such as "A1039521228": a text, and never a number."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("is no id: Wonde's are texts")  # noqa: TRY004 - the row's fault, not the caller's
    found = value.strip()
    if len(found) > _LONGEST_ID or not found.isprintable():
        raise ValueError("is no id")
    return found or None


def _written(value: object) -> re.Match[str] | None:
    """Return the parts of what a date object, or a text in its place, has for date and time."""
    if isinstance(value, dict):
        value = cast("Mapping[str, Any]", value).get("date")
        if value is None:
            raise ValueError("is an object without a date")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is no date")
    try:
        date.fromisoformat(match[1])
    except ValueError:
        raise ValueError("is no date") from None
    return match


def day(value: object) -> str | None:
    """Return the day that a date object names, in ISO 8601, by the clock of its own time zone."""
    match = _written(value)
    return None if match is None else match[1]


def next_day(value: object) -> str | None:
    """Return the day after the one that a date object names; the calendar's last day has none."""
    found = day(value)
    if found is None or found == date.max.isoformat():
        return None
    return (date.fromisoformat(found) + timedelta(days=1)).isoformat()


def moment(value: object) -> str | None:
    """Return date and time of a date object to the second, in ISO 8601, by the clock of its own time zone."""
    match = _written(value)
    if match is None:
        return None
    on, hour, minute, second = match.groups()
    if hour is None:
        return str(on)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise ValueError("is no date and time")
    return f"{on}T{hour}:{minute}:{second or '00'}"


def time_of_day(value: object) -> str | None:
    """Return a time of day as HH:MM."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise ValueError("is no time of day")
    return f"{match[1]}:{match[2]}"


def flag(value: object) -> bool | None:
    """Return a truth value; ``None`` for nothing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        value = str(value)
    if isinstance(value, str):
        found = value.strip().lower()
        if not found:
            return None
        if found in _FLAGS:
            return _FLAGS[found]
    raise ValueError("is neither true nor false")


def whole(value: object) -> int | None:
    """Return a whole number within 32 bits, which may be 0 or negative."""
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped:
            return None
        value = int(stripped) if _WHOLE.fullmatch(stripped) else value
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
        raise ValueError("is no whole number within 32 bits")
    return value


def weekday(value: object) -> int | None:
    """Return a day of the week from 1 to 7."""
    found = whole(value)
    if found is not None and not 1 <= found <= 7:
        raise ValueError("is no day of the week")
    return found
