"""Single values of Bromcom rows: trimmed, typed, and with its stand-ins for "nothing" taken for nothing.

Pure functions. Every one raises ``ValueError`` with a sentence that holds no value.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

_MOST_COLUMNS: Final = 512
"""A row with more columns is none of Bromcom's; the bound keeps the cache of spellings small."""

TEXT: Final = "#text"
"""Stands in a row for text beside its columns; it is the name of none."""

_MOST_CACHED_TEXT: Final = 100
"""Characters of a column name, date, period name or code, padding included: it keeps the caches small."""

_MOST_SMALL: Final = 1000

_NOT_CODES: Final = frozenset({"DEFAULT", "UNKNOWN", "NoTutorGrp"})
_YEAR_SUFFIX: Final = re.compile(r" \(\d\d/\d\d\)$")
_DAY: Final = re.compile(r"\s*(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?)?\s*", re.ASCII)
_MOMENT: Final = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,7})?)?(Z|[+-]\d\d:\d\d)?)?\s*", re.ASCII
)
_TIME: Final = re.compile(r"\s*(?:(\d{4})-\d\d-\d\d[T ])?(\d\d):(\d\d)(?::\d\d(?:\.\d{1,7})?)?\s*", re.ASCII)
_SIGNED: Final = re.compile(r"-?\d{1,10}", re.ASCII)
_INTEGER: Final = re.compile(r"\d{1,18}", re.ASCII)
_FLAGS: Final = {"yes": True, "no": False, "true": True, "false": False}


@lru_cache(maxsize=256)
def spelling(names: tuple[str, ...]) -> Mapping[str, str]:
    """Map each column's name in lower case to its name as the row has it.

    The case of Bromcom's columns varies from entity to entity. Rows of a page share their names, so the
    answer is worked out once for every distinct ``tuple(row)``.
    """
    if len(names) > _MOST_COLUMNS:
        raise ValueError("the row has more columns than any Bromcom entity")
    if max(map(len, names), default=0) > _MOST_CACHED_TEXT:
        raise ValueError("the row has a column with a longer name than any")
    if TEXT in names:
        raise ValueError("the row has text beside its columns")
    spelled = {name.lower(): name for name in names}
    if len(spelled) != len(names):
        raise ValueError("the row has one column twice in different case")
    return spelled


def spelled_once(names: Iterable[str]) -> Mapping[str, str]:
    """Map, as :func:`spelling` does, the columns that come once; for rows that it refuses."""
    spelled: dict[str, str] = {}
    twice: set[str] = set()
    for name in names:
        lower = name.lower()
        if spelled.setdefault(lower, name) != name:
            twice.add(lower)
    return {lower: name for lower, name in spelled.items() if lower not in twice}


def text(value: object) -> str | None:
    """Return a text without padding; ``None`` for nothing. Bromcom sends some numbers (admission) as JSON
    numbers.
    """
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError("is no text")


def code(value: object) -> str | None:
    """Return a code or the name of something configured; ``DEFAULT``, ``UNKNOWN`` and ``NoTutorGrp`` are
    nothing.

    Names of people are read with :func:`text`: somebody may well be called Unknown.
    """
    found = text(value)
    return None if found in _NOT_CODES else found


def reference_number(value: object) -> str | None:
    """Return a number that is kept as text, such as an admission number; 0 is nothing."""
    found = text(value)
    return None if found == "0" else found


def identifier(value: object) -> int | None:
    """Return one of Bromcom's integer ids; 0 is nothing. Digits that come as text are the same id."""
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped:
            return None
        if not _INTEGER.fullmatch(stripped):
            raise ValueError("is no integer from 0")
        return int(stripped) or None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63:
        return value or None
    raise ValueError("is no integer from 0")


