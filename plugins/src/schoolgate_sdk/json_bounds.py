"""Reading JSON answers: how much one may hold is told from its bytes before there are any objects (G18)."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


def decode_json(body: bytes | bytearray) -> object:
    """Return what ``body`` is as JSON.

    JSON may spell half a surrogate pair, as is left of an emoji where a column ends in its midst, and no text
    can hold one: it is read as U+FFFD, as whoever writes UTF-8 writes it, and costs nothing else.

    Raises:
        orjson.JSONDecodeError: it is none. The error holds all of ``body``: do not chain it.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\u" not in body:
            raise
        whole = _ESCAPE.sub(_whole, body)
        if whole == body:
            raise
    return orjson.loads(whole)


def _whole(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else rb"\ufffd"


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
