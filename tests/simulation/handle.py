"""A handle over mongomock through which one server works, and at which it can die, be cut off or be slow."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import types
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pymongo.errors
from pymongo import _csot

from tests.support.mongomock_handle import MockCollection, MockCursor, MockDatabase, MockHandle, ledger_of
from tests.support.mongomock_transactions import MockSession

CRASHES = ("crash_before", "crash_after", "crash_half")
TROUBLES = (
    *(*CRASHES, "unavailable", "answer_lost", "half_done", "slow", "partition"),
    *("late", "late", "step_down", *["last_words"] * 3),
)
GIVES_UP_SECONDS = 4.0
"""After which the caller of a late operation hears that nobody knows what became of it."""
ELECTION_SECONDS = 3.0


class ServerDied(Exception):
    """What every operation raises once the server is taken for dead: none has an effect any more."""


@dataclass
class Trouble:
    """What befalls a server's ``at``-th store operation; ``seconds`` says how long it is slow, or late.

    ``late``: the network keeps the operation, and delivers it after the caller has given up, be it dead or
    no longer the school's owner by then. ``step_down``: the operation meets a primary that steps down,
    before it took effect or (``seconds`` set) afterwards; open transactions are undone, and for a while there
    is no primary. ``last_words``: from the first commit of a transaction on, nobody hears from the server any
    more, and what it sends all the same arrives late.
    """

    mode: str
    at: int
    seconds: float = 0.0
    at_commit: bool = False
    """Whether it waits for the next operation that commits a transaction."""
    election: float = ELECTION_SECONDS
    """Seconds in which operations find no primary; 0.0 where they wait for one."""

    def befalls(self, number: int, *, commits: bool) -> bool:
        """Whether this is the operation that it befalls."""
        return commits and number >= self.at if self.at_commit else number == self.at

    def __str__(self) -> str:
        return f"{self.mode} at operation {self.at}" + (f" for {self.seconds:g} s" if self.seconds else "")


class Gate:
    """All store operations of one server pass here, one after the other counted from 1."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self.trouble = trouble
        self.operations = 0
        self.died = asyncio.Event()
        self.fired: list[str] = []
        self.look: Callable[[], Awaitable[None]] | None = None
        self.look_at = 0
        self.glance: Callable[[], Awaitable[None]] | None = None
        """What happens between a chunk of a commit and whatever its server does next."""
        self.step_down: Callable[[], None] = _nothing
        self.ends_sessions = True
        self._is_written = False
        self._late = 0.0
        self._cut_off_until = 0.0
        self._on_their_way: set[asyncio.Task[None]] = set()

    def arm(self, trouble: Trouble | None) -> None:
        """Count from 1 again, with another trouble to come."""
        self.trouble, self.operations = trouble, 0

    def die(self) -> ServerDied:
        self.died.set()
        return ServerDied("the server is dead")

    async def perform(
        self, execute: Callable[[], Any], half: Callable[[], Any], *, commits: bool = False
    ) -> Any:
        """Perform an operation, which ``commits`` a transaction or does not; ``half`` performs part of it."""
        self.operations += 1
        number = self.operations
        await asyncio.sleep(0)
        if self.look is not None and number == self.look_at:
            await self.look()
        is_written, self._is_written = self._is_written, commits
        if is_written and self.glance is not None:
            await self.glance()
        if self.died.is_set():
            raise ServerDied("the server is dead")
        if self._late:
            return await self._speak_last(execute)
        if asyncio.get_running_loop().time() < self._cut_off_until:
            await asyncio.sleep(1)
            raise pymongo.errors.ServerSelectionTimeoutError("cut off")
        trouble = self.trouble
        if trouble is None or not trouble.befalls(number, commits=commits):
            return await _done(execute)
        self.trouble = None
        self.fired.append(trouble.mode)
        return await self._befall(trouble, execute, half)

    async def _befall(self, trouble: Trouble, execute: Callable[[], Any], half: Callable[[], Any]) -> Any:
        match trouble.mode:
            case "crash_before" | "crash_after" | "crash_half":
                await _done({"crash_after": execute, "crash_half": half}.get(trouble.mode, _nothing))
                raise self.die()
            case "unavailable":
                raise pymongo.errors.AutoReconnect("not sent")
            case "answer_lost":
                await _done(execute)
                raise pymongo.errors.AutoReconnect("answer lost")
            case "half_done":
                await _done(half)
                raise pymongo.errors.AutoReconnect("interrupted")
            case "partition":
                self._cut_off_until = asyncio.get_running_loop().time() + trouble.seconds
                raise pymongo.errors.AutoReconnect("cut off")
            case "late":
                self._send_late(trouble.seconds, execute)
                await asyncio.sleep(min(GIVES_UP_SECONDS, _remaining()))
                raise pymongo.errors.NetworkTimeout("no answer")
            case "last_words":
                self._late = trouble.seconds
                return await self._speak_last(execute)
            case "step_down":
                if trouble.seconds:
                    await _done(execute)
                self.step_down()
                self._cut_off_until = asyncio.get_running_loop().time() + trouble.election
                raise pymongo.errors.NotPrimaryError("stepped down", {"code": 189})
            case _:
                return await self._slowly(trouble.seconds, execute)

    async def _speak_last(self, execute: Callable[[], Any]) -> Any:
        """Send an operation that arrives late, and die before anybody answers; others go with it."""
        self._send_late(self._late, execute)
        await asyncio.sleep(GIVES_UP_SECONDS / 2)
        raise self.die()

    def _send_late(self, seconds: float, execute: Callable[[], Any]) -> None:
        """Let the operation arrive after so many seconds, whoever still waits for it."""
        operation = execute()
        if not inspect.iscoroutine(operation):
            return  # a read, which changes nothing whenever it arrives
        operation.send(None)  # as far as it is known what transaction it belongs to
        task = asyncio.create_task(_arrive(seconds, operation))
        self._on_their_way.add(task)
        task.add_done_callback(self._on_their_way.discard)

    async def _slowly(self, seconds: float, execute: Callable[[], Any]) -> Any:
        """MongoDB keeps to the limit of the operation: it takes effect within it or not at all."""
        left = _csot.remaining()
        if left is None or seconds < left:
            await asyncio.sleep(seconds)
            if self.died.is_set():
                raise ServerDied("the server is dead")
            return await _done(execute)
        await asyncio.sleep(max(0.0, left))
        raise pymongo.errors.NetworkTimeout("too slow")


