"""How much a JSON answer may hold, told from its bytes before any object is made of them (G18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schoolgate_sdk.errors import SchemaChanged

_CONTAINERS_BESIDE: Final = 10_000
_VALUES_BESIDE: Final = 1_000_000
"""Allowed besides, for small pages: some tens of MiB at most."""


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