def flag(value: object) -> bool | None:
    """Return a flag that came as a JSON boolean or as "Yes"/"No"."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        stripped = value.strip().lower()
        if not stripped:
            return None
        if stripped in _FLAGS:
            return _FLAGS[stripped]
    raise ValueError("is neither Yes nor No")


@lru_cache(maxsize=16_384)
def day(value: Hashable) -> str | None:
    """Return the ISO date of a date or date-time without offset; ``None`` for nothing.

    A date-time with an offset is refused: which day is meant would be a guess. Days repeat over very many
    rows, hence the cache.
    """
    if value is None:
        return None
    if isinstance(value, str) and len(value) > _MOST_CACHED_TEXT:
        raise ValueError("is longer than any date")
    match = _DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, str) and not value.strip():
            return None
        raise ValueError("is no date")
    try:
        found = date(*(int(part) for part in match.groups()))
    except ValueError:
        raise ValueError("is no date") from None
    # T-SQL's empty date is 1900-01-01, and Bromcom writes times of day on the first days of 1900.
    return None if found.year == 1900 else found.isoformat()


def day_after_last(value: Hashable) -> str | None:
    """Return the half-open end of a span whose last day Bromcom gives.

    That ``endDate`` and ``enrolmentEndDate`` name the last day on which the span still holds is an
    inference, stated in no public source; this is the one place that rests on it.
    """
    last = day(value)
    # The calendar's last day, which databases use for "for ever", has no day after it.
    if last is None or last == date.max.isoformat():
        return None
    return (date.fromisoformat(last) + timedelta(days=1)).isoformat()


def group_name(value: object) -> str | None:
    """Return the name of a group without the year suffix " (24/25)" that Bromcom appends to some."""
    found = text(value)
    return None if found is None else _YEAR_SUFFIX.sub("", found) or None


@lru_cache(maxsize=4096)
def short_text(value: str) -> str | None:
    """Return a short text that repeats over many rows, without padding; ``None`` for nothing."""
    if len(value) > _MOST_CACHED_TEXT:
        raise ValueError("is longer than any name or code")
    return value.strip() or None


def short_name(value: object) -> str | None:
    """Return the name of something configured that becomes part of a key; stand-ins for null are nothing."""
    found = code(value)
    if found is not None and len(found) > _MOST_CACHED_TEXT:
        raise ValueError("is longer than any name or code")
    return found


def time_of_day(value: object) -> str | None:
    """Return a time of day as HH:MM. Bromcom writes it as a moment of the first days of 1900; which of them
    it is means nothing.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is no time of day")
    year, hour, minute = match.groups()
    if year not in {None, "1900"} or int(hour) > 23 or int(minute) > 59:
        raise ValueError("is no time of day")
    return f"{hour}:{minute}"


def moment(value: object) -> str | None:
    """Return a date, or a date and time to the second, in ISO 8601; an offset is kept where there is one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is no date and time")
    on, hour, minute, second, offset = match.groups()
    if day(on) is None:
        return None
    if hour is None:
        return str(on)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise ValueError("is no date and time")
    return f"{on}T{hour}:{minute}:{second or '00'}{offset or ''}"


def small_number(value: object) -> int | None:
    """Return a number such as that of a week of the cycle; 0 is nothing."""
    found = identifier(value)
    if found is not None and found > _MOST_SMALL:
        raise ValueError(f"is more than {_MOST_SMALL}")
    return found


def weekday(value: object) -> int | None:
    """Return a day of the week from 1 to 7."""
    found = identifier(value)
    if found is not None and found > 7:
        raise ValueError("is no day of the week")
    return found


def points(value: object) -> int | None:
    """Return points, which may be negative, and 0 is a number of them."""
    if value is None:
        return None
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped:
            return None
        found = int(stripped) if _SIGNED.fullmatch(stripped) else None
    elif isinstance(value, float):
        found = int(value) if value.is_integer() and abs(value) < 1 << 31 else None
    else:
        found = value if isinstance(value, int) and not isinstance(value, bool) else None
    if found is None or not -(1 << 31) <= found < 1 << 31:
        raise ValueError("is no whole number of points")
    return found
