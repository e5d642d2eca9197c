"""Where a follower keeps what it was told, together with the cursor of how far that goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Protocol

from schoolgate.v1.query_service_pb2 import Change
from schoolgate.v1.record_pb2 import Record


class Table(Protocol):
    """A caller's own store. What it raises ends the follower; run again, it goes on from the last cursor."""

    async def cursor(self) -> str:
        """Return the cursor that was stored last; "" where there is none."""
        ...

    async def apply(self, changes: Sequence[Change], cursor: str, *, anew: bool) -> None:
        """Take in changes and their cursor, both or neither, best in one transaction.

        With ``anew`` a snapshot begins: everything that was there before has to go first. The same change may
        come again, and its record's state is then the same or a later one.
        """
        ...


class MemoryTable:
    """Live records by id, in memory; it is read anew after a restart."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._cursor = ""

    async def cursor(self) -> str:
        return self._cursor

    async def apply(self, changes: Sequence[Change], cursor: str, *, anew: bool) -> None:
        if anew:
            self.records.clear()
        for change in changes:
            if change.record.HasField("tombstone"):
                self.records.pop(change.record.id, None)
            else:
                self.records[change.record.id] = change.record
        self._cursor = cursor


class SqliteTable:
    """Live records in a SQLite file, one row each: id, kind and the serialised ``Record``."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS cursor (only INTEGER PRIMARY KEY, value TEXT)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, kind INTEGER, record BLOB)"
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def records(self) -> dict[str, Record]:
        """Return the live records by id."""
        rows: Iterable[tuple[str, bytes]] = self._database.execute("SELECT id, record FROM records")
        return {record_id: Record.FromString(record) for record_id, record in rows}

    async def cursor(self) -> str:
        row: tuple[str] | None = self._database.execute("SELECT value FROM cursor").fetchone()
        return "" if row is None else row[0]

    async def apply(self, changes: Sequence[Change], cursor: str, *, anew: bool) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:  # commits, or rolls back where something raises
            if anew:
                self._database.execute("DELETE FROM records")
            self._database.executemany(
                "DELETE FROM records WHERE id = ?",
                [(change.record.id,) for change in changes if change.record.HasField("tombstone")],
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                [
                    (change.record.id, change.record.kind, change.record.SerializeToString())
                    for change in changes
                    if not change.record.HasField("tombstone")
                ],
            )
            self._database.execute("INSERT OR REPLACE INTO cursor VALUES (1, ?)", (cursor,))
