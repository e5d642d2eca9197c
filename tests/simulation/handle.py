"""A handle over mongomock through which one server works, and at which it can die, be cut off or be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pymongo.errors
from pymongo import _csot

from tests.support.mongomock_handle import MockCollection, MockCursor, MockDatabase, MockHandle

CRASHES = ("crash_before", "crash_after", "crash_half")
TROUBLES = (*CRASHES, "unavailable", "answer_lost", "half_done", "slow", "partition")


class ServerDied(Exception):
    """What every operation raises once the server is taken for dead: none has an effect any more."""


@dataclass
class Trouble:
    """What befalls a server's ``at``-th store operation; ``seconds`` for ``slow`` and ``partition``."""

    mode: str
    at: int
    seconds: float = 0.0

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
        self._cut_off_until = 0.0

    def arm(self, trouble: Trouble | None) -> None:
        """Count from 1 again, with another trouble to come."""
        self.trouble, self.operations = trouble, 0

    def die(self) -> ServerDied:
        self.died.set()
        return ServerDied("the server is dead")

    async def perform(self, execute: Callable[[], Any], half: Callable[[], Any]) -> Any:
        self.operations += 1
        number = self.operations
        await asyncio.sleep(0)
        if self.look is not None and number == self.look_at:
            await self.look()
        if self.died.is_set():
            raise ServerDied("the server is dead")
        if asyncio.get_running_loop().time() < self._cut_off_until:
            await asyncio.sleep(1)
            raise pymongo.errors.ServerSelectionTimeoutError("cut off")
        trouble = self.trouble
        if trouble is None or number != trouble.at:
            return execute()
        self.trouble = None
        self.fired.append(trouble.mode)
        return await self._befall(trouble, execute, half)

    async def _befall(self, trouble: Trouble, execute: Callable[[], Any], half: Callable[[], Any]) -> Any:
        match trouble.mode:
            case "crash_before":
                raise self.die()
            case "crash_after":
                execute()
                raise self.die()
            case "crash_half":
                half()
                raise self.die()
            case "unavailable":
                raise pymongo.errors.AutoReconnect("not sent")
            case "answer_lost":
                execute()
                raise pymongo.errors.AutoReconnect("answer lost")
            case "half_done":
                half()
                raise pymongo.errors.AutoReconnect("interrupted")
            case "partition":
                self._cut_off_until = asyncio.get_running_loop().time() + trouble.seconds
                raise pymongo.errors.AutoReconnect("cut off")
            case _:
                return await self._slowly(trouble.seconds, execute)

    async def _slowly(self, seconds: float, execute: Callable[[], Any]) -> Any:
        """MongoDB keeps to the limit of the operation: it takes effect within it or not at all."""
        left = _csot.remaining()
        if left is None or seconds < left:
            await asyncio.sleep(seconds)
            if self.died.is_set():
                raise ServerDied("the server is dead")
            return execute()
        await asyncio.sleep(max(0.0, left))
        raise pymongo.errors.NetworkTimeout("too slow")


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
        return _Cursor(self._inner.find(*args, **kwargs), self._gate)

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._inner.collection, operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            def half() -> None:
                if operation in {"insert_many", "bulk_write"} and (
                    some := list(args[0])[: len(args[0]) // 2]
                ):
                    method(some, *args[1:], **kwargs)

            return await self._gate.perform(lambda: method(*args, **kwargs), half)

        return call


class _Database:
    def __init__(self, inner: MockDatabase, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self.write_concern = inner.write_concern
        self.read_concern = inner.read_concern

    def __getitem__(self, name: str) -> _Collection:
        return _Collection(self._inner[name], self._gate)

    async def command(self, command: str) -> dict[str, Any]:
        return await self._inner.command(command)


class GatedHandle(MockHandle):
    """One server's handle; several over one ``client`` see the same data."""

    def __init__(self, client: Any, gate: Gate) -> None:
        super().__init__(client)
        self._gate = gate

    def get_database(self, name: str, **concerns: Any) -> Any:
        return _Database(super().get_database(name, **concerns), self._gate)
