"""How the command writes: consoles, tables and the form of numbers, times and foreign text."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TextIO, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_Value = TypeVar("_Value", bound=int)

NOTHING = "–"
"""What a table shows where there is no value."""

_PIPE_WIDTH = 240
"""Columns where the output is no terminal: wide enough that nothing is cut on its way to another program."""


class Enum(Protocol[_Value]):
    """An enum of the API."""

    def keys(self) -> Sequence[str]: ...
    def values(self) -> Sequence[_Value]: ...
    def Name(self, number: _Value) -> str: ...  # noqa: N802 - its name in protobuf


def _console(stream: TextIO) -> Console:
    width = None
    if not stream.isatty() and "COLUMNS" not in os.environ:
        width = _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def out() -> Console:
    """Return the console for results. Strings are shown as they are: markup in data has no effect."""
    return _console(sys.stdout)


def err() -> Console:
    """Return the console for errors and remarks."""
    return _console(sys.stderr)


def clean(text: str) -> str:
    """Return ``text`` without characters that could steer the terminal; data of a MIS may hold any."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def word(enum: Enum[_Value], value: _Value) -> str:
    """Return a value of ``enum`` as words, without its prefix; one of a newer server as a number."""
    if value not in enum.values():
        return str(value)
    prefix = enum.keys()[0].removesuffix("UNSPECIFIED")
    return enum.Name(value).removeprefix(prefix).lower().replace("_", " ")


def number(value: int) -> str:
    """Return ``value`` with thousands separators."""
    return f"{value:,}"


def amount(value: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless there is exactly one: "1,500 records"."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def moment(stamp: Timestamp) -> str:
    """Return ``stamp`` in the local time of whoever runs the command, to the second; empty where unset."""
    if not stamp.seconds:
        return ""
    return stamp.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(started: Timestamp, finished: Timestamp) -> str:
    """Return the time between two stamps, for example "3.2 s"; empty where one is unset."""
    if not started.seconds or not finished.seconds:
        return ""
    return seconds(finished.ToDatetime() - started.ToDatetime())


def seconds(duration: timedelta | float) -> str:
    """Return a duration for people: "0.8 s", "2 min 05 s"."""
    total = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if total < 60:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), 60)
    return f"{minutes} min {rest:02d} s"


def table(
    *columns: str, right: Collection[str] = (), whole: Collection[str] = (), narrow: bool = False
) -> Table:
    """Return an empty table.

    The columns in ``right`` hold numbers and are right-justified. They, those in ``whole`` and the first one
    are never broken into lines. ``narrow`` leaves one blank between columns instead of two.
    """
    made = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 0 if narrow else 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    for index, column in enumerate(columns):
        numeric = column in right
        made.add_column(
            column,
            justify="right" if numeric else "left",
            no_wrap=numeric or column in whole or index == 0,
            overflow="fold",
        )
    return made


def fitting(heads: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> int:
    """Return how many columns of a table, from the left and at least one, fit into ``width`` characters."""
    used, found = 0, 0
    for head, *column in zip(heads, *rows, strict=True):
        used += max(cell_len(cell) for cell in (head, *column)) + 2
        if used - 2 > width and found:
            break
        found += 1
    return found


def does_not_fit(columns: int) -> str:
    """Return what to say of columns that were left out."""
    return "1 more column does not fit" if columns == 1 else f"{columns} more columns do not fit"


def add_row(rows: Table, cells: Iterable[str | int], style: str | None = None) -> None:
    """Add one row: integers with separators, text without control characters."""
    rows.add_row(*(number(c) if isinstance(c, int) else clean(c) for c in cells), style=style)


def fields(pairs: Iterable[tuple[str, str]]) -> Table:
    """Return a two-column list of names and values; pairs without a value are left out."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            made.add_row(name, clean(value))
    return made


def remark(text: str) -> None:
    """Write a sentence beside the results, to standard error."""
    err().print(Text(text, style="dim"))


def local_now() -> datetime:
    """Return the time where the command runs, with its zone."""
    return datetime.now().astimezone()
