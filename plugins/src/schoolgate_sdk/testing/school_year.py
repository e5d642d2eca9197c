"""The academic year of a school in England: terms, holidays and 190 school days."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, timedelta

from schoolgate_sdk.testing.entities import Session, Term
from schoolgate_sdk.testing.errors import WorldError

SCHOOL_DAYS = 190
"""Days of a school year: 380 sessions (Education (School Day and School Year) (England) Regulations 1999)."""

_INSET_DAYS = 5
_SESSIONS: tuple[Session, Session] = ("AM", "PM")


@dataclass(frozen=True, slots=True)
class SchoolYear:
    """An academic year. ``days`` are the days with registers, two sessions each, in order."""

    name: str
    valid_from: date
    valid_to: date
    terms: tuple[Term, ...]
    days: tuple[date, ...]

    def index_from(self, day: date) -> int:
        """Return the index of the first session on or after ``day``; sessions count from 0, two a day."""
        return 2 * bisect_left(self.days, day)

    def index_of(self, day: date, session: Session) -> int | None:
        """Return the index of a session, or ``None`` where the school does not meet on that day."""
        index = self.index_from(day)
        if index == 2 * len(self.days) or self.days[index // 2] != day:
            return None
        return index + _SESSIONS.index(session)

    def sessions(self) -> list[tuple[date, Session]]:
        """Return day and session for every index."""
        return [(day, session) for day in self.days for session in _SESSIONS]


def school_year(start: date) -> SchoolYear:
    """Return the academic year that begins on ``start``, a day in August or September.

    Raises:
        WorldError: ``start`` is in another month.
    """
    if start.month not in {8, 9}:
        raise WorldError("an academic year begins in August or September")
    easter = _easter(start.year + 1)
    holidays = _holidays(start.year)
    spans = {
        "Autumn": (start + timedelta(days=2), _monday_from(date(start.year, 12, 20))),
        "Spring": (date(start.year + 1, 1, 4), easter - timedelta(days=6)),
        "Summer": (easter + timedelta(days=8), date(start.year + 1, 9, 1)),
    }
    weekdays = {
        name: [day for day in _weekdays(*span) if day not in holidays] for name, span in spans.items()
    }
    open_days = [day for part in weekdays.values() for day in part][: SCHOOL_DAYS + _INSET_DAYS]
    terms = tuple(
        Term(name, part[0], min(part[-1], open_days[-1]) + timedelta(days=1))
        for name, part in weekdays.items()
    )
    autumn = weekdays["Autumn"]
    after_half_term = next(day for day in autumn if day >= date(start.year, 10, 29))
    inset = {autumn[1], after_half_term, *(part[0] for part in weekdays.values())}
    return SchoolYear(
        name=f"{start.year}/{(start.year + 1) % 100:02d}",
        valid_from=start,
        valid_to=start.replace(year=start.year + 1),
        terms=terms,
        days=tuple(day for day in open_days if day not in inset),
    )


def _weekdays(first: date, end: date) -> list[date]:
    days = (first + timedelta(days=offset) for offset in range((end - first).days))
    return [day for day in days if day.weekday() < 5]


def _monday_from(day: date) -> date:
    return day + timedelta(days=-day.weekday() % 7)


def _holidays(year: int) -> frozenset[date]:
    """Return the half-term weeks and the bank holidays in term time of the year that begins in ``year``."""
    mondays = (
        _monday_from(date(year, 10, 22)),
        _monday_from(date(year + 1, 2, 12)),
        _monday_from(date(year + 1, 5, 25)),
    )
    weeks = {monday + timedelta(days=offset) for monday in mondays for offset in range(5)}
    return frozenset(weeks | {_monday_from(date(year, 8, 25)), _monday_from(date(year + 1, 5, 1))})


def _easter(year: int) -> date:
    """Return Easter Sunday (the anonymous Gregorian computus of Meeus, Jones and Butcher)."""
    golden = year % 19
    century, rest = divmod(year, 100)
    epact = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)
