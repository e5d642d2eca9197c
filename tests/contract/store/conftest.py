"""One suite over every driver that the store takes; what a driver cannot show, it says why."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import pytest
from pymongo import AsyncMongoClient

from schoolgate_server.store.store import Store
from tests.support.faults import Hook, WatchedHandle
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.mongomock_handle import MockHandle
from tests.support.store_samples import SettableClock

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]

EXCLUSIONS = {
    "mongomock": {
        "encryption": "mongomock has no client-side field level encryption",
        "plans": "mongomock has no query planner and no indexes to plan with",
        "limits": "mongomock has no limit on the size of documents",
        "concerns": "mongomock keeps one copy and no concerns",
        "partial unique indexes": "mongomock takes a missing field for a value there",
    }
}


class OpenStore(Protocol):
    def __call__(self, hook: Hook | None = None) -> Store: ...


class Driver:
    """Makes handles, all over one database."""

    def __init__(self, name: str, database: str, new_handle: Callable[[], Any]) -> None:
        self.name = name
        self.database = database
        self.new_handle = new_handle

    def requires(self, feature: str) -> None:
        reason = EXCLUSIONS.get(self.name, {}).get(feature)
        if reason:
            pytest.skip(reason)


@pytest.fixture(
    params=[
        "mongomock",
        pytest.param("motor", marks=pytest.mark.mongod),
        pytest.param("pymongo", marks=pytest.mark.mongod),
    ]
)
def driver(request: pytest.FixtureRequest) -> Driver:
    if request.param == "mongomock":
        shared = MockHandle().client
        return Driver("mongomock", f"test_{uuid.uuid4().hex}", lambda: MockHandle(shared))
    uri: str = request.getfixturevalue("mongo_uri")
    database: str = request.getfixturevalue("mongo_database")
    # Clients live for one test; polling spares each of them a second connection in the background.
    options: dict[str, Any] = {"serverMonitoringMode": "poll"}
    if request.param == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        return Driver("motor", database, lambda: _client(AsyncIOMotorClient, uri, options))
    return Driver("pymongo", database, lambda: _client(AsyncMongoClient, uri, options))


def _client(client: Any, uri: str, options: dict[str, Any]) -> Any:
    return client(uri, **options)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def opened(driver: Driver, clock: SettableClock) -> AsyncGenerator[OpenStore]:
    """Opens stores over the same data, as several servers would; `hook` sees every operation."""
    stores: list[Store] = []

    def open_store(hook: Hook | None = None) -> Store:
        handle = driver.new_handle()
        watched = handle if hook is None else WatchedHandle(handle, hook)
        store = Store.open(watched, driver.database, clock, sleep=no_sleep)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        await store.close()


async def no_sleep(seconds: float) -> None:
    """Waits for nothing: what the store waits for has happened already, in tests."""


@pytest.fixture
async def store(opened: Callable[..., Store]) -> Store:
    store = opened()
    await store.prepare()
    return store
