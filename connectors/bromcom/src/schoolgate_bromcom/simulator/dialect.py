"""From typed rows to JSON text: Bromcom's ways of writing values, and its blemishes.

Blemishes depend on the row alone, so the same row looks the same in every process: padded strings,
stand-ins for null, rows that come twice, year suffixes, field names in varying case. ``tidy`` leaves them
out; what is no blemish but the format ("Yes" and "No" beside booleans, times on 1900-01-01) stays.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Final

import orjson

from schoolgate_bromcom.simulator.entities import TypedRow
from schoolgate_sdk.testing.entities import Mark

_BOOLEANS: Final = frozenset({"premiumPupilFlag"})
_PADDED: Final = {
    "periodDisplayName": 15,
    "collectionName": 40,
    "name": 40,
    "lastName": 30,
    "staffCode": 10,
    "genderCode": 4,
    "enrolmentStateName": 4,
    "collectionRoleTypeDescription": 30,
    "locationName": 20,
    "subjectName": 30,
    "calendarModelName": 20,
    "calendarTypeName": 15,
    "assessmentTypeName": 40,
    "termName": 12,
    "result": 8,
    "contact1Name": 60,
    "contact2Name": 60,
}
_STAND_INS: Final[dict[str, tuple[object, ...]]] = {
    "examNumber": ("0", "", None),
    "ethnicityCode": ("UNKNOWN", "", None),
    "provisionName": ("DEFAULT", None),
    "tutorGroupName": ("NoTutorGrp",),
    "endDate": (None, "", "1900-01-01T00:00:00"),
    "enrolmentEndDate": (None, ""),
    "locationID": (0, None),
    "employeeID": (0, None),
    "description": ("", None),
    "preferredFirstName": ("", None),
    "preferredLastName": ("", None),
    "jobTitle": ("", None),
    "locationName": ("UNKNOWN", "DEFAULT", None),
    "subjectName": ("UNKNOWN", "", None),
    "termName": ("UNKNOWN", "", None),
    "ownerId": (0, None),
    "classId": (0, None),
    "locationId": (0, None),
    "comment": ("", None),
    "internalComment": (None, ""),
    **{
        f"contact{position}{field}": ("", None)
        for position in (1, 2, 3)
        for field in ("Name", "Telephone", "Email", "Relationship", "ParentalResponsibility")
    },
}
_PASCAL_CASE: Final = frozenset({"Staff", "Collections", "Subjects"})
_TWICE: Final = 199
"""One row in so many comes twice, by a checksum of the row."""

_MARK_TWICE: Final = 4999
"""The same for marks, of which there are many."""


class Dialect:
    """Writes rows. ``year_suffix`` is what the names of classes end in, such as " (26/27)"."""

    def __init__(self, *, tidy: bool, year_suffix: str) -> None:
        self._tidy = tidy
        self._year_suffix = year_suffix

    def lines(self, entity: str, rows: Iterable[TypedRow]) -> Iterator[str]:
        """Yield each row as JSON text."""
        for row in rows:
            line = self._line(entity, row)
            yield line
            if not self._tidy and zlib.crc32(line.encode()) % _TWICE == 0:
                yield line

    def _line(self, entity: str, row: TypedRow) -> str:
        if self._tidy:
            return orjson.dumps({name: _plain(name, value) for name, value in row.items()}).decode()
        turn = next((value for value in row.values() if isinstance(value, int)), 0)
        suffix = self._year_suffix if row.get("collectionTypeName") == "CLASS" else ""
        written: TypedRow = {}
        for name, value in row.items():
            spelled = name[0].upper() + name[1:] if entity in _PASCAL_CASE else name
            if value is None and name in _STAND_INS:
                stand_ins = _STAND_INS[name]
                written[spelled] = stand_ins[turn % len(stand_ins)]
                continue
            plain = _plain(name, value)
            if isinstance(value, time) and turn % 2:
                plain = f"1900-01-02T{value.isoformat(timespec='seconds')}"
            if isinstance(plain, str):
                if name == "name":
                    plain += suffix
                if name in _PADDED and turn % 3 == 0:
                    plain = plain.ljust(_PADDED[name])
            written[spelled] = plain
        return orjson.dumps(written).decode()

    def mark_lines(self, marks: Iterable[Mark]) -> Iterator[str]:
        """Yield marks as JSON text, as :meth:`lines` would but twenty times as fast.

        All but the pupil repeats from mark to mark, so it is written once per day, session and code. A mark
        that comes twice is padded the second time where it was not the first, and the other way round.
        """
        tails: dict[tuple[date, str, str], tuple[str, str, int]] = {}
        twice = 0 if self._tidy else _MARK_TWICE
        for pupil, day, session, code, comment in marks:
            known = tails.get((day, session, code))
            if known is None:
                known = tails[day, session, code] = self._mark_tails(day, session, code)
            tail, other_tail, turn = known
            ending = "null}" if comment is None else orjson.dumps(comment).decode() + "}"
            yield f'{{"studentId":{pupil}{tail}{ending}'
            if twice and (pupil * 7919 + turn) % twice == 0:
                yield f'{{"studentId":{pupil}{other_tail}{ending}'

    def _mark_tails(self, day: date, session: str, code: str) -> tuple[str, str, int]:
        """Return what follows a pupil's number, in two paddings, and a number for the session of the year."""
        padded = session.ljust(_PADDED["periodDisplayName"])
        names = [session, session] if self._tidy else [session, padded]
        turn = day.toordinal() * 2 + (session == "PM")
        if turn % 3 == 0:
            names.reverse()
        tail, other_tail = (
            f',"calendarStartDate":"{day.isoformat()}T00:00:00","periodDisplayName":"{name}",'
            f'"mark":{orjson.dumps(code).decode()},"attendanceComment":'
            for name in names
        )
        return tail, other_tail, turn


def _plain(name: str, value: object) -> object:
    """Return the value as Bromcom formats it."""
    if isinstance(value, bool):
        return value if name in _BOOLEANS else ("Yes" if value else "No")
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, time):
        return f"1900-01-01T{value.isoformat(timespec='seconds')}"
    return value
