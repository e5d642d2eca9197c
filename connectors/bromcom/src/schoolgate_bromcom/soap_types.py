"""Values of the SOAP services at the edge: from text to what the Partner API's JSON has for the same value.

A .NET DataSet writes a schema in front of its rows, which names every column and its type; a column that is
null is left out of its row. So a row is made whole from the schema: columns that it lacks are ``None``, and
ids, numbers and booleans are what they are in JSON. What does not look like its type stays text, and the
parser judges it row by row. Where an answer has no schema, ids are told by their names alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

Value: TypeAlias = str | int | float | bool

_INTEGER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?\d{1,18}\.\d{1,18}", re.ASCII)
_LOCAL_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?)[+-]\d\d:\d\d",
    re.ASCII,
)
_TRUTH: Final = {"true": True, "false": False, "1": True, "0": False}


def _integer(text: str) -> Value:
    return int(text) if _INTEGER.fullmatch(text.strip()) else text


def _number(text: str) -> Value:
    stripped = text.strip()
    if _INTEGER.fullmatch(stripped):
        return int(stripped)
    if not _DECIMAL.fullmatch(stripped):
        return text
    found = float(stripped)
    return int(found) if found.is_integer() and abs(found) < 1 << 53 else found


def _truth(text: str) -> Value:
    return _TRUTH.get(text.strip(), text)


def _moment(text: str) -> Value:
    """Return a date-time without its offset.

    A DataSet writes a date-time of no stated kind with the offset of the server's own zone and leaves the
    clock's reading as the database has it (.NET's DataSetDateTime.UnspecifiedLocal). That Bromcom's columns
    are of that default kind is inferred. A moment in UTC ("Z") is of another kind, and stays as it came.
    """
    match = _LOCAL_MOMENT.fullmatch(text)
    return match.group(1) if match else text


def _plain(text: str) -> Value:
    return text


Convert: TypeAlias = Callable[[str], Value]

_BY_TYPE: Final[Mapping[str, Convert]] = {
    **dict.fromkeys(
        (
            "byte",
            "short",
            "int",
            "long",
            "integer",
            "unsignedByte",
            "unsignedShort",
            "unsignedInt",
            "unsignedLong",
        ),
        _integer,
    ),
    **dict.fromkeys(("decimal", "double", "float"), _number),
    "boolean": _truth,
    "dateTime": _moment,
}


def of_type(xsd_type: str) -> Convert:
    """Return what makes a value of a column of ``xsd_type``, such as ``xs:int``."""
    return _BY_TYPE.get(xsd_type.rpartition(":")[2], _plain)


def of_name(column: str) -> Convert:
    """Return what makes a value of a column of which no schema tells the type.

    Bromcom's ids are integers, and their columns end in Id or ID.
    """
    return _integer if column[-2:].lower() == "id" else _moment
