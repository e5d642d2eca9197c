"""One thin face over PyMongo's async API, Motor and Motor-shaped test handles.

It sets concerns, decoding and time limits in one place, and turns the drivers' ways of saying "not reachable"
into :class:`~schoolgate_server.store.errors.StoreUnavailable`. The drivers differ in details only (``close``
is a coroutine in one of them), so nothing above needs to know which one it got.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

from bson.codec_options import CodecOptions
from pymongo import IndexModel, ReadPreference, ReturnDocument
from pymongo.errors import (
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.operations import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from schoolgate_server.store.errors import StoreError, StoreMisconfigured
from schoolgate_server.store.limits import UNKNOWN_COMMIT, limited
from schoolgate_server.store.together import Read, current

_T = TypeVar("_T")

Document: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, Any]
Write: TypeAlias = InsertOne[Document] | ReplaceOne[Document] | UpdateOne | DeleteOne

CHUNK = 5_000
"""Documents per operation: large enough to be fast, small enough to end well within the time limit."""

UNDO_LIMIT = 5.0
"""Seconds that undoing a transaction may take; where MongoDB does not hear of it, it undoes it later."""

COMMIT_TRIES = 3
"""How often a transaction's commit is sent while nobody knows whether it took effect; that is safe."""

CHUNK_BYTES = 8 * 1024 * 1024
"""Bytes of records per operation: an open transaction stands in MongoDB's memory, several times as large."""

_WIRE_6_0 = 17
"""MongoDB's wire version that came with 6.0, the first that can have an index of some kinds only."""

MAJORITY = WriteConcern(w="majority")
READ_MAJORITY = ReadConcern("majority")
LINEARIZABLE = ReadConcern("linearizable")
SNAPSHOT = ReadConcern("snapshot")
CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)


