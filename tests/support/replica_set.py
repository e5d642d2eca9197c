"""A real replica set of three on loopback, whose members a test kills, stalls and starts again.

A set is slow to start and heavy, so there is one per test process, and its tests share one xdist group. After
each test every member is brought back (:meth:`ReplicaSet.heal`), so that the next one begins with three.
"""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from schoolgate_server.store.mongod_binary import find_mongod
from tests.support.mongo import data_folder
from tests.support.ports import kept_ports
from tests.support.processes import kill, launch, stall, stands_still, wait_until, wake

NAME = "three"

Document = dict[str, Any]

_SETTINGS = {
    # For one machine: a set in production takes ten seconds to miss its primary.
    "electionTimeoutMillis": 1000,
    "heartbeatIntervalMillis": 250,
    "heartbeatTimeoutSecs": 1,
    "catchUpTimeoutMillis": 2000,
}

_SMALL = [
    *("--wiredTigerCacheSizeGB", "0.25"),
    *("--oplogSize", "64"),
    *("--bind_ip", "127.0.0.1"),
    "--nounixsocket",
    "--quiet",
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
]


@dataclass
class Node:
    """One member; ``process`` is the latest one that was started for it."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ask(self, command: str) -> Document:
        """Return the answer to a command; raises ``PyMongoError`` where there is none soon."""
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            self.address,
            directConnection=True,
            serverMonitoringMode="poll",
            serverSelectionTimeoutMS=1000,
            connectTimeoutMS=1000,
            socketTimeoutMS=2000,
        )
        with client:
            answer: Document = client.admin.command(command)
        return answer


class ReplicaSet:
    """Three members. Every wait is for what the set itself says; none is for a time to pass."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.nodes = tuple(Node(port, folder / str(port)) for port in ports)
        self._binary = find_mongod()

    @property
    def uri(self) -> str:
        """The URI of the whole set."""
        return f"mongodb://{','.join(node.address for node in self.nodes)}/?replicaSet={NAME}"

    def start(self) -> None:
        """Start all members and make them one set."""
        for node in self.nodes:
            node.folder.mkdir()
            self._launch(node)
        for node in self.nodes:
            wait_until(lambda: self._answers(node), "the member answers")  # noqa: B023 -- used within the turn
        members = [{"_id": number, "host": node.address} for number, node in enumerate(self.nodes)]
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            self.nodes[0].address, directConnection=True, serverMonitoringMode="poll"
        )
        with client:
            client.admin.command("replSetInitiate", {"_id": NAME, "members": members, "settings": _SETTINGS})
        self.wait_for_primary()
        self._wait_for_all()

    def stop(self) -> None:
        """End every member, stalled or not."""
        for node in self.nodes:
            if node.process is not None:
                kill(node.process)

    def primary(self) -> Node:
        """Return the member that a majority follows; fails where there is none at the moment."""
        node = self._primary()
        assert node is not None, "the set has no primary"
        return node

    def wait_for_primary(self, other_than: Node | None = None) -> Node:
        """Return the primary once there is one, not counting ``other_than``."""
        found: list[Node] = []

        def elected() -> bool:
            node = self._primary(other_than)
            found.extend([node] if node is not None else [])
            return node is not None

        wait_until(elected, "there is a primary")
        return found[-1]

    def kill(self, node: Node) -> None:
        """End a member at once (SIGKILL)."""
        assert node.process is not None
        kill(node.process)

    def pause(self, node: Node) -> None:
        """Stop a member where it is (SIGSTOP): its connections stay open and nothing answers."""
        assert node.process is not None
        stall(node.process)

    def resume(self, node: Node) -> None:
        """Let a paused member go on; it does not know yet what the others decided meanwhile."""
        assert node.process is not None
        wake(node.process)

    def restart(self, node: Node) -> None:
        """Start a member that was killed, over the data that it left."""
        assert not node.alive
        self._launch(node)

    def heal(self) -> None:
        """Bring every member back, and return once there are a primary and two secondaries."""
        for node in self.nodes:
            if not node.alive:
                self.restart(node)
            elif node.process is not None and stands_still(node.process.pid):
                self.resume(node)
        self.wait_for_primary()
        self._wait_for_all()

    @contextlib.contextmanager
    def patient(self, seconds: int) -> Generator[None]:
        """Let a primary that has lost the others go on for ``seconds``; every member is back after it."""
        try:
            self._reconfigure({"electionTimeoutMillis": seconds * 1000, "heartbeatTimeoutSecs": seconds})
            yield
        finally:
            self.heal()
            self._reconfigure(_SETTINGS)

    def _reconfigure(self, settings: Document) -> None:
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(self.uri)
        with client:
            config = client.admin.command("replSetGetConfig")["config"]
            config["settings"] |= settings
            config["version"] += 1
            client.admin.command("replSetReconfig", config)

    def _launch(self, node: Node) -> None:
        arguments = ["--replSet", NAME, "--port", str(node.port), "--dbpath", str(node.folder)]
        arguments += ["--logpath", f"{node.folder}.log", "--logappend", *_SMALL]
        node.process = launch([str(self._binary), *arguments], stdout=subprocess.DEVNULL)

    def _answers(self, node: Node) -> bool:
        with contextlib.suppress(PyMongoError):
            node.ask("ping")
            return True
        assert node.alive, f"a member ended: {Path(f'{node.folder}.log').read_text()[-2000:]}"
        return False

    def _primary(self, other_than: Node | None = None) -> Node | None:
        for node in self.nodes:
            if node is other_than or not node.alive or (node.process and stands_still(node.process.pid)):
                continue
            with contextlib.suppress(PyMongoError):
                if node.ask("hello").get("isWritablePrimary"):
                    return node
        return None

    def _wait_for_all(self) -> None:
        """Wait until each member says of itself what a whole set has; one that was paused may be mistaken."""

        def role(node: Node) -> str:
            with contextlib.suppress(PyMongoError):
                hello = node.ask("hello")
                return "primary" if hello["isWritablePrimary"] else "secondary" if hello["secondary"] else ""
            return ""

        def all_there() -> bool:
            return sorted(map(role, self.nodes)) == ["primary", "secondary", "secondary"]

        wait_until(all_there, "all members are back")


@pytest.fixture(scope="session")
def three_nodes() -> Generator[ReplicaSet]:
    """The set of this test process."""
    with data_folder() as folder, kept_ports(3) as ports:
        nodes = ReplicaSet(Path(folder), ports)
        try:
            nodes.start()
            yield nodes
        finally:
            nodes.stop()


@pytest.fixture
def replica_set(three_nodes: ReplicaSet) -> Generator[ReplicaSet]:
    """The set with all members at work, and with all of them again after the test."""
    three_nodes.heal()
    yield three_nodes
    three_nodes.heal()


@pytest.fixture
def new_database(replica_set: ReplicaSet) -> Generator[str]:
    """The name of a database of the set, empty, and dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    yield name
    replica_set.heal()
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(replica_set.uri)
    with client:
        client.drop_database(name)
