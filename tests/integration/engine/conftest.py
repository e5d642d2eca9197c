"""Each engine test runs over the in-memory store and over a real mongod."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, cast

import pytest
from pymongo import AsyncMongoClient

from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from tests.support.engine import Engine, TickingClock, engine_over
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.mongomock_handle import MockHandle

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]


class NoCredentials:
    """The scripted MIS asks for none."""

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        raise AssertionError("no test of the engine sets credentials")

    async def get(self, school_id: str) -> dict[str, str] | None:
        return None

    async def forget(self, school_id: str) -> None:
        return None


@pytest.fixture(params=["mongomock", pytest.param("mongod", marks=pytest.mark.mongod)])
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The URI of a real mongod, empty for the in-memory one, and the name of a database there."""
    if request.param == "mongomock":
        return "", "schoolgate"
    return request.getfixturevalue("mongo_uri"), request.getfixturevalue("mongo_database")


@pytest.fixture
async def store(place: tuple[str, str]) -> AsyncGenerator[Store]:
    uri, database = place
    handle: Any = AsyncMongoClient[Any](uri, serverMonitoringMode="poll") if uri else MockHandle()
    opened = Store.open(handle, database, TickingClock())
    opened.credentials = NoCredentials()
    await opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture
async def engine(store: Store, request: pytest.FixtureRequest) -> AsyncGenerator[Engine]:
    # pytest gives the node no type.
    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]
    marker = node.get_closest_marker("profile")
    profile = marker.args[0] if marker else CORE_PROFILE
    async with engine_over(store, profile=profile) as running:
        yield running
