"""Reading CSV files column by column, with errors that say where."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from schoolgate_sdk.testing.errors import SdsFormatError

_US_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/((?:19|20|21)[0-9]{2})")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class CsvRow:
    """The wanted columns of one line, as text without surrounding blanks."""

    file: str
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str | None:
        """Return the text of a column, ``None`` where it is empty."""
        return self.values[column] or None

    def required(self, column: str) -> str:
        """Return the text of a column; raises ``SdsFormatError`` where it is empty."""
        if not self.values[column]:
            raise self.refused(column, "is empty")
        return self.values[column]

    def number(self, column: str) -> int:
        """Return a non-negative integer; raises ``SdsFormatError`` where the column holds none."""
        if not _NUMBER.fullmatch(self.required(column)):
            raise self.refused(column, "is no whole number")
        return int(self.values[column])

    def day(self, column: str) -> date:
        """Return a date written M/D/YYYY; raises ``SdsFormatError`` where the column holds none."""
        problem = self.refused(column, "is no date of the form M/D/YYYY from 1900 to 2199")
        match = _US_DATE.fullmatch(self.required(column))
        if match is None:
            raise problem
        month, day, year = (int(part) for part in match.groups())
        try:
            return date(year, month, day)
        except ValueError:
            raise problem from None

    def refused(self, column: str, problem: str) -> SdsFormatError:
        """Return the error that says what is wrong with a column of this line."""
        return SdsFormatError(self.file, self.line, column, problem)


def read_rows(folder: Path, file: str, columns: Sequence[str]) -> Iterator[CsvRow]:
    """Yield the lines of a UTF-8 CSV file with a header, reduced to ``columns``; blank lines are skipped.

    Raises:
        SdsFormatError: the file cannot be read, lacks a column, or a line does not fit the header.
    """
    try:
        with (folder / file).open(encoding="utf-8-sig", newline="") as lines:
            yield from _parse(file, lines, columns)
    except FileNotFoundError:
        raise SdsFormatError(file, 0, "", "there is no such file") from None
    except UnicodeDecodeError:
        raise SdsFormatError(file, 0, "", "is not UTF-8") from None
    except OSError as error:
        raise SdsFormatError(file, 0, "", f"cannot be read: {error.strerror}") from error


def _parse(file: str, lines: Iterator[str], columns: Sequence[str]) -> Iterator[CsvRow]:
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(reader, ())]
        for column in columns:
            if header.count(column) != 1:
                raise SdsFormatError(file, 1, column, "is not exactly once in the header")
        wanted = [(column, header.index(column)) for column in columns]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                missing = header[len(fields)] if len(fields) < len(header) else ""
                problem = f"has {len(fields)} fields where the header has {len(header)}"
                raise SdsFormatError(file, reader.line_num, missing, problem)
            yield CsvRow(file, reader.line_num, {column: fields[at].strip() for column, at in wanted})
    except csv.Error as error:
        raise SdsFormatError(file, reader.line_num, "", f"is no CSV: {error}") from None
