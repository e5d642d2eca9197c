from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from schoolgate.v1 import school_service_pb2 as s
from schoolgate_server.rpc.server import Listen
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.served import Client, Served, failure_of, health_stub, refused, served

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVED = ["", *(f"schoolgate.v1.{n}Service" for n in ("School", "Sync", "Query", "Writeback", "Diagnostics"))]


@pytest.fixture
def health(client: Client) -> Any:
    return health_stub(client)


async def states(health: Any) -> set[int]:
    asked = [health_pb2.HealthCheckRequest(service=name) for name in SERVED]
    return {(await health.Check(request)).status for request in asked}


async def test_what_is_served_is_healthy(health: Any) -> None:
    assert await states(health) == {SERVING}


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
    # Told, the watchers end: a stop that waited for them would always take its full time.
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await watch.read()
    assert failure_of(ended.value).reason == "SHUTTING_DOWN"
    assert (await refused(health.Watch(health_pb2.HealthCheckRequest()))).reason == "SHUTTING_DOWN"


@pytest.mark.timeout(30)
async def test_a_watcher_does_not_delay_the_stop(store: Store) -> None:
    loop = asyncio.get_running_loop()
    async with served(store, clock=TickingClock(), listen=Listen(drain_s=20)) as running:
        watch = health_stub(running.client).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        started = loop.time()
    assert loop.time() - started < 10


async def test_a_service_that_nobody_knows_is_not_found_and_watched_as_unknown(health: Any) -> None:
    unknown = health_pb2.HealthCheckRequest(service="nobody.knows.It")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await health.Check(unknown)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(unknown)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.timeout(30)
async def test_strangers_who_never_send_their_request_leave_room(store: Store) -> None:
    listen = Listen(concurrent_calls=16)
    async with (
        served(store, clock=TickingClock(), listen=listen) as running,
        grpc.aio.insecure_channel(running.server.target) as channel,
    ):
        # A stream on the side of the client is the way to send nothing but the headers.
        connection: Any = channel  # whose calls have no types
        stranger = connection.stream_stream("/grpc.health.v1.Health/Check")
        codes = asyncio.as_completed([asyncio.ensure_future(stranger().code()) for _ in range(12)])
        refusals = [await code for code in itertools.islice(codes, 12 - 4)]
        refusals += [await stranger().code() for _ in range(20)]
        assert set(refusals) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await running.client.schools.ListSchools(s.ListSchoolsRequest())
        assert {await code for code in codes} == {grpc.StatusCode.INVALID_ARGUMENT}, "not for ever"
