"""Files to which lines of JSON are only ever added, each of them on the disk before anybody hears of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

Line = dict[str, Any]


class Disk:
    """One such file, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            _cut_last_line(path)
        self._file = path.open("ab", buffering=0)

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is durable when this returns."""
        self._file.write(orjson.dumps(dict(line)) + b"\n")
        os.fsync(self._file.fileno())

    def lines(self) -> list[Line]:
        """Return every line, oldest first."""
        return lines_of(self._path)


def lines_of(path: Path) -> list[Line]:
    """Return the whole lines of a file, oldest first; none where it does not exist."""
    if not path.exists():
        return []
    return [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]


def _cut_last_line(path: Path) -> None:
    """Take away what was being written when the process ended: nobody was told of it."""
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        os.truncate(path, whole)
