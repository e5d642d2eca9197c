"""mongomock behind a handle of Motor's shape: in memory, and every operation yields to the loop once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import mongomock
import mongomock.collection
from mongomock.codec_options import CodecOptions
from pymongo import _csot
from pymongo.errors import ExecutionTimeout

from tests.support.mongomock_transactions import Blocked, Ledger, MockSession

_READS = ("find_one", "count_documents")
_WRITES = (
    "insert_one",
    "insert_many",
    "bulk_write",
    "update_one",
    "replace_one",
    "find_one_and_update",
    "delete_many",
    "create_indexes",
)
_AGAIN = 0.05
"""Seconds until a write that waits for a transaction looks again."""


def _without_sort(method: Callable[..., None]) -> Callable[..., None]:
    """PyMongo 4.11 began to hand `sort` over, which mongomock 4.3 does not know."""

    def call(*args: Any, sort: Any = None, **kwargs: Any) -> None:
        method(*args, **kwargs)

    return call


_builder: Any = mongomock.collection.BulkOperationBuilder
_builder.add_update = _without_sort(_builder.add_update)
_builder.add_replace = _without_sort(_builder.add_replace)
_codec_options: Any = CodecOptions


def ledger_of(client: object) -> Ledger:
    """Return the transactions of ``client``, which every handle over it shares."""
    ledger: Ledger = vars(client).setdefault("ledger", Ledger())
    return ledger


class MockCursor:
    def __init__(self, open_cursor: Callable[[], Any]) -> None:
        self._open_cursor = open_cursor
        self._cursor: Any = None

    async def to_list(self, length: int | None = None) -> list[dict[str, Any]]:
        await asyncio.sleep(0)
        if self._cursor is None:
            # Motor's cursors ask on the first read, mongomock's on creation.
            self._cursor = iter(list(self._open_cursor()))
        found: list[dict[str, Any]] = []
        for document in self._cursor:
            found.append(document)
            if len(found) == length:
                break
        return found

    def close(self) -> None:
        self._cursor = iter(())


class MockCollection:
    def __init__(self, collection: Any, ledger: Ledger) -> None:
        self.collection = collection
        self._ledger = ledger
        for name in (*_READS, *_WRITES):
            setattr(self, name, self._method(name))

    def _method(self, name: str) -> Callable[..., Any]:
        async def call(
            *args: Any, hint: str | None = None, session: MockSession | None = None, **kwargs: Any
        ) -> Any:
            # Which transaction it is of is known when it is sent, and not when it arrives.
            transaction = session.transaction if session is not None and session.in_transaction else None
            await asyncio.sleep(0)
            if transaction is not None:
                return transaction.run(self.collection, name, args, kwargs)
            while True:
                try:
                    return self._ledger.plain(self.collection, name, args, kwargs)
                except Blocked:
                    left = _csot.remaining()
                    if left is not None and left <= 0:
                        raise ExecutionTimeout("waited for a transaction", 50) from None
                    await asyncio.sleep(_AGAIN)

        return call

    def find(
        self,
        *args: Any,
        batch_size: int = 0,
        hint: str | None = None,
        session: MockSession | None = None,
        **kwargs: Any,
    ) -> MockCursor:
        transaction = session.transaction if session is not None and session.in_transaction else None

        def found() -> list[Any]:
            if transaction is None:
                return list(self.collection.find(*args, **kwargs))
            listed: list[Any] = transaction.run(_Listing(self.collection), "find", args, kwargs)
            return listed

        return MockCursor(found)

    def aggregate(self, pipeline: Any) -> MockCursor:
        return MockCursor(lambda: _aggregated(self.collection, pipeline))


def _aggregated(collection: Any, pipeline: list[dict[str, Any]]) -> list[Any]:
    """Return what a pipeline makes; mongomock knows no unions, which come last in ours."""
    made = list(collection.aggregate([stage for stage in pipeline if "$unionWith" not in stage]))
    for stage in pipeline:
        if "$unionWith" in stage:
            union = stage["$unionWith"]
            made += _aggregated(collection.database[union["coll"]], union["pipeline"])
    return made


class _Listing:
    """Reads to the end while the transaction's view is in place."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection, name)

    def find(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.collection.find(*args, **kwargs))


class MockDatabase:
    def __init__(self, database: Any, write_concern: Any, read_concern: Any, ledger: Ledger) -> None:
        self.database = database
        self._ledger = ledger
        self.write_concern = write_concern
        self.read_concern = read_concern

    def __getitem__(self, name: str) -> MockCollection:
        return MockCollection(self.database[name], self._ledger)

    def get_collection(self, name: str, *, read_concern: Any) -> MockCollection:
        return self[name]  # there is one copy of everything, so every read shows the latest

    async def command(self, command: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not isinstance(command, str):
            sessions: list[dict[str, Any]] = command["killSessions"]
            self._ledger.kill([session["id"] for session in sessions])
            return {"ok": 1.0}
        # There is one copy of everything, so a majority has it.
        hello = {"ok": 1.0, "setName": "mongomock", "maxWireVersion": 17}
        return hello if command == "hello" else self.database.command(command)


class MockHandle:
    """Several handles over one ``client`` see the same data, as several servers do."""

    def __init__(self, client: Any = None) -> None:
        self.client: Any = mongomock.MongoClient() if client is None else client

    def get_database(
        self, name: str, *, codec_options: Any, read_preference: Any, write_concern: Any, read_concern: Any
    ) -> MockDatabase:
        options = _codec_options(tz_aware=codec_options.tz_aware)
        return MockDatabase(
            self.client.get_database(name, codec_options=options),
            write_concern,
            read_concern,
            ledger_of(self.client),
        )

    async def start_session(self, *, causal_consistency: bool) -> MockSession:
        """Return a session; with one copy of everything, it is causally consistent by nature."""
        assert causal_consistency
        return MockSession(ledger_of(self.client))

    def close(self) -> None:
        """Keep the data: another handle may look at it."""