def _nothing() -> None:
    """Have no effect."""


def _remaining() -> float:
    left = _csot.remaining()
    return GIVES_UP_SECONDS if left is None else max(0.0, left)


async def _arrive(seconds: float, operation: Any) -> None:
    await asyncio.sleep(seconds)
    with contextlib.suppress(pymongo.errors.PyMongoError):  # nobody hears of it
        await _rest(operation)


@types.coroutine
def _rest(operation: Any) -> Any:
    """Perform what is left of an operation that has begun, which cannot be awaited any more."""
    while True:
        try:
            waits_for = operation.send(None)
        except StopIteration:
            return
        yield waits_for


async def _done(act: Callable[[], Any]) -> Any:
    outcome = act()
    return await outcome if inspect.isawaitable(outcome) else outcome


class _Session:
    """A session whose commits and aborts are operations like any other."""

    def __init__(self, inner: MockSession, gate: Gate) -> None:
        self.inner = inner
        self._gate = gate

    @property
    def session_id(self) -> Any:
        return self.inner.session_id

    @property
    def in_transaction(self) -> bool:
        return self.inner.in_transaction

    def start_transaction(self, **concerns: Any) -> None:
        self.inner.start_transaction(**concerns)

    async def commit_transaction(self) -> None:
        """Commit; as a driver does, say where it may or may not have happened."""
        transaction = self.inner.transaction
        assert transaction is not None
        try:
            await self._gate.perform(lambda: _ended(transaction.commit), lambda: None, commits=True)
        except pymongo.errors.ConnectionFailure as error:
            getattr(error, "_add_error_label")("UnknownTransactionCommitResult")  # noqa: B009 - as drivers do
            raise
        finally:
            self.inner.in_transaction = False

    async def abort_transaction(self) -> None:
        """Abort; as a driver does, leave it to MongoDB where it does not answer."""
        transaction = self.inner.transaction
        assert transaction is not None
        try:
            await self._gate.perform(lambda: _ended(transaction.undo), lambda: None)
        except pymongo.errors.ConnectionFailure:
            pass
        finally:
            self.inner.in_transaction = False


async def _ended(end: Callable[[], None]) -> None:
    """End a transaction, whichever its session has begun by the time that this arrives."""
    await asyncio.sleep(0)
    end()


class _Cursor:
    def __init__(self, inner: MockCursor, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def to_list(self, length: int | None = None) -> list[dict[str, Any]]:
        await self._gate.perform(lambda: None, lambda: None)
        return await self._inner.to_list(length)

    def close(self) -> None:
        self._inner.close()


class _Collection:
    def __init__(self, inner: MockCollection, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def find(self, *args: Any, **kwargs: Any) -> _Cursor:
        return _Cursor(self._inner.find(*args, **_unwrapped(kwargs)), self._gate)

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._inner, operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            inner = _unwrapped(kwargs)

            def half() -> Any:
                if operation in {"insert_many", "bulk_write"} and (
                    some := list(args[0])[: len(args[0]) // 2]
                ):
                    return method(some, *args[1:], **inner)
                return None

            return await self._gate.perform(lambda: method(*args, **inner), half)

        return call


def _unwrapped(options: dict[str, Any]) -> dict[str, Any]:
    session = options.get("session")
    return {**options, "session": session.inner} if isinstance(session, _Session) else options


class _Database:
    def __init__(self, inner: MockDatabase, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self.write_concern = inner.write_concern
        self.read_concern = inner.read_concern

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._inner[name], self._gate)

    def get_collection(self, name: str, **options: Any) -> _Collection:
        return _Collection(self._inner.get_collection(name, **options), self._gate)

    async def command(self, command: Any) -> dict[str, Any]:
        if isinstance(command, str):
            return await self._inner.command(command)
        if "killSessions" in command and not self._gate.ends_sessions:
            raise pymongo.errors.OperationFailure("not authorized", 13)
        answer: dict[str, Any] = await self._gate.perform(lambda: self._inner.command(command), lambda: None)
        return answer


class GatedHandle(MockHandle):
    """One server's handle; several over one ``client`` see the same data."""

    def __init__(self, client: Any, gate: Gate) -> None:
        super().__init__(client)
        self._gate = gate
        gate.step_down = ledger_of(client).step_down

    def get_database(self, name: str, **concerns: Any) -> Any:
        return _Database(super().get_database(name, **concerns), self._gate)

    async def start_session(self, *, causal_consistency: bool) -> Any:
        return _Session(await super().start_session(causal_consistency=causal_consistency), self._gate)
