from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from schoolgate.v1 import school_service_pb2 as s
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from tests.support.served import Client, Served, health_stub, refused

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVED = ["", *(f"schoolgate.v1.{n}Service" for n in ("School", "Sync", "Query", "Diagnostics"))]


@pytest.fixture
def health(client: Client) -> Any:
    return health_stub(client)


async def states(health: Any) -> set[int]:
    asked = [health_pb2.HealthCheckRequest(service=name) for name in SERVED]
    return {(await health.Check(request)).status for request in asked}


async def test_what_is_served_is_healthy_and_what_is_only_described_is_not(
    health: Any,
) -> None:
    assert await states(health) == {SERVING}
    described = health_pb2.HealthCheckRequest(service="schoolgate.v1.WritebackService")
    assert (await health.Check(described)).status == NOT_SERVING


@pytest.mark.timeout(30)
async def test_watchers_see_the_store_go_and_come_back(
    health: Any,
    client: Client,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("no primary")

    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    with monkeypatch.context() as patched:
        patched.setattr(store, "ping", down)
        patched.setattr(store.schools, "get", down)
        # A call that finds the store gone has it asked at once; nobody waits for the next look.
        started = asyncio.get_running_loop().time()
        await refused(client.schools.GetSchool(s.GetSchoolRequest(school_id="oak")))
        assert (await watch.read()).status == NOT_SERVING
        assert asyncio.get_running_loop().time() - started < 1
        assert await states(health) == {NOT_SERVING}
    assert (await watch.read()).status == SERVING
    assert await states(health) == {SERVING}
    watch.cancel()


@pytest.mark.timeout(30)
async def test_a_store_that_hangs_is_a_store_that_does_not_answer(
    health: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> None:
        await asyncio.sleep(3600)

    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    monkeypatch.setattr(store, "ping", hangs)
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_a_stopping_server_says_so_first(health: Any, running: Served) -> None:
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    await running.server.close_to_new_calls()
    assert (await watch.read()).status == NOT_SERVING
    assert await states(health) == {NOT_SERVING}
    watch.cancel()
