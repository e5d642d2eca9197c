"""Makes a fresh ``mongod`` a replica set of one with one user, and an old one ready under today's port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from schoolgate_server.store.errors import EmbeddedError
from schoolgate_server.store.handles import Document

REPLICA_SET = "schoolgate"

_AUTHENTICATION_FAILED = 18
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
_POLL = 0.05


class ServerExited(Exception):
    """The server's process ended while it was being set up."""


class Setup:
    """Steps that may be taken again after a crash between any two of them."""

    def __init__(self, port: int, user: str, password: str, exited: Callable[[], bool]) -> None:
        self._port = port
        self._host = f"127.0.0.1:{port}"
        self._user = user
        self._password = password
        self._exited = exited

    async def run(self) -> None:
        """Return once the server takes writes from the user.

        Raises:
            ServerExited: the process has ended.
            EmbeddedError: the data belong to another password.
        """
        await self._listening()
        if not await self._can_log_in():
            await self._first_start()
        async with self._connected(self._user, self._password) as client:
            await self._right_address(client)
            await self._writable(client)

    @asynccontextmanager
    async def _connected(
        self, user: str | None = None, password: str | None = None
    ) -> AsyncGenerator[AsyncMongoClient[Document]]:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            self._host,
            username=user,
            password=password,
            directConnection=True,
            serverSelectionTimeoutMS=1000,
            timeoutMS=10_000,
            # No further connections in the background: these clients live for moments.
            serverMonitoringMode="poll",
        )
        try:
            yield client
        finally:
            await client.close()

    async def _listening(self) -> None:
        """Wait until somebody listens.

        Not by a MongoDB client: PyMongo leaves a socket open when it is closed while it tries to connect.
        """
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await self._pause()
            else:
                writer.close()
                await writer.wait_closed()
                return

    async def _can_log_in(self) -> bool:
        async with self._connected(self._user, self._password) as client:
            try:
                await client.admin.command("connectionStatus")
            except OperationFailure as error:
                if error.code == _AUTHENTICATION_FAILED:
                    return False
                raise
        return True

    async def _first_start(self) -> None:
        """Initiate the set and make the user; MongoDB lets loopback do both while there is no user."""
        config = {"_id": REPLICA_SET, "version": 1, "members": [{"_id": 0, "host": self._host}]}
        async with self._connected() as client:
            try:
                await client.admin.command("replSetInitiate", config)
            except OperationFailure as error:
                if self._exited():
                    raise ServerExited from None  # and another server answers under its port
                if error.code != _ALREADY_INITIALIZED:
                    raise EmbeddedError(
                        "the embedded MongoDB does not take its password; the file `password` in its folder "
                        "must be the one that the data were made with"
                    ) from error
            await self._writable(client)
            await client.admin.command("createUser", self._user, pwd=self._password, roles=["root"])

    async def _right_address(self, client: AsyncMongoClient[Document]) -> None:
        """Tell the set its member's address where the port is another one than at the last start."""
        while True:
            try:
                config: Document = (await client.admin.command("replSetGetConfig"))["config"]
                if config["members"][0]["host"] == self._host:
                    return
                config["members"][0]["host"] = self._host
                config["version"] += 1
                # Forced, because a member that does not find itself in its set has no primary to agree.
                await client.admin.command("replSetReconfig", config, force=True)
            except OperationFailure as error:
                if error.code != _NOT_YET_INITIALIZED:
                    raise
            except ConnectionFailure:
                pass  # a member that changes its state closes its connections
            await self._pause()

    async def _writable(self, client: AsyncMongoClient[Document]) -> None:
        while True:
            try:
                if (await client.admin.command("hello")).get("isWritablePrimary"):
                    return
            except ConnectionFailure:
                pass  # a member that changes its state closes its connections
            await self._pause()

    async def _pause(self) -> None:
        if self._exited():
            raise ServerExited
        await asyncio.sleep(_POLL)
