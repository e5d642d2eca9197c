"""``entityFilter``: a T-SQL predicate, and therefore built from typed values alone.

A caller's text can never get into a filter: a column is a :class:`Column` of this module, a value an
``int`` or a ``date``, and everything else raises before anything is built.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import date
from typing import TypeAlias

Value: TypeAlias = int | date
"""What a filter may compare a column with."""

EVERYTHING = "1=1"
"""The predicate of a whole entity. A bare ``{page:N}`` may do as well; nobody has published that it does."""

NOTHING = "1=0"
"""The predicate by which a grant is probed: it costs the MIS no rows."""


class Column(enum.Enum):
    """Columns by which rows are picked, as the vendor spells them."""

    STUDENT_ID = "studentId"
    STAFF_ID = "staffId"
    COLLECTION_ID = "collectionID"
    PERSON_ID = "personID"
    EXECUTIVE_STAFF_ID = "staffID"
    CALENDAR_START_DATE = "calendarStartDate"
    CALENDAR_MODEL_ID = "calendarModelID"
    EVENT_RECORD_ID = "eventRecordId"
    EVENT_DATE = "eventDate"
    ENTERED_DATE = "enteredDate"
    CONTACT_1_NAME = "contact1Name"
    CONTACT_1_TELEPHONE = "contact1Telephone"
    CONTACT_1_EMAIL = "contact1Email"
    CONTACT_1_RELATIONSHIP = "contact1Relationship"
    CONTACT_2_NAME = "contact2Name"
    CONTACT_2_TELEPHONE = "contact2Telephone"
    CONTACT_2_EMAIL = "contact2Email"
    CONTACT_2_RELATIONSHIP = "contact2Relationship"
    CONTACT_3_NAME = "contact3Name"
    CONTACT_3_TELEPHONE = "contact3Telephone"
    CONTACT_3_EMAIL = "contact3Email"
    CONTACT_3_RELATIONSHIP = "contact3Relationship"


def literal(value: Value) -> str:
    """Return ``value`` as a T-SQL literal; a date in the form that no language setting of the server
    reorders.

    Raises:
        TypeError: ``value`` is neither exactly an ``int`` nor exactly a ``date`` (``bool`` and ``datetime``
            are not).
    """
    if type(value) is int:
        return str(value)
    if type(value) is date:
        return _quoted(value.isoformat().replace("-", ""))
    raise TypeError(f"a filter compares with integers and dates, not with {type(value).__name__}")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def between(column: Column, first: date | None, end: date | None) -> str:
    """Return the predicate for ``first <= column < end``; a missing bound does not bound."""
    bounds = [
        f"{Column(column).value} {operator} {literal(bound)}"
        for operator, bound in ((">=", first), ("<", end))
        if bound is not None
    ]
    return " AND ".join(bounds) or EVERYTHING


def between_or_never(column: Column, first: date | None, end: date | None) -> str:
    """Return the predicate of :func:`between`, or for ``column`` having no date.

    That is null; T-SQL takes its empty date, 1900-01-01, for the same.
    """
    bounds = between(column, first, end)
    return bounds if bounds == EVERYTHING else f"({bounds}) OR isnull({Column(column).value},'') = ''"


def one_of(column: Column, values: Sequence[Value]) -> str:
    """Return the predicate for ``column`` being among ``values``, of which there must be one at least."""
    if not values:
        raise ValueError("a filter needs a value")
    return f"{Column(column).value} IN ({','.join(literal(value) for value in values)})"


def all_of(*predicates: str) -> str:
    """Return the predicate for all of ``predicates``, which are those of this module."""
    return " AND ".join(predicates) or EVERYTHING


def any_filled(columns: Sequence[Column]) -> str:
    """Return the predicate for at least one of ``columns``, which hold texts, not being blank."""
    return " OR ".join(f"isnull({Column(column).value},'') <> ''" for column in columns) or NOTHING


def page_of(predicate: str, number: int) -> str:
    """Return the ``entityFilter`` for one 0-based page: the literal text ``{page:N}`` after the predicate."""
    if type(number) is not int or number < 0:
        raise ValueError("a page number is an integer from 0")
    return f"{predicate}{{page:{number}}}"
