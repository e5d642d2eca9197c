"""The command: run every check of a connector, show a table as it goes, and write a certificate."""

from __future__ import annotations

import argparse
import fnmatch
import logging
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import orjson

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.testing.conformance import kit, loading
from schoolgate_sdk.testing.conformance.certificate import certificate
from schoolgate_sdk.testing.conformance.outcome import Check, Outcome, Result, printable, printable_in

_ID_WIDTH: Final = max(len(check.id) for check in kit.CHECKS)
_OUTCOME_WIDTH: Final = max(len(outcome.value) for outcome in Outcome)


def check_connector(
    connector: Connector,
    *,
    only: str = "*",
    out: TextIO | None = None,
    terminal: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 -- a certificate has a date
) -> dict[str, object]:
    """Run the checks whose ids match the pattern ``only`` and return the certificate.

    The table is written to ``out`` line by line; on a terminal the check that is being run shows below it.

    Raises:
        ValueError: the connector has no conformance target, or no check's id matches.
    """
    checks = tuple(check for check in kit.CHECKS if fnmatch.fnmatchcase(check.id, only))
    if not checks:
        raise ValueError(f"no check is called {only!r}; there are: {', '.join(c.id for c in kit.CHECKS)}")
    table = _Table(out, terminal=terminal)
    results: dict[str, list[Result]] = {}
    # What is logged of faults is no part of the table; where nobody handles it, Python would print it.
    logging.getLogger().addHandler(logging.NullHandler())
    for bench in kit.benches(connector):
        surface = bench.target.surface
        found = results.setdefault(surface, [])
        table.head(connector, surface)
        for number, check in enumerate(checks, start=1):
            table.begin(check, number, len(checks))
            found.append(kit.run_check(bench, check))
            table.end(found[-1])
    table.foot([result for found in results.values() for result in found])
    return certificate(connector, results, now(), complete=checks == kit.CHECKS)


class _Table:
    """Writes lines, each with what a check came to."""

    def __init__(self, out: TextIO | None, *, terminal: bool) -> None:
        self._out = out
        self._terminal = terminal and out is not None
        self._width = max(80, shutil.get_terminal_size((120, 24)).columns) if terminal else 120

    def head(self, connector: Connector, surface: str) -> None:
        by = f" by {surface}" if surface else ""
        self._line(f"{connector.display_name} {connector.version}{by}")

    def begin(self, check: Check, number: int, of: int) -> None:
        if self._terminal and self._out is not None:
            self._out.write(f"\r\x1b[K{number}/{of} {check.id} …")
            self._out.flush()

    def end(self, result: Result) -> None:
        start = f"{result.outcome.value:<{_OUTCOME_WIDTH}}  {result.id:<{_ID_WIDTH}}  "
        self._wrapped(start, result.detail)
        if result.next_step:
            self._wrapped(" " * len(start), f"Next: {result.next_step}")

    def foot(self, results: Sequence[Result]) -> None:
        counted = Counter(result.outcome for result in results)
        self._line(", ".join(f"{counted[outcome]} {outcome.value}" for outcome in Outcome))

    def _wrapped(self, start: str, text: str) -> None:
        width = max(30, self._width - len(start))
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            self._line((start if number == 0 else " " * len(start)) + line)

    def _line(self, text: str) -> None:
        if self._out is not None:
            text = printable(text)
            self._out.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text.rstrip()}\n")
            self._out.flush()


class CannotCheck(Exception):
    """A connector cannot be checked, or what came of it not be told; the text says why."""


def check_installed(name: str, *, only: str = "*", out: Path | None = None) -> bool:
    """Check an installed connector: the table goes to standard output, the certificate to a file.

    That file is ``out``, else one of the connector's name in the current folder. Where only some of the
    checks were run and nobody named a file, none is written. Returns whether no check failed.

    Raises:
        CannotCheck: there is no such connector, target or check, or the table or the certificate cannot be
            written.
    """
    try:
        with _writing("the table"):
            found = check_connector(
                loading.load(name), only=only, out=sys.stdout, terminal=sys.stdout.isatty()
            )
    except (loading.NoSuchConnector, ValueError) as error:
        raise CannotCheck(str(error)) from error
    place = out or (Path(f"{name}-certificate.json") if found["complete"] else None)
    if place is not None:
        with _writing(f"the certificate {place}"):
            write_certificate(found, place)
        with _writing("the table"):
            sys.stdout.write(f"certificate: {place}\n")
            sys.stdout.flush()
    return not _has_failed(found)


@contextmanager
def _writing(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise CannotCheck(f"{what} cannot be written: {error.strerror or error}") from error


def _has_failed(found: dict[str, object]) -> bool:
    match found:
        case {"counts": {"failed": 0}}:
            return False
        case _:
            return True


def write_certificate(found: dict[str, object], path: Path) -> None:
    """Write a certificate as indented JSON; raises ``OSError``.

    A file that says the same of an earlier moment stays as it is: one that is kept under version control
    changes where something else does.
    """
    shown: Any = printable_in(found)
    try:
        kept: Any = orjson.loads(path.read_bytes())
        same = {**kept, "issued_at": shown["issued_at"]} == orjson.loads(orjson.dumps(shown))
    except (OSError, ValueError, TypeError):
        same = False
    if not same:
        path.write_bytes(orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def main(arguments: Sequence[str], program: str = "python -m schoolgate_sdk.testing.conformance") -> int:
    """Check the connector that the arguments name; return 0 where it is certified, 1 where not."""
    parser = argparse.ArgumentParser(
        prog=program, description="Shows that an installed connector does what schoolgate relies on."
    )
    parser.add_argument("name", help="name of the connector: its entry point in schoolgate.connectors")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where the certificate goes, as JSON; NAME-certificate.json where every check is run",
    )
    parser.add_argument("--only", default="*", metavar="PATTERN", help='checks to run, such as "wire.*"')
    given = parser.parse_args(arguments)
    try:
        return 0 if check_installed(given.name, only=given.only, out=given.out) else 1
    except CannotCheck as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 1
