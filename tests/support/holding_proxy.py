"""A TCP proxy in front of a mongod that holds one message back until it is told to let it through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from urllib.parse import urlsplit, urlunsplit

_LENGTH = 4
"""Bytes at the head of each of MongoDB's messages that say how long it is, themselves included."""


class HoldingProxy:
    """Forwards everything, but the first message that ``picked`` picks only after ``let_through``.

    A message is held back alone: others, of the same client too, go on over other connections.
    """

    def __init__(self, picked: Callable[[bytes], bool]) -> None:
        self.held = asyncio.Event()
        self.port = 0
        self._picked = picked
        self._let_through = asyncio.Event()
        self._target = ("", 0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def let_through(self) -> None:
        """Let the held message go its way."""
        self._let_through.set()

    @contextlib.asynccontextmanager
    async def before(self, uri: str) -> AsyncGenerator[str]:
        """Stand before the mongod of ``uri``, which clients connect to directly; gives the proxy's URI."""
        parts = urlsplit(uri)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        user = f"{parts.username}:{parts.password}@" if parts.username else ""
        try:
            yield urlunsplit(("mongodb", f"{user}127.0.0.1:{self.port}", parts.path, parts.query, ""))
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mongod_reader, mongod_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, mongod_writer]
        self._tasks.add(asyncio.create_task(self._forth(reader, mongod_writer)))
        self._tasks.add(asyncio.create_task(self._back(mongod_reader, writer)))

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _message(reader)
                if not self.held.is_set() and self._picked(message):
                    self.held.set()
                    await self._let_through.wait()
                writer.write(message)
                await writer.drain()
        writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                writer.write(await _message(reader))
                await writer.drain()
        writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(_LENGTH)
    return head + await reader.readexactly(int.from_bytes(head, "little") - _LENGTH)
