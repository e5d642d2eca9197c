"""A real mongod for tests: one per test process, started by the first test that asks for it.

One per process, and not one for all processes of a parallel run: it starts within a second, needs little, and
dies with its process however that ends, so that there is nothing to count and nothing to leave running. Each
test works in a database that is empty, and empties it again for the next one. To make and drop one instead
takes ten times as long, and MongoDB keeps the files of what was dropped open for minutes: some hundred tests
later it may open no more and answers nobody.
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
from pymongo.database import Database

from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions

MEMORY = Path("/dev/shm")
ROOM = 4 * 1024**3
"""Bytes; a mongod needs some hundred megabytes for its journals alone."""
MANY = 5_000
"""Documents."""


@pytest.fixture(scope="session")
def mongo_uri() -> Generator[str]:
    """The URI of a replica set of one."""
    with data_folder() as folder:
        mongod = EmbeddedMongod(EmbeddedOptions(Path(folder), cache_gb=0.25))
        asyncio.run(mongod.start())
        yield mongod.uri
        asyncio.run(mongod.stop())


@pytest.fixture(scope="session")
def empty_databases() -> list[str]:
    """Names of databases of ``mongo_uri`` without documents; their collections and indexes are there."""
    return []


@pytest.fixture
def mongo_database(mongo_uri: str, empty_databases: list[str]) -> Generator[str]:
    """The name of a database without documents, for one test."""
    name = empty_databases.pop() if empty_databases else f"test_{uuid.uuid4().hex}"
    yield name
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo_uri, serverMonitoringMode="poll")
    with client:
        # A transaction that a test left open would keep the database, and whoever waits for it, for a minute.
        client.admin.command({"killAllSessions": []})
        if _emptied(client[name]):
            empty_databases.append(name)
        else:
            client.drop_database(name)


def _emptied(database: Database[dict[str, Any]]) -> bool:
    """Take the documents out of every collection, unless they are so many that to drop it all is quicker."""
    collections = [database[name] for name in database.list_collection_names()]
    if sum(collection.estimated_document_count() for collection in collections) > MANY:
        return False
    for collection in collections:
        collection.delete_many({})
    return True


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