class Handle(Protocol):
    """A client of MongoDB: ``AsyncMongoClient``, ``AsyncIOMotorClient``, or something of Motor's shape."""

    def get_database(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- three drivers, three types
        """Return a database."""

    def start_session(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- a coroutine in Motor
        """Return a new session."""

    def close(self) -> Any:  # noqa: ANN401 -- a coroutine in PyMongo, None in Motor
        """Close all connections."""


class NoChangeStream(StoreError):
    """MongoDB, or the handle, has no change streams for us."""


class Session:
    """A session of the driver, for one transaction after the other; it never reads what is older."""

    def __init__(self, driver: Any) -> None:  # noqa: ANN401 -- three drivers, three types
        self.driver = driver

    @property
    def number(self) -> Any:  # noqa: ANN401 -- BSON's, which pymongo does not type
        """MongoDB's name for the session, as it stands in documents."""
        return self.driver.session_id["id"]

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """Make a transaction of what happens in this session; undo it at the end, unless committed."""
        await _settled(
            self.driver.start_transaction(
                read_concern=SNAPSHOT, write_concern=MAJORITY, read_preference=ReadPreference.PRIMARY
            )
        )
        try:
            yield
        finally:
            if self.driver.in_transaction:
                with limited(UNDO_LIMIT):
                    await _settled(self.driver.abort_transaction())

    async def commit(self) -> None:
        """Let the transaction take effect, as a whole.

        Raises:
            StoreUnavailable: it did not, or nobody knows.
        """
        with limited():
            for tries_left in reversed(range(COMMIT_TRIES)):
                try:
                    await _settled(self.driver.commit_transaction())
                except PyMongoError as error:
                    if not (tries_left and error.has_error_label(UNKNOWN_COMMIT)):
                        raise
                else:
                    return


class Collection:
    """One collection with explicit concerns; every method is one operation under the time limit.

    Finding is part of one, among others, where that is asked for
    (:func:`~schoolgate_server.store.together.together`). ``by_itself`` means that it never is.
    """

    def __init__(
        self,
        name: str,
        driver: Any,  # noqa: ANN401 -- three drivers, three types
        session: Session | None = None,
        *,
        by_itself: bool = False,
    ) -> None:
        self.name = name
        self.driver = driver
        self._within: dict[str, Any] = {} if session is None else {"session": session.driver}
        self._by_itself = by_itself or session is not None

    def within(self, session: Session) -> Collection:
        """Return the collection as ``session`` sees it, and its transaction where one has begun."""
        return Collection(self.name, self.driver, session)

    async def find_one(
        self, query: Query, projection: Query | None = None, sort: Sequence[tuple[str, int]] | None = None
    ) -> Document | None:
        block = None if self._by_itself else current()
        if block is not None:
            return next(iter(await block.find(Read(self, query, projection, sort, 1))), None)
        with limited():
            found: Document | None = await self.driver.find_one(query, projection, sort=sort, **self._within)
        return found

    async def find(
        self,
        query: Query,
        projection: Query | None = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
        hint: str | None = None,
    ) -> list[Document]:
        """Return all matching documents, ``limit`` at most unless it is 0.

        ``hint`` is the index to go by, where that must not depend on what MongoDB has tried out. A read that
        has one goes by itself.
        """
        block = None if self._by_itself or hint else current()
        if block is not None:
            return await block.find(Read(self, query, projection, sort, limit))
        with limited():
            cursor = self.driver.find(
                query,
                projection,
                sort=sort,
                limit=limit,
                hint=hint,
                batch_size=limit or 10_000,
                **self._within,
            )
            found: list[Document] = await cursor.to_list(None)
        return found

    async def batches(
        self, query: Query, projection: Query | None = None, *, size: int = 10_000
    ) -> AsyncGenerator[list[Document]]:
        """Yield matching documents in lists of at most ``size``; each list has a time limit of its own."""
        cursor = self.driver.find(query, projection, batch_size=size, **self._within)
        try:
            while True:
                with limited():
                    batch: list[Document] = await cursor.to_list(size)
                if not batch:
                    return
                yield batch
        finally:
            await _settled(cursor.close())

    async def aggregate(self, pipeline: Sequence[Query]) -> list[Document]:
        """Return all documents that ``pipeline`` makes."""
        with limited():
            cursor = await _settled(self.driver.aggregate(pipeline, **self._within))
            made: list[Document] = await cursor.to_list(None)
        return made

    async def count(self, query: Query) -> int:
        with limited():
            counted: int = await self.driver.count_documents(query, **self._within)
        return counted

    async def insert_one(self, document: Document) -> bool:
        """Insert; return false where its ``_id`` or another unique key exists already."""
        try:
            with limited():
                await self.driver.insert_one(document, **self._within)
        except DuplicateKeyError:
            return False
        return True

    async def insert_many(self, documents: Sequence[Document]) -> None:
        """Insert all in any order. Raises :class:`BulkFailed` after having inserted what could be."""
        with limited():
            await self.driver.insert_many(documents, ordered=False, **self._within)

    async def bulk(self, writes: Sequence[Write], *, ordered: bool = False) -> int:
        """Do all writes, in any order unless ``ordered``; return how many existing documents they matched."""
        with limited():
            result = await self.driver.bulk_write(writes, ordered=ordered, **self._within)
        matched: int = result.matched_count
        return matched

    async def update_one(self, query: Query, update: Query, *, upsert: bool = False) -> bool:
        """Update one document; return whether one matched."""
        with limited():
            result = await self.driver.update_one(query, update, upsert=upsert, **self._within)
        return bool(result.matched_count)

    async def replace_one(self, query: Query, document: Document, *, upsert: bool = False) -> bool:
        """Replace one document; return whether one matched."""
        with limited():
            result = await self.driver.replace_one(query, document, upsert=upsert, **self._within)
        return bool(result.matched_count)

    async def find_one_and_update(
        self, query: Query, update: Query, projection: Query | None = None
    ) -> Document | None:
        """Update one document and return it as it is afterwards; ``None`` where none matched."""
        with limited():
            found: Document | None = await self.driver.find_one_and_update(
                query, update, projection, return_document=ReturnDocument.AFTER, **self._within
            )
        return found

    async def delete_many(self, query: Query, *, hint: str | None = None) -> int:
        """Delete all matching documents; return how many there were. ``hint`` is as for :meth:`find`."""
        with limited():
            result = await self.driver.delete_many(query, hint=hint, **self._within)
        deleted: int = result.deleted_count
        return deleted

    async def events(self, pipeline: Sequence[Query]) -> AsyncGenerator[Document | None]:
        """Yield the change events that ``pipeline`` lets through; ``None`` when it begins to listen.

        Raises:
            NoChangeStream: there are no change streams here.
        """
        watch = getattr(self.driver, "watch", None)
        if watch is None:
            raise NoChangeStream("the handle has no change streams")
        with _watching():
            stream = await _settled(watch(pipeline, max_await_time_ms=1000))
        try:
            yield None
            listens = False
            while True:
                with _watching():
                    event: Document | None = await stream.try_next()
                if not listens:  # Motor begins with the first question only
                    listens = True
                    yield None
                if event is not None:
                    yield event
        finally:
            await _settled(stream.close())

    async def create_indexes(self, models: Sequence[IndexModel]) -> None:
        # Building an index over a large collection takes as long as it takes.
        with limited(3600):
            await self.driver.create_indexes(models)


@contextmanager
def _watching() -> Generator[None]:
    try:
        with limited():
            yield
    except OperationFailure as error:
        raise NoChangeStream(f"MongoDB refuses change streams with code {error.code}") from None


class Database:
    """One database of a handle, with majority concerns and aware datetimes."""

    def __init__(self, handle: Handle, name: str) -> None:
        self.handle = handle
        self.name = name
        self.driver: Any = handle.get_database(
            name,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=MAJORITY,
            read_concern=READ_MAJORITY,
        )

    def collection(self, name: str) -> Collection:
        return Collection(name, self.driver[name])

    def latest(self, name: str) -> Collection:
        """Return a collection whose reads of one document show whatever was confirmed before they began.

        A primary that was cut off and does not know it yet may otherwise answer with what it has. Each read
        waits for the members to agree that it is the primary.
        """
        driver = self.driver.get_collection(name, read_concern=LINEARIZABLE)
        return Collection(name, driver, by_itself=True)

    async def command(self, command: str) -> Document:
        """Run a command without arguments and return its answer."""
        with limited():
            answer: Document = await self.driver.command(command)
        return answer

    async def session(self) -> Session:
        """Return a new session."""
        return Session(await _settled(self.handle.start_session(causal_consistency=True)))

    async def end_sessions(self, numbers: Sequence[Any]) -> None:
        """Have MongoDB undo the transactions that are open in these sessions, whichever process began them.

        Where it does not let us, it undoes them by itself after a minute or two.
        """
        with suppress(OperationFailure), limited():
            await self.driver.command({"killSessions": [{"id": number} for number in numbers]})

    async def check(self) -> None:
        """Assert that the deployment confirms writes by majority and can be read that way.

        Raises:
            StoreMisconfigured: it is a standalone or too old, or a handle drops the concerns it is given.
        """
        hello = await self.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StoreMisconfigured(
                "this MongoDB is a standalone server; schoolgate needs a replica set (one member is enough) "
                "or a sharded cluster: start mongod with --replSet and run rs.initiate() once"
            )
        if hello.get("maxWireVersion", 0) < _WIRE_6_0:
            raise StoreMisconfigured("this MongoDB is older than 6.0, which schoolgate's indexes need")
        concerns = self.driver.write_concern.document, self.driver.read_concern.document
        if concerns != (MAJORITY.document, READ_MAJORITY.document):
            raise StoreMisconfigured(
                "this MongoDB handle does not keep the majority concerns that it is given"
            )

    async def close(self) -> None:
        await _settled(self.handle.close())


def chunks(
    items: Sequence[_T], size: Callable[[_T], int] | None = None, most: int = sys.maxsize
) -> Generator[Sequence[_T]]:
    """Yield ``items`` in pieces for one operation each, of ``most`` at most; ``size`` is the bytes of one."""
    most = min(most, CHUNK)
    start = weight = 0
    for end, item in enumerate(items):
        weight += 0 if size is None else size(item)
        if end - start == most or (weight > CHUNK_BYTES and end > start):
            yield items[start:end]
            start, weight = end, 0 if size is None else size(item)
    if start < len(items):
        yield items[start:]


def storable(time: datetime) -> datetime:
    """Return ``time`` as MongoDB keeps it: cut to milliseconds."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


async def _settled(outcome: Any) -> Any:  # noqa: ANN401 -- three drivers, three types
    """Return ``outcome``, awaited where the driver made it awaitable."""
    return await outcome if inspect.isawaitable(outcome) else outcome
