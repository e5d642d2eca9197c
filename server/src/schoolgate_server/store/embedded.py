"""A private MongoDB server: a replica set of one on loopback, for evaluation and tests.

Other users of the machine stay out: the folder (0700) holds the data, a random password and a key file
(0600). The server runs with authentication and without network compression (zlib's has had holes that need no
login), and it ends with this process.
"""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from schoolgate_server.store.embedded_folder import EmbeddedFolder, is_free
from schoolgate_server.store.embedded_setup import REPLICA_SET, ServerExited, Setup
from schoolgate_server.store.errors import EmbeddedError
from schoolgate_server.store.mongod_binary import find_mongod, spawn

USER = "schoolgate"

_POLL = 0.05
_PORT_TRIES = 3


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """How the private server is run.

    Attributes:
        folder: where everything is kept between starts; made where it is missing.
        port: TCP port on loopback; ``None`` takes the last one, or another free one.
        binary: the ``mongod`` to run; ``None`` looks for one.
        cache_gb: GiB of WiredTiger's cache, at least 0.25; ``None`` leaves it to MongoDB, which takes half of
            the machine's memory beyond the first GiB.
        start_seconds: how long a start may take, recovery of the data after a crash included.
        stop_seconds: how long each step of stopping may take before the harder one.
        wait_seconds: how long to wait for the server of a killed predecessor to let go of the folder.
    """

    folder: Path
    port: int | None = None
    binary: Path | None = None
    cache_gb: float | None = 0.5
    start_seconds: float = 60
    stop_seconds: float = 15
    wait_seconds: float = 5


class EmbeddedMongod:
    """The private server. Start it from the main thread: on Linux it ends with the thread that started it."""

    def __init__(self, options: EmbeddedOptions) -> None:
        self._options = options
        self._folder = EmbeddedFolder(options.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._uri = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def uri(self) -> str:
        """The URI to connect with once the server has started. A secret: it holds the password."""
        return self._uri

    @property
    def pid(self) -> int | None:
        """Process id of ``mongod`` while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the server, set it up where it is new, and return once it takes writes.

        Raises:
            EmbeddedError: it cannot be started; the text says why and what to do.
        """
        binary = self._options.binary or find_mongod()
        password = self._folder.prepare()
        await self._folder_is_free()
        if self._options.port and not is_free(self._options.port):
            raise EmbeddedError(f"port {self._options.port} is in use; choose another one, or none")
        for tries_left in reversed(range(_PORT_TRIES)):
            port = self._options.port or self._folder.choose_port()
            try:
                await self._start_on(port, password, binary)
            except ServerExited:
                # Another process may have taken the port since it was found free.
                if self._options.port or not tries_left or is_free(port):
                    raise EmbeddedError(f"mongod ended at once: {self._folder.complaints()}") from None
            else:
                self._uri = (
                    f"mongodb://{USER}:{password}@127.0.0.1:{port}/"
                    f"?replicaSet={REPLICA_SET}&directConnection=true&authSource=admin"
                )
                return

    async def stop(self) -> None:
        """Shut the server down in good order, or kill it where it does not end. No-op when it is down.

        SIGTERM does what the ``shutdown`` command does, and needs no connection.
        """
        process, self._process = self._process, None
        if process is None:
            return
        for end in (process.terminate, process.kill):
            if process.poll() is None:
                end()
                await self._ended(process)
        self._uri = ""

    async def _start_on(self, port: int, password: str, binary: Path) -> None:
        process = spawn(binary, self._arguments(port), self._folder.output)
        self._process = process
        setup = Setup(port, USER, password, lambda: process.poll() is not None)
        try:
            async with asyncio.timeout(self._options.start_seconds):
                await setup.run()
        except TimeoutError:
            await self.stop()
            raise EmbeddedError(
                f"mongod was not ready after {self._options.start_seconds:g} seconds; "
                f"{self._folder.log} says what it was doing"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def _folder_is_free(self) -> None:
        for _ in range(int(self._options.wait_seconds / _POLL) + 1):
            holder = self._folder.holder()
            if holder is None:
                return
            await asyncio.sleep(_POLL)
        raise EmbeddedError(
            f"another mongod (process {self._folder.holder()}) is running on {self._options.folder}; "
            "stop it, or choose another folder"
        )

    async def _ended(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(int(self._options.stop_seconds / _POLL)):
            if process.poll() is not None:
                return
            await asyncio.sleep(_POLL)

    def _cache(self) -> list[str]:
        size = self._options.cache_gb
        return [] if size is None else ["--wiredTigerCacheSizeGB", str(size)]

    def _arguments(self, port: int) -> list[str]:
        folder = self._folder
        return [
            *("--dbpath", str(folder.database)),
            *("--logpath", str(folder.log)),
            "--quiet",
            *("--bind_ip", "127.0.0.1"),
            *("--port", str(port)),
            "--nounixsocket",
            "--auth",
            *("--keyFile", str(folder.key_file)),
            *("--networkMessageCompressors", "disabled"),
            *("--replSet", REPLICA_SET),
            *("--oplogSize", "256"),  # MiB; nobody replicates from it
            *self._cache(),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # The log shows slow operations with all their values, pupils' data among them.
            *("--slowms", str(2**31 - 1)),
            # A set of one has nobody to hand over to, so a signal need not wait for that.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        ]
