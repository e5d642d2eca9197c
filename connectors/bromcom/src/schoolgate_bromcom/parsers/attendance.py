"""Parsers of attendance marks, of sessions and of lessons, before and after August 2024."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.attendance_pb2 import (
    ATTENDANCE_SESSION_AM,
    ATTENDANCE_SESSION_LESSON,
    ATTENDANCE_SESSION_PM,
    AttendanceMark,
    AttendanceSession,
)
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate_bromcom import values
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.parsers.keys import ATTENDANCE, STUDENT, student_ref
from schoolgate_sdk import Parsed, Parser, Row, RowRejected, SourceKey

_ID_LIMIT: Final = 1 << 63
_SESSIONS: Final = {"am": ATTENDANCE_SESSION_AM, "pm": ATTENDANCE_SESSION_PM}
_LONGEST_MARK: Final = 2
"""Characters of a mark for version 1. A longer one (``AttendanceSessions`` joins marks by commas) is no mark
to it.
"""

_LONGEST_SUBCODE: Final = 8
"""Characters. Bromcom says "2+" of mark and subcode together and gives no bound; this one keeps text out."""

_STATUTORY: Final = frozenset({"C1", "C2", "J1", "Y1", "Y2", "Y3", "Y4", "Y5", "Y6", "Y7"})
"""Codes of two characters in law (SI 2024/208 reg. 10). To Bromcom they are marks with subcodes."""


_MARK_COLUMNS: Final = ("studentid", "calendarstartdate", "perioddisplayname", "mark", "attendancecomment")


class _Code(NamedTuple):
    """What a mark says: the code and, where the school tells more apart than the code does, its subcode."""

    code: str | None
    subcode: str | None = None


_ReadMark: TypeAlias = Callable[[str | None], _Code]


def _mark_parser(read_mark: _ReadMark) -> Parser:
    """Return a parser of ``BasicAttendance`` that understands the column ``mark`` as ``read_mark`` does.

    A school has 570,000 session marks a year, so it spells out its fast way: everything that repeats over
    rows (the spelling of columns, days, periods, codes, references) is looked up, and only the rest is worked
    out.
    """

    def parse(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
        try:
            student_id, day, period, mark, comment = _mark_values(tuple(row))(row)
            if type(student_id) is not int or not 0 < student_id < _ID_LIMIT:
                student_id = values.identifier(student_id)
            date = values.day(day)
            name, session = _period(period)
            if student_id is None or date is None or name is None:
                raise _key_missing(student_id, date)
            key = SourceKey(ATTENDANCE, (student_id, date, name))
            code, subcode = read_mark(mark)
            message = AttendanceMark(
                date=date,
                session=session,
                period_name=name,
                code=code,
                comment=None if comment is None else values.text(comment),
            )
            if subcode is not None:
                message.subcode = subcode
        except (TypeError, ValueError) as error:
            if isinstance(error, RowRejected):
                raise
            raise _explain_mark(row, read_mark) from error
        return (Parsed(KIND_ATTENDANCE_MARK, key, message, student_ref(STUDENT, student_id)),)

    return parse


@lru_cache(maxsize=64)
def _mark_values(names: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    spelled = values.spelling(names)
    if all(column in spelled for column in _MARK_COLUMNS):
        return itemgetter(*(spelled[column] for column in _MARK_COLUMNS))
    present = [spelled.get(column) for column in _MARK_COLUMNS]
    return lambda row: tuple(None if name is None else row[name] for name in present)


@lru_cache(maxsize=4096)
def _period(value: str | None) -> tuple[str | None, AttendanceSession.ValueType]:
    """Return a period's name and the register that it belongs to; a period that is neither AM nor PM is a
    lesson's.
    """
    name = None if value is None else values.short_text(value)
    return name, _SESSIONS.get((name or "").lower(), ATTENDANCE_SESSION_LESSON)


@lru_cache(maxsize=4096)
def _whole_mark(value: str | None) -> _Code:
    """Return a mark of one or two characters as it came."""
    found = None if value is None else values.short_text(value)
    if found is not None and len(found) > _LONGEST_MARK:
        raise ValueError("is longer than one attendance code")
    return _Code(found)


@lru_cache(maxsize=4096)
def _mark_and_subcode(value: str | None) -> _Code:
    """Return a mark taken apart: a character of the entity ``Marks``, then an ``AttendanceMarkSubcodes``.

    A comma, or anything else that is neither letter nor digit, is part of no subcode: several marks in one
    text are refused rather than taken for the first of them.
    """
    found = None if value is None else values.short_text(value)
    if found is None or len(found) == 1 or found in _STATUTORY:
        return _Code(found)
    mark, subcode = found[0], found[1:]
    if len(subcode) > _LONGEST_SUBCODE or not (subcode.isascii() and subcode.isalnum()):
        raise ValueError("is no attendance code with a subcode")
    return _Code(mark, subcode)


parse_attendance_mark: Final = _mark_parser(_whole_mark)
"""Version 1 of the parser of ``BasicAttendance``: a mark of one or two characters is a code, whatever it is,
and a longer one rejects the row.
"""

parse_attendance_mark_2: Final = _mark_parser(_mark_and_subcode)
"""Version 2: since August 2024 the same text is a mark with a subcode. The two-character codes of the law
stay whole; of every other text the first character is the code, and so has a meaning, and the rest its
subcode.
"""


def _key_missing(student_id: int | None, date: str | None) -> RowRejected:
    if student_id is None:
        field = "studentId"
    else:
        field = "calendarStartDate" if date is None else "periodDisplayName"
    return RowRejected(diagnostics.DECISION_REASON_KEY_MISSING, field, "is part of the key and is missing")


def _explain_mark(row: Row, read_mark: _ReadMark) -> RowRejected:
    """Read a mark that the fast way could not read once more, value by value, for the sake of a telling
    verdict.
    """
    try:
        reader = RowReader(row)
        student_id, date = reader.number("studentId"), reader.day("calendarStartDate")
        name = reader.value("periodDisplayName", lambda value: _period(value)[0])
        if student_id is None or date is None or name is None:
            return _key_missing(student_id, date)
        reader.key = SourceKey(ATTENDANCE, (student_id, date, name))
        reader.value("mark", read_mark)
        reader.text("attendanceComment")
    except RowRejected as rejected:
        return rejected
    return RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, "", "the row cannot be read", reader.key)
