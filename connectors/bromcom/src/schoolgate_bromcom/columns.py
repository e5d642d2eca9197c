"""Reading one row column by column, so that what is wrong is said with the column and the row's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate_bromcom import values
from schoolgate_sdk import Row, RowRejected, SourceKey

_T = TypeVar("_T")


class RowReader:
    """One row. Set :attr:`key` as soon as it is known; every method raises :class:`RowRejected` with it.

    A row whose columns are no row's (more than any has, one twice in different case, text beside them) is
    refused as a whole, though not before its key is set: all that such a row is good for is to say whose it
    is. A parser that sets no key calls :meth:`check`.
    """

    __slots__ = ("_key", "_problem", "_row", "_spelling")

    def __init__(self, row: Row) -> None:
        self._key: SourceKey | None = None
        self._row = row
        self._problem: ValueError | None = None
        try:
            self._spelling = values.spelling(tuple(row))
        except ValueError as problem:
            self._problem = problem
            self._spelling = values.spelled_once(row)

    @property
    def key(self) -> SourceKey | None:
        """The row's key, once it was set; setting it raises as :meth:`check` does."""
        return self._key

    @key.setter
    def key(self, key: SourceKey) -> None:
        self._key = key
        self.check()

    def check(self) -> None:
        """Return where the row's columns are such as a row has; raises :class:`RowRejected`."""
        if self._problem is not None:
            raise self._invalid("", self._problem) from self._problem

    def has(self, column: str) -> bool:
        """Say whether the row has the column at all, whatever its value."""
        return column.lower() in self._spelling

    def value(self, column: str, read: Callable[[Any], _T]) -> _T:
        """Return the column's value as ``read`` understands it; a column that is not there reads as
        ``None``.
        """
        name = self._spelling.get(column.lower())
        if name is None:
            self.check()  # it may be among those that were left out, and part of the key
        try:
            return read(None if name is None else self._row[name])
        except (TypeError, ValueError) as error:
            raise self._invalid(column, error) from error

    def text(self, column: str) -> str | None:
        return self.value(column, values.text)

    def configured_text(self, column: str) -> str | None:
        """Return the text or name in a column that a school's settings name; without a name it is nothing."""
        return self.value(column, values.code) if column else None

    def code(self, column: str) -> str | None:
        return self.value(column, values.code)

    def reference_number(self, column: str) -> str | None:
        return self.value(column, values.reference_number)

    def number(self, column: str) -> int | None:
        return self.value(column, values.identifier)

    def flag(self, column: str) -> bool | None:
        return self.value(column, values.flag)

    def day(self, column: str) -> str | None:
        return self.value(column, values.day)

    def day_after_last(self, column: str) -> str | None:
        return self.value(column, values.day_after_last)

    def group_name(self, column: str) -> str | None:
        return self.value(column, values.group_name)

    def key_number(self, column: str) -> int:
        """Return an id without which the row has no key."""
        found = self.value(column, values.identifier)
        if found is None:
            raise self.key_missing(column)
        return found

    def key_missing(self, column: str) -> RowRejected:
        """Return the verdict on a row without a part of its key."""
        detail = "is part of the key and is missing"
        return RowRejected(diagnostics.DECISION_REASON_KEY_MISSING, column, detail)

    def _invalid(self, column: str, error: Exception) -> RowRejected:
        # A TypeError's text is Python's own and may quote the value; a ValueError's is ours.
        detail = str(error) if isinstance(error, ValueError) else "is of an unexpected type"
        return RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, column, detail, self._key)
