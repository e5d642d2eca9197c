"""Transactions for mongomock, which has none: as MongoDB's, as far as whoever uses them can tell.

A transaction reads what was there when it began, and what it wrote itself. What it wrote, nobody else sees
before it commits, and then all of it at once. Where it writes a document that another open transaction
wrote, or that somebody changed since it began, it fails with WriteConflict and is undone. A write outside of
transactions waits for an open one that wrote the same document. What nobody ends is undone after a minute.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pymongo.errors import OperationFailure
from pymongo.operations import InsertOne

LIFETIME = 60.0
"""Seconds after which MongoDB undoes an open transaction (``transactionLifetimeLimitSeconds``)."""

_GONE: Any = object()


class Key(NamedTuple):
    """One document, there or not."""

    store: Any
    document_id: Any

    def image(self) -> Any:
        """Return a copy of the document, or ``_GONE``."""
        there = self.document_id in self.store
        return copy.deepcopy(self.store[self.document_id]) if there else _GONE

    def put(self, image: Any) -> None:
        """Make ``image`` the document."""
        if image is not _GONE:
            self.store[self.document_id] = copy.deepcopy(image)
        elif self.document_id in self.store:
            del self.store[self.document_id]


class Blocked(Exception):
    """A write outside of transactions meets a document that an open transaction wrote."""


class Ledger:
    """The open transactions of one in-memory MongoDB."""

    def __init__(self) -> None:
        self.sessions = 0
        self._open: list[Transaction] = []

    @property
    def is_idle(self) -> bool:
        return not self._open

    def begin(self, transaction: Transaction) -> None:
        self._open.append(transaction)
        transaction.expires = asyncio.get_running_loop().time() + LIFETIME

    def end(self, transaction: Transaction) -> None:
        if transaction in self._open:
            self._open.remove(transaction)

    def expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for transaction in [one for one in self._open if one.expires <= now]:
            transaction.undo()

    def kill(self, sessions: Iterable[bytes]) -> None:
        """Undo what is open in ``sessions``, as killSessions does."""
        for transaction in [one for one in self._open if one.session in sessions]:
            transaction.undo()

    def step_down(self) -> None:
        """Undo whatever is open, as a primary that steps down does."""
        for transaction in list(self._open):
            transaction.undo()

    def writer_of(self, key: Key) -> Transaction | None:
        return next((one for one in self._open if key in one.written), None)

    def changing(self, keys: Iterable[Key], by: Transaction | None = None) -> None:
        """Keep for open transactions what these documents were before they change."""
        for key in keys:
            for transaction in self._open:
                if transaction is not by and key not in transaction.changed:
                    transaction.changed[key] = key.image()

    def plain(self, collection: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do an operation outside of transactions.

        Raises:
            Blocked: it has to wait.
        """
        if self._open:
            self.expire()
        if self._open:
            keys = touched(collection, operation, args, kwargs)
            if any(self.writer_of(key) for key in keys):
                raise Blocked
            self.changing(keys)
        return getattr(collection, operation)(*args, **kwargs)


