"""A scripted MIS that can be asked what changed since a position, and that reads dated rows by window."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple

from schoolgate_sdk import (
    ChangedRows,
    Connector,
    CursorExpired,
    EndOfSnapshot,
    Page,
    Row,
    SchoolConnection,
    Scope,
    SourceKey,
)
from tests.support.scripted import MARKS, ScriptedMis, ScriptedSession, key_of, scripted_connector

OVERLAP = 2
"""Entries of the log that a read of changes goes back: what a quarter of an hour is to this MIS."""


class Entry(NamedTuple):
    """One change: the row as it became, or ``None`` where it was deleted."""

    dataset: str
    key: SourceKey
    row: dict[str, Any] | None


@dataclass
class ChangingMis(ScriptedMis):
    """``forgotten`` is the first position that it knows still; ``on_change`` is called before each page."""

    log: list[Entry] = field(default_factory=list[Entry])
    forgotten: int = 0
    page_of_changes: int = 3
    on_change: Callable[[str, int], None] = lambda dataset, index: None
    shown: Callable[[Sequence[ChangedRows]], Sequence[ChangedRows]] = lambda pages: pages
    asked: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def put(self, dataset: str, row: dict[str, Any]) -> None:
        """Insert a row, or replace the one with its key."""
        key = key_of(dataset, row)
        kept = self.rows[dataset]
        for index, before in enumerate(kept):
            if key_of(dataset, before) == key:
                kept[index] = row
                break
        else:
            kept.append(row)
        self.log.append(Entry(dataset, key, dict(row)))

    def drop(self, dataset: str, row: dict[str, Any]) -> None:
        """Delete the row with the key of ``row``."""
        key = key_of(dataset, row)
        self.rows[dataset] = [kept for kept in self.rows[dataset] if key_of(dataset, kept) != key]
        self.log.append(Entry(dataset, key, None))


class WindowSession(ScriptedSession):
    """Reads dated rows by the window that it is asked for; it cannot be asked for changes."""

    def __init__(self, mis: ChangingMis) -> None:
        super().__init__(mis)
        self._changing = mis

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        mis, index, position = self._changing, int(cursor or 0), len(self._changing.log)
        while True:
            interference = mis.on_page(scope.dataset, index)
            if interference is not None:
                await interference
            mis.pages_read.append((scope.dataset, index))
            rows = [row for row in mis.snapshot(scope.dataset) if _is_within(scope, row)]
            page = rows[index * mis.page_size : (index + 1) * mis.page_size]
            index += 1
            if index * mis.page_size >= len(rows):
                yield Page(page, str(index), self._end(scope, len(rows), position))
                return
            yield Page(page, str(index))

    def _end(self, scope: Scope, rows: int, position: int) -> EndOfSnapshot | None:
        return self._changing.ends(scope.dataset, rows)


class ChangingSession(WindowSession):
    """The same, and it can be asked for changes."""

    def _end(self, scope: Scope, rows: int, position: int) -> EndOfSnapshot | None:
        end = super()._end(scope, rows, position)
        return None if end is None else replace(end, changes_cursor=str(position))

    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        mis = self._changing
        mis.asked.append((scope.dataset, int(cursor)))
        if int(cursor) < mis.forgotten:
            raise CursorExpired("the log was cut")
        begins = max(0, int(cursor) - (OVERLAP if overlap else 0))
        for index, page in enumerate(mis.shown(self._pages(scope.dataset, begins, int(cursor)))):
            mis.on_change(scope.dataset, index)
            yield page

    def _pages(self, dataset: str, begins: int, known: int) -> list[ChangedRows]:
        mis, pages = self._changing, list[ChangedRows]()
        for start in range(begins, len(mis.log), mis.page_of_changes):
            some = mis.log[start : start + mis.page_of_changes]
            mine = [entry for entry in some if entry.dataset == dataset]
            rows = [entry.row for entry in mine if entry.row is not None]
            deleted = [entry.key for entry in mine if entry.row is None]
            pages.append(ChangedRows(rows, deleted, str(max(known, start + len(some)))))
        pages.append(ChangedRows(cursor=str(len(mis.log)), end=True))
        return pages


class BlindSession:
    """Reads whole datasets and nothing else."""

    def __init__(self, mis: ChangingMis) -> None:
        self._session = WindowSession(mis)

    def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        return self._session.read(scope, cursor)


def changing_connector(mis: ChangingMis, session: Any = ChangingSession) -> Connector:
    """Return the scripted connector, with sessions of the given kind."""

    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[Any]:
        mis.opened += 1
        yield session(mis)

    return replace(scripted_connector(mis), open=open_session)


def _is_within(scope: Scope, row: Row) -> bool:
    return scope.dataset != MARKS or str(scope.date_from) <= row["date"] < str(scope.date_to)
