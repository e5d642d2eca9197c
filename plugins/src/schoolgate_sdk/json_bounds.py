"""Reading JSON answers: how much one may hold is told from its bytes before there are any objects (G18)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isinf
from typing import Final

import orjson

from schoolgate_sdk.errors import SchemaChanged

_CONTAINERS_BESIDE: Final = 10_000
_VALUES_BESIDE: Final = 1_000_000
"""Allowed besides, for small pages: some tens of MiB at most."""

_HEX: Final = rb"[0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|(u[dD][89a-fA-F]%b)|.)" % (_HEX, _HEX, _HEX), re.DOTALL
)
"""An escape in a JSON text; the group is one of half a surrogate pair."""

_LONG: Final = (
    rb"-?(?:[1-9]\d{308,}+(?:\.\d++)?+(?:[eE][+-]?\d++)?+|(?:0|[1-9]\d*+)(?:\.\d++)?+[eE][+-]?\d++)"
)
"""A number that may be too large for a double: nothing shorter than this, without an exponent, is."""
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+'
_UP_TO_LONG: Final = re.compile(
    rb'((?:[^"\d-]*+(?:%b|-?\d{1,18}+(?![\d.eE])|(?!%b)[\d.eE+-]++))*+[^"\d-]*+)(%b|\Z)'
    % (_STRING, _LONG, _LONG),
    re.DOTALL,
)
"""What stands before the next long number, and that number, or the end. It always matches, and never goes
back: whatever text it is given, it takes time in proportion."""

_MOST_UNSAYABLE: Final = 1_000_000
"""Numbers of one answer that are kept as their texts: a hundred MiB or so."""


def decode_json(body: bytes | bytearray) -> object:
    """Return what ``body`` is as JSON.

    What JSON may spell and no row can hold costs nothing but its place:

    * half a surrogate pair, as is left of an emoji where a column ends in its midst, is read as U+FFFD, as
      whoever writes UTF-8 writes it;
    * a number that is too large for a double (``1e400``, or 400 digits) is read as a list of its text,
      ``["1e400"]``, as no column's value is: the parser that reads it refuses its row, and names the column.

    Integers beyond 64 bits that a double can hold are read as ``float``.

    Raises:
        orjson.JSONDecodeError: it is none. The error holds all of ``body``: do not chain it.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        mended = _with_long_numbers_as_texts(_ESCAPE.sub(_whole, body) if b"\\u" in body else body)
        if mended == body:
            raise
    return orjson.loads(mended)


def _whole(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else rb"\ufffd"


def _with_long_numbers_as_texts(text: bytes | bytearray) -> bytes | bytearray:
    left = _MOST_UNSAYABLE

    def said(match: re.Match[bytes]) -> bytes:
        nonlocal left
        before, number = match.groups()
        if not number or not isinf(float(number)) or not left:
            return match[0]
        left -= 1
        return b'%b["%b"]' % (before, number)

    return _UP_TO_LONG.sub(said, text)


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """What one row of a MIS has at most: objects and lists, and values.

    Braces, brackets and commas within texts are counted too, so both are to be generous.
    """

    containers_per_row: int
    values_per_row: int

    def check(self, body: bytes | bytearray, rows: int, *, mis: str, entity: str) -> None:
        """Refuse what would take far more memory as objects than it has bytes; a page has at most ``rows``.

        A hundred MiB of empty rows are some three GiB of objects.

        Raises:
            SchemaChanged: there is more in ``body`` than so many rows hold.
        """
        for found, per_row, beside, what in (
            (
                body.count(b"{") + body.count(b"["),
                self.containers_per_row,
                _CONTAINERS_BESIDE,
                "objects and lists",
            ),
            (body.count(b","), self.values_per_row, _VALUES_BESIDE, "values"),
        ):
            most = per_row * rows + beside
            if found > most:
                raise SchemaChanged(
                    f"{mis}'s answer holds more than {most} {what}, "
                    f"which no page of {rows} rows does (is page_size right?)",
                    entity=entity,
                )
