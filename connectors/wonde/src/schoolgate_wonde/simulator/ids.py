"""Ids as Wonde writes them, and dates."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

LONDON: Final = ZoneInfo("Europe/London")

_FIRST: Final = {
    "students": 1_000_000_000,
    "employees": 1_100_000_000,
    "contacts": 1_200_000_000,
    "groups": 1_300_000_000,
    "classes": 1_400_000_000,
    "rooms": 1_500_000_000,
    "periods": 1_600_000_000,
    "behaviours": 1_700_000_000,
    "achievements": 1_800_000_000,
}
_SPAN: Final = 100_000_000
_WITHOUT_UPI: Final = 7
"""Every so manieth person has no ``upi``."""


def number_id(resource: str, number: int) -> str:
    """Return the id of what has a number in the world."""
    return f"A{_FIRST[resource] + number}"


def number_of(resource: str, given: object) -> int | None:
    """Return the world's number behind an id; ``None`` for what is none of the resource's."""
    if not isinstance(given, str) or not given.startswith("A") or not given[1:].isdecimal():
        return None
    number = int(given[1:]) - _FIRST[resource]
    return number if 0 < number < _SPAN else None


def code_id(resource: str, code: str) -> str:
    """Return the id of what has a code in the world."""
    return f"A9{zlib.crc32(f'{resource} {code}'.encode()):010d}"


def upi_of(person: int) -> str | None:
    """Return who somebody is across schools, whichever part they play; some are nobody there."""
    return None if person % _WITHOUT_UPI == 0 else f"{zlib.crc32(f'upi {person}'.encode()):08x}"


def day_object(day: date | None) -> dict[str, object] | None:
    """Return a date as an object."""
    return None if day is None else _object(f"{day.isoformat()} 00:00:00.000000")


def time_object(moment: datetime) -> dict[str, object]:
    """Return a moment as an object; one without a zone is London's already."""
    local = moment.astimezone(LONDON) if moment.tzinfo else moment
    return _object(f"{local:%Y-%m-%d %H:%M:%S.%f}")


def _object(text: str) -> dict[str, object]:
    return {"date": text, "timezone_type": 3, "timezone": "Europe/London"}


def moment_of(text: str) -> datetime | None:
    """Return the moment of ``YYYY-MM-DD HH:MM:SS``; ``None`` for anything else."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the zone is given next
    except ValueError:
        return None
    return found.replace(tzinfo=LONDON).astimezone(UTC)
