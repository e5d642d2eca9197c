"""Calls that stay open leave room for others."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate_server.rpc.server import Listen
from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, failure_of, served

pytestmark = pytest.mark.timeout(60)


async def watch(client: Client, school_id: str) -> Any:
    """Return a call that watches a school, once it was answered."""
    call: Any = client.query.WatchChanges(q.WatchChangesRequest(school_id=school_id))
    await call.read()
    return call


async def as_soon_as_there_is_room(client: Client, school_id: str) -> Any:
    """The server hears of a call's end a moment after its caller has ended it."""
    while True:
        try:
            return await watch(client, school_id)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)


async def refusal(client: Client, school_id: str) -> dict[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await watch(client, school_id)
    failure = failure_of(refused.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    return failure.metadata


async def test_g17_those_who_watch_a_school_leave_room_for_others(store: Store) -> None:
    """Seen to fail without the interceptor: the calls of one school are all that the server takes."""
    async with served(
        store,
        scripted_connector(ScriptedMis()),
        listen=Listen(concurrent_calls=16),
        clock=TickingClock(),
    ) as running:
        client = running.client
        schools = ("oak", "elm", "ash", "fir", "yew")
        for school_id in schools:
            await client.create_school(school_id, "scripted")
        calls = [await watch(client, school_id) for school_id in schools[:4] for _ in range(2)]
        assert await refusal(client, "oak") == {"method": "WatchChanges", "maximum": "2"}
        assert await refusal(client, "yew") == {"method": "WatchChanges", "maximum": "8"}
        count = q.CountRecordsRequest(school_id="oak", kind=k.KIND_STUDENT)
        assert (await client.query.CountRecords(count)).count == 0
        calls.pop().cancel()
        calls.append(await as_soon_as_there_is_room(client, "yew"))
        for call in calls:
            call.cancel()
