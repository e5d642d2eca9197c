"""A handle around any other one that looks at every operation, and can let the process die at one of them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

_WRITES = {
    "insert_one",
    "insert_many",
    "bulk_write",
    "update_one",
    "replace_one",
    "find_one_and_update",
    "delete_many",
    "commit_transaction",
}


class Step(NamedTuple):
    """One moment: just before or just after an operation; `number` counts writes from 1."""

    number: int
    moment: str
    collection: str
    operation: str

    @property
    def is_write(self) -> bool:
        return self.operation in _WRITES


Hook = Callable[[Step], Awaitable[None]]


class ProcessDied(Exception):
    """What every operation raises once the process is taken for dead."""


class WatchedHandle:
    """`hook` is awaited before and after every operation; what it raises, the operation raises."""

    def __init__(self, inner: Any, hook: Hook) -> None:
        self.inner = inner
        self.hook = hook
        self.writes = 0

    def get_database(self, *args: Any, **kwargs: Any) -> _Database:
        return _Database(self.inner.get_database(*args, **kwargs), self)

    async def start_session(self, **options: Any) -> _Session:
        session = self.inner.start_session(**options)
        return _Session(await session if inspect.isawaitable(session) else session, self)

    def close(self) -> Any:
        return self.inner.close()

    async def watched(self, collection: str, operation: str, call: Callable[[], Any]) -> Any:
        number = 0
        if operation in _WRITES:
            self.writes += 1
            number = self.writes
        await self.hook(Step(number, "before", collection, operation))
        outcome = call()
        if inspect.isawaitable(outcome):
            outcome = await outcome
        await self.hook(Step(number, "after", collection, operation))
        return outcome


class _Database:
    def __init__(self, inner: Any, handle: WatchedHandle) -> None:
        self._inner = inner
        self._handle = handle

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._inner[name], name, self._handle)

    def get_collection(self, name: str, **options: Any) -> _Collection:
        return _Collection(self._inner.get_collection(name, **options), name, self._handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Collection:
    def __init__(self, inner: Any, name: str, handle: WatchedHandle) -> None:
        self._inner = inner
        self._name = name
        self._handle = handle

    def find(self, *args: Any, **kwargs: Any) -> _Cursor:
        return _Cursor(self._inner.find(*args, **_unwrapped(kwargs)), self._name, self._handle)

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._inner, operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            inner = _unwrapped(kwargs)
            return await self._handle.watched(self._name, operation, lambda: method(*args, **inner))

        return call


def _unwrapped(options: dict[str, Any]) -> dict[str, Any]:
    session = options.get("session")
    return {**options, "session": session.inner} if isinstance(session, _Session) else options


class _Session:
    """A session whose commits are writes; they show up as of the collection "transaction"."""

    def __init__(self, inner: Any, handle: WatchedHandle) -> None:
        self.inner = inner
        self._handle = handle

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit_transaction(self) -> None:
        await self._handle.watched("transaction", "commit_transaction", self.inner.commit_transaction)

    async def abort_transaction(self) -> None:
        await self._handle.watched("transaction", "abort_transaction", self.inner.abort_transaction)


class _Cursor:
    def __init__(self, inner: Any, name: str, handle: WatchedHandle) -> None:
        self._inner = inner
        self._name = name
        self._handle = handle

    async def to_list(self, length: int | None = None) -> Any:
        return await self._handle.watched(self._name, "find", lambda: self._inner.to_list(length))

    def close(self) -> Any:
        return self._inner.close()


def dies_at(number: int, moment: str) -> Hook:
    """Return a hook that lets the process die before or after its `number`-th write."""
    dead = False

    async def hook(step: Step) -> None:
        nonlocal dead
        dead = dead or (step.number == number and step.moment == moment)
        if dead:
            raise ProcessDied(f"{moment} write {number}")

    return hook


async def lives(step: Step) -> None:
    """Let everything happen."""
