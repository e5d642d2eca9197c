"""mongomock behind a handle of Motor's shape: in memory, and every operation yields to the loop once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import mongomock
import mongomock.collection
from mongomock.codec_options import CodecOptions

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


def _without_sort(method: Callable[..., None]) -> Callable[..., None]:
    """PyMongo 4.11 began to hand `sort` over, which mongomock 4.3 does not know."""

    def call(*args: Any, sort: Any = None, **kwargs: Any) -> None:
        method(*args, **kwargs)

    return call


_builder: Any = mongomock.collection.BulkOperationBuilder
_builder.add_update = _without_sort(_builder.add_update)
_builder.add_replace = _without_sort(_builder.add_replace)
_codec_options: Any = CodecOptions


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
    def __init__(self, collection: Any) -> None:
        self.collection = collection
        for name in (*_READS, *_WRITES):
            setattr(self, name, self._method(name))

    def _method(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return getattr(self.collection, name)(*args, **kwargs)

        return call

    def find(self, *args: Any, batch_size: int = 0, **kwargs: Any) -> MockCursor:
        return MockCursor(lambda: self.collection.find(*args, **kwargs))


class MockDatabase:
    def __init__(self, database: Any, write_concern: Any, read_concern: Any) -> None:
        self.database = database
        self.write_concern = write_concern
        self.read_concern = read_concern

    def __getitem__(self, name: str) -> MockCollection:
        return MockCollection(self.database[name])

    async def command(self, command: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        # There is one copy of everything, so a majority has it.
        return {"ok": 1.0, "setName": "mongomock"} if command == "hello" else self.database.command(command)


class MockHandle:
    """Several handles over one ``client`` see the same data, as several servers do."""

    def __init__(self, client: Any = None) -> None:
        self.client: Any = mongomock.MongoClient() if client is None else client

    def get_database(
        self, name: str, *, codec_options: Any, read_preference: Any, write_concern: Any, read_concern: Any
    ) -> MockDatabase:
        options = _codec_options(tz_aware=codec_options.tz_aware)
        return MockDatabase(
            self.client.get_database(name, codec_options=options), write_concern, read_concern
        )

    def close(self) -> None:
        """Keep the data: another handle may look at it."""
