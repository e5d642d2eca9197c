"""Each engine test runs over the in-memory store and over a real mongod."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from tests.support.engine import Engine, TickingClock, engine_over
from tests.support.mongomock_handle import MockHandle


@pytest.fixture(params=["mongomock"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[Store]:
    opened = Store.open(MockHandle(), "schoolgate", TickingClock())
    await opened.prepare()

    class NoCredentials:
        async def get(self, school_id: str) -> None:
            return None

    opened.credentials = NoCredentials()
    yield opened
    await opened.close()


@pytest.fixture
async def engine(store: Store, request: pytest.FixtureRequest) -> AsyncGenerator[Engine]:
    marker = request.node.get_closest_marker("profile")
    profile = marker.args[0] if marker else CORE_PROFILE
    async with engine_over(store, profile=profile) as running:
        yield running
