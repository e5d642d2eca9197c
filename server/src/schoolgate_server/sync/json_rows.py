"""Rows as JSON, as they are retained."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator

import orjson

from schoolgate_sdk import Row
from schoolgate_server.model.hashing import rows_digest

_AS_IT_IS = (
    orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
)


def encode_row(row: Row) -> bytes:
    """Return a row as JSON.

    Raises:
        TypeError: JSON cannot say it, or only as the text of something else, which a parser reads otherwise.
    """
    return orjson.dumps(row, option=_AS_IT_IS)


class JsonRows:
    """Rows as one JSON array, and where each of them ends: objects of their own would take twice as much."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        """Take ``rows``.

        Raises:
            TypeError: as :func:`encode_row`.
        """
        self._text = bytearray(b"[")
        self._ends = array("Q")
        text, ended = self._text, self._ends.append
        for row in rows:
            text += encode_row(row)
            ended(len(text))
            text += b","
        if self._ends:
            del text[-1]
        text += b"]"

    def __len__(self) -> int:
        return len(self._ends)

    def absorb(self, others: JsonRows) -> None:
        """Take the rows of ``others``, which is not to be used any more, after these."""
        if not self._ends:
            self._text, self._ends = others._text, others._ends
        elif others._ends:
            self._text[-1:] = b","
            moved = len(self._text) - 1
            self._text += memoryview(others._text)[1:]
            self._ends.extend(end + moved for end in others._ends)

    def clear(self) -> None:
        """Let go of the rows."""
        self._text, self._ends = bytearray(b"[]"), array("Q")

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return len(self._text)

    def digest(self) -> bytes:
        """Return the digest under which the rows are retained."""
        return rows_digest(self._text)

    def row_digests(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the digests of the rows from ``start``, which there is, to before ``stop`` or to the end."""
        text = memoryview(self._text)
        begin = self._ends[start - 1] + 1 if start else 1
        for end in self._ends[start:stop]:
            yield rows_digest(text[begin:end])
            begin = end + 1

    def compressed(self) -> bytes:
        """Return the rows as they are retained: compressed, since school data repeats itself."""
        return zlib.compress(self._text, 1)


def decode_rows(payload: bytes) -> list[Row]:
    """Return the rows that :meth:`JsonRows.compressed` gave."""
    rows: list[Row] = orjson.loads(zlib.decompress(payload))
    return rows
