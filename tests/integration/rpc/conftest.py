"""The API as callers meet it: the real server and engine, over an in-memory store."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.mongomock_handle import MockHandle
from tests.support.scripted import (
    GROUPS,
    MARKS,
    MEMBERSHIPS,
    STUDENTS,
    ScriptedMis,
    group,
    mark,
    member,
    scripted_connector,
    student,
)
from tests.support.served import Client, MemoryVault, Served, served

SCHOOL = "oak"


@pytest.fixture
async def store() -> AsyncGenerator[Store]:
    opened = Store.open(MockHandle(), "schoolgate", TickingClock())
    await opened.prepare()
    vault = MemoryVault(opened)
    opened.credentials, opened.row_seal = vault, vault
    yield opened
    await opened.close()


@pytest.fixture
def mis() -> ScriptedMis:
    mis = ScriptedMis()
    mis.rows[STUDENTS] = [
        student(number, surname=f"Surname{number:03}", sex_code="F", person=1000 + number)
        for number in range(25)
    ]
    mis.rows[GROUPS] = [group(number, f"7{number}") for number in range(3)]
    mis.rows[MEMBERSHIPS] = [member(0, 1000 + number) for number in range(25)]
    mis.rows[MARKS] = [mark(number, "2026-10-01") for number in range(25)]
    return mis


@pytest.fixture
async def running(store: Store, mis: ScriptedMis) -> AsyncGenerator[Served]:
    async with served(store, scripted_connector(mis), clock=TickingClock()) as running:
        yield running


@pytest.fixture
def client(running: Served) -> Client:
    return running.client


@pytest.fixture
async def synced(client: Client) -> Client:
    """A client of a server that has synced the school once."""
    await client.create_school(SCHOOL, "scripted")
    await client.sync_to_the_end(SCHOOL)
    return client
