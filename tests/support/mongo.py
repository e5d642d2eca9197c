"""A real mongod for tests: one per test process, started by the first test that asks for it.

One per process, and not one for all processes of a parallel run: it starts within a second, needs little, and
dies with its process however that ends, so that there is nothing to count and nothing to leave running. Each
test works in a database of its own and drops it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions

MEMORY = Path("/dev/shm")
ROOM = 4 * 1024**3
"""Bytes; a mongod needs some hundred megabytes for its journals alone."""


@pytest.fixture(scope="session")
def mongo_uri() -> Generator[str]:
    """The URI of a replica set of one."""
    with data_folder() as folder:
        mongod = EmbeddedMongod(EmbeddedOptions(Path(folder), cache_gb=0.25))
        asyncio.run(mongod.start())
        yield mongod.uri
        asyncio.run(mongod.stop())


@pytest.fixture
def mongo_database(mongo_uri: str) -> Generator[str]:
    """The name of a database that is empty, and dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    yield name
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo_uri, serverMonitoringMode="poll")
    with client:
        # A transaction that a test left open would keep the database, and whoever waits for it, for a minute.
        client.admin.command({"killAllSessions": []})
        client.drop_database(name)


def data_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a new folder, in memory where there is room: tests wait for the disk at every small write."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    if not roomy:
        return tempfile.TemporaryDirectory(prefix="schoolgate-test-")
    for old in MEMORY.glob("schoolgate-test-*"):
        # Memory is too dear to leave there what a killed test process could not remove.
        if not Path(f"/proc/{old.name.split('-')[2]}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"schoolgate-test-{os.getpid()}-", dir=MEMORY)