class Transaction:
    """One transaction on the server: it begins with its first operation."""

    def __init__(self, ledger: Ledger, session: bytes) -> None:
        self.ledger = ledger
        self.session = session
        self.state = "new"
        self.expires = 0.0
        self.written: dict[Key, Any] = {}
        self.changed: dict[Key, Any] = {}

    def run(self, collection: Any, operation: str, args: Any, kwargs: Any) -> Any:
        self.ledger.expire()
        if self.state == "new":
            self.state = "open"
            self.ledger.begin(self)
        if self.state != "open":
            raise _failure(251, "NoSuchTransaction")
        try:
            with self._view() as hide:
                keys = touched(collection, operation, args, kwargs)
                for key in keys:
                    owner = self.ledger.writer_of(key)
                    if (owner or self) is not self or (key in self.changed and key not in self.written):
                        raise _failure(112, "WriteConflict")
                    hide(key)
                outcome = getattr(collection, operation)(*args, **kwargs)
                self.written.update((key, key.image()) for key in keys)
        except BaseException:
            self.undo()
            raise
        return outcome

    @contextmanager
    def _view(self) -> Generator[Callable[[Key], None]]:
        """Put in place what the transaction sees, and afterwards again what everybody sees."""
        everybodys: dict[Key, Any] = {}

        def hide(key: Key) -> None:
            if key not in everybodys:
                everybodys[key] = key.image()

        for key, image in {**self.changed, **self.written}.items():
            hide(key)
            key.put(image)
        try:
            yield hide
        finally:
            for key, image in everybodys.items():
                key.put(image)

    def commit(self) -> None:
        """Let it take effect; again and again does no harm."""
        self.ledger.expire()
        if self.state == "open":
            self.ledger.changing(self.written, self)
            for key, image in self.written.items():
                key.put(image)
            self._end("committed")
        if self.state == "undone":
            raise _failure(251, "NoSuchTransaction")

    def undo(self) -> None:
        """Forget it; one that has not begun may still begin, where its first operation comes late."""
        if self.state == "open":
            self._end("undone")

    def supersede(self) -> None:
        """Forget it for ever: its session has begun another one."""
        if self.state != "committed":
            self._end("undone")

    def _end(self, state: str) -> None:
        self.state = state
        self.ledger.end(self)


class MockSession:
    """A session as Motor has it; ``transaction`` is what its latest operation belonged to."""

    def __init__(self, ledger: Ledger) -> None:
        ledger.sessions += 1
        self.session_id: Mapping[str, Any] = {"id": b"session %d" % ledger.sessions}
        self.transaction: Transaction | None = None
        self.in_transaction = False
        self._ledger = ledger

    def start_transaction(self, **concerns: Any) -> None:
        assert concerns["write_concern"].document == {"w": "majority"}
        assert concerns["read_concern"].document == {"level": "snapshot"}
        assert not self.in_transaction
        if self.transaction is not None:
            self.transaction.supersede()
        self.transaction = Transaction(self._ledger, self.session_id["id"])
        self.in_transaction = True

    async def commit_transaction(self) -> None:
        await asyncio.sleep(0)
        self.in_transaction = False
        assert self.transaction is not None
        self.transaction.commit()

    async def abort_transaction(self) -> None:
        await asyncio.sleep(0)
        self.in_transaction = False
        assert self.transaction is not None
        self.transaction.undo()


def touched(collection: Any, operation: str, args: Any, kwargs: Any) -> list[Key]:
    """Return the documents that an operation is going to write, those included that it makes."""
    store = getattr(collection, "_store")  # noqa: B009 -- mongomock has no other way to a document
    if operation == "bulk_write":
        found: list[Key] = []
        for one in args[0]:
            if isinstance(one, InsertOne):
                found.append(Key(store, vars_of(one, "_doc")["_id"]))
            else:
                found += _matching(collection, store, vars_of(one, "_filter"), upsert=vars_of(one, "_upsert"))
        return found
    if operation == "insert_one":
        return [Key(store, args[0]["_id"])]
    if operation == "insert_many":
        return [Key(store, document["_id"]) for document in args[0]]
    if operation in {"update_one", "replace_one", "find_one_and_update"}:
        return _matching(collection, store, args[0], upsert=kwargs.get("upsert", False))
    if operation == "delete_many":
        return [Key(store, document["_id"]) for document in collection.find(args[0], {"_id": 1})]
    return []


def vars_of(operation: Any, name: str) -> Any:
    """Return what a bulk's operation holds under ``name``, which the driver makes private."""
    return getattr(operation, name, None)


def _matching(collection: Any, store: Any, query: Any, *, upsert: bool) -> list[Key]:
    found = [Key(store, document["_id"]) for document in collection.find(query, {"_id": 1}).limit(1)]
    if not found and upsert:
        found.append(Key(store, query["_id"]))
    return found


def _failure(code: int, name: str) -> OperationFailure:
    details = {"code": code, "codeName": name, "errorLabels": ["TransientTransactionError"]}
    return OperationFailure(name, code, details)
