"""How the demo tells what it does: numbered steps of a sentence each, and their results indented below."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from schoolgate_server.cli.console import clean, seconds

INDENT = 3
"""Columns by which results stand below their step."""


class Narrator:
    """Writes the demo's steps to a console; ``before_step`` raises what is to end the demo between two."""

    def __init__(self, printer: Console, before_step: Callable[[], None]) -> None:
        self.printer = printer
        self._before_step = before_step
        self._number = 0

    def step(self, sentence: str) -> None:
        """Begin a step; raises what ``before_step`` raises."""
        self._before_step()
        self._number += 1
        self.printer.print()
        row = Table.grid()
        row.add_column(width=INDENT)
        row.add_column()
        row.add_row(Text(f"{self._number}.", style="bold"), Text(sentence, style="bold"))
        self.printer.print(row)

    def line(self, text: str, style: str = "") -> None:
        """Write one result of the present step."""
        self.show(Text(clean(text), style=style))

    def show(self, result: RenderableType) -> None:
        """Write a table, or whatever else can be shown, as a result of the present step."""
        self.printer.print(Padding(result, (0, 0, 0, INDENT), expand=False))

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """Show that something goes on, and at its end how long it took."""
        began = time.perf_counter()
        if self.printer.is_terminal:
            with self.printer.status(f"{what} …", spinner="dots"):
                yield
        else:
            yield
        self.line(f"{what}: {seconds(time.perf_counter() - began)}", style="dim")
