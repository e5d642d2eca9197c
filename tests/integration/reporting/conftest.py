"""A world in a store, in memory or of a real mongod, and the real server in front of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date

import pytest

from schoolgate_sdk.testing.world import World
from schoolgate_server.store.store import Store
from tests.integration.engine.conftest import place, store
from tests.support.engine import TickingClock
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, served
from tests.support.world_store import WorldStore

__all__ = ["empty_databases", "mongo_database", "mongo_uri", "place", "store"]

SCHOOL = "oak"
PUPILS = 24


def built_world() -> World:
    """Return the world as it is before any edit."""
    return World.build(seed=11, pupils=PUPILS, marks_until=date(2026, 9, 12))


@dataclass
class Oak:
    """``seq`` is the one at which the store has the world as it was built."""

    client: Client
    world: World
    stored: WorldStore
    seq: int


@pytest.fixture
async def oak(store: Store) -> AsyncGenerator[Oak]:
    world = built_world()
    stored = WorldStore(store, SCHOOL)
    await stored.register()
    seq = await stored.put_world(world)
    async with served(store, scripted_connector(ScriptedMis()), clock=TickingClock()) as running:
        yield Oak(running.client, world, stored, seq)
