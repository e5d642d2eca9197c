"""What a world refuses to do."""

from __future__ import annotations


class WorldError(ValueError):
    """Base of the errors of :mod:`schoolgate_sdk.testing.world`."""


class EditRefused(WorldError):
    """An edit that does not fit the world; nothing was changed.

    ``op`` is the edit's name, ``field`` the argument at fault, ``problem`` what is wrong with it.
    """

    def __init__(self, op: str, field: str, problem: str) -> None:
        super().__init__(f"{op}: {field}: {problem}")
        self.op = op
        self.field = field
        self.problem = problem


class SdsFormatError(WorldError):
    """A School Data Sync file that cannot be read.

    ``file`` is the file's name without its folder, ``line`` counts from 1 with the header (0: the file as a
    whole), ``column`` is the header of the column at fault ("" where it is the line or the file).
    """

    def __init__(self, file: str, line: int, column: str, problem: str) -> None:
        place = ", ".join(part for part in (file, f"line {line}" if line else "", column) if part)
        super().__init__(f"{place}: {problem}")
        self.file = file
        self.line = line
        self.column = column
        self.problem = problem
