"""The last moment at which a write can be stopped, against real peers on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from schoolgate_sdk import CircuitOpen, Departure, SchoolConnection, Transient, WriteStopped
from schoolgate_sdk.http import HttpClient, HttpOptions, Request, http_client
from schoolgate_sdk.traffic import Traffic, TrafficLimits

NOW = datetime(2026, 9, 14, 8, 0, tzinfo=UTC)
BODY = b'{"comment":"Amelia helped"}'
OPTIONS = HttpOptions("Some MIS", read_attempts=1)


class Names(AbstractResolver):
    """Names the server, as slowly as is wanted: a connection stands only then."""

    def __init__(self) -> None:
        self.asked, self.told = asyncio.Event(), asyncio.Event()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.set()
        await self.told.wait()
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Mis:
    """A server that counts the requests that came whole, and a client of it."""

    port: int
    names: Names
    client: HttpClient
    status: int = 200
    go: asyncio.Event = field(default_factory=asyncio.Event)
    whole: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list[Any])

    def request(self, **members: Any) -> Request:
        given: dict[str, Any] = {"method": "POST", "entity": "Events", "body": BODY} | members
        return Request(url=f"http://mis.test:{self.port}/v2/Events?key=a-secret", **given)


@pytest.fixture
async def mis() -> AsyncGenerator[Mis]:
    async with AsyncExitStack() as stack:

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            found.whole.append((request.method, dict(request.headers), body))
            await found.go.wait()
            return web.Response(status=found.status, body=b"done")

        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handle)
        server = TestServer(application)
        await server.start_server()
        stack.push_async_callback(server.close)
        names = Names()
        names.told.set()
        connector = aiohttp.TCPConnector(resolver=names, use_dns_cache=False)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        traffic = Traffic(TrafficLimits(circuit_failures=2), rng=random.Random(1))
        connection = SchoolConnection("school-1", {}, lambda: NOW, {}, traffic)
        client = HttpClient(session, connection, OPTIONS, rng=random.Random(1))
        port = server.make_url("/").port
        assert port is not None
        found = Mis(port, names, client)
        found.go.set()
        yield found


def stop(departure: Departure) -> None:
    raise WriteStopped("the policy is off")


async def test_a_write_is_announced_once_as_it_is_and_before_it_leaves(mis: Mis) -> None:
    told: list[tuple[Departure, int]] = []
    request = mis.request(headers={"Content-Type": "application/json", "X-Secret": "a-secret"})

    answer = await mis.client.send(
        request, leaving=lambda departure: told.append((departure, len(mis.whole)))
    )

    assert told == [(Departure("POST Events", BODY.decode()), 0)]
    [(method, headers, body)] = mis.whole
    assert (bytes(answer.body), method, body) == (b"done", "POST", BODY)
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/json", str(len(BODY)))
    assert "Transfer-Encoding" not in headers


async def test_what_a_body_holds_of_credentials_is_shown_otherwise(mis: Mis) -> None:
    told: list[Departure] = []

    await mis.client.send(mis.request(shown="a result"), leaving=told.append)

    assert told == [Departure("POST Events", "a result")]
    assert mis.whole[0][2] == BODY


@pytest.mark.parametrize("members", [{}, {"method": "DELETE", "body": None}], ids=["body", "no body"])
async def test_g19_a_write_that_is_stopped_never_reaches_the_mis(mis: Mis, members: dict[str, Any]) -> None:
    """Seen to fail with what ``leaving`` raised left to aiohttp: ``Transient`` then, an unknown outcome."""
    stopped = WriteStopped("the policy is off")

    def leaving(departure: Departure) -> None:
        raise stopped

    with pytest.raises(WriteStopped) as raised:
        await mis.client.send(mis.request(**members), leaving=leaving)

    assert raised.value is stopped
    assert mis.whole == []
    await mis.client.send(mis.request(**members), leaving=lambda departure: None)
    assert len(mis.whole) == 1


async def test_g19_a_write_is_asked_about_once_its_connection_stands(mis: Mis) -> None:
    """Seen to fail with ``leaving`` called before the request is handed to aiohttp."""
    mis.names.told.clear()
    allowed = True

    def leaving(departure: Departure) -> None:
        if not allowed:
            stop(departure)

    sending = asyncio.create_task(mis.client.send(mis.request(), leaving=leaving))
    await mis.names.asked.wait()
    allowed = False
    mis.names.told.set()

    with pytest.raises(WriteStopped):
        await sending
    assert mis.whole == []


async def test_of_a_write_that_is_given_up_before_its_connection_stands_nothing_leaves(mis: Mis) -> None:
    mis.names.told.clear()
    told: list[Departure] = []
    sending = asyncio.create_task(mis.client.send(mis.request(), leaving=told.append))
    await mis.names.asked.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    mis.names.told.set()

    await mis.client.send(mis.request())
    assert (told, len(mis.whole)) == ([], 1)


async def test_g19_a_write_is_asked_about_once_it_has_its_turn(mis: Mis) -> None:
    """Seen to fail with ``leaving`` called before the turn."""
    mis.go.clear()
    told: list[bool] = []

    def leaving(departure: Departure) -> None:
        told.append(mis.go.is_set())

    async with asyncio.TaskGroup() as group:
        before = [group.create_task(mis.client.send(mis.request())) for _ in range(2)]
        while len(mis.whole) < len(before):  # as many as a school may send at once
            await asyncio.sleep(0)
        sending = group.create_task(mis.client.send(mis.request(), leaving=leaving))
        for _ in range(20):
            await asyncio.sleep(0)
        mis.go.set()
        await sending

    assert told == [True]


async def test_not_a_byte_of_a_stopped_write_reaches_a_slow_reader() -> None:
    got = bytearray()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(4):
            got.extend(piece)
        writer.close()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = SchoolConnection("school-1", {}, lambda: NOW, {}, Traffic())
    async with server, http_client(connection, OPTIONS, {"Token": "a-secret"}) as client:
        request = Request("POST", f"http://127.0.0.1:{port}/", "Events", body=BODY * 100_000)
        with pytest.raises(WriteStopped):
            await client.send(request, leaving=stop)
        await over.wait()

    assert b"Amelia" not in got


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), aiohttp.ClientError("x")], ids=repr)
async def test_whatever_leaving_raises_is_passed_on(mis: Mis, error: Exception) -> None:
    def leaving(departure: Departure) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await mis.client.send(mis.request(), leaving=leaving)

    assert raised.value is error
    assert mis.whole == []


async def _failing(mis: Mis) -> None:
    mis.status = 500
    with pytest.raises(Transient) as raised:
        await mis.client.send(mis.request())
    assert not isinstance(raised.value, CircuitOpen)


async def _stopped(mis: Mis) -> None:
    with pytest.raises(WriteStopped):
        await mis.client.send(mis.request(), leaving=stop)


async def test_a_stopped_write_counts_neither_against_the_mis_nor_for_it(mis: Mis) -> None:
    """Two failures in a row open the circuit. Seen to fail with a stop counted as a failure, and as an
    answer.
    """
    for _ in range(3):
        await _stopped(mis)
    await _failing(mis)
    await _stopped(mis)
    await _failing(mis)

    with pytest.raises(CircuitOpen):
        await mis.client.send(mis.request(), leaving=stop)


async def test_nothing_is_announced_where_nobody_is_there() -> None:
    told: list[Departure] = []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        request = Request("POST", f"http://127.0.0.1:{held.getsockname()[1]}/", "Events", body=BODY)
        connection = SchoolConnection("school-1", {}, lambda: NOW, {}, Traffic())
        async with http_client(connection, OPTIONS, {}) as client:
            with pytest.raises(Transient, match="failed"):
                await client.send(request, leaving=told.append)

    assert told == []


def test_g16_what_leaves_shows_nothing_of_itself_in_a_log() -> None:
    assert repr(Departure("POST Events", BODY.decode())) == "Departure('POST Events', 27 characters)"
