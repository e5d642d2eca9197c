"""Bodies that are taken as they come, with the connectors' HTTP client."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from schoolgate_sdk import CircuitOpen, EntityDenied, Incomplete, Transient
from schoolgate_sdk.http import HttpClient, Request
from schoolgate_sdk.traffic import Traffic, TrafficLimits
from tests.unit.sdk.test_http import Handler, Mis, cut, mis, status

__all__ = ["mis"]


def in_two(taken: asyncio.Event) -> Handler:
    """Send the second half of a body once the first one was taken."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await taken.wait()
        await response.write(b"two")
        return response

    return handler


async def test_a_body_is_handed_out_while_it_comes(mis: Mis) -> None:
    taken = asyncio.Event()

    mis.script[:] = [in_two(taken)]
    client = await mis.client()
    async with client.opened(mis.request()) as chunks:
        assert await anext(chunks) == b"one"
        taken.set()
        assert b"".join([chunk async for chunk in chunks]) == b"two"


async def take(client: HttpClient, request: Request) -> None:
    async with client.opened(request) as chunks:
        async for _ in chunks:
            pass


async def test_a_body_that_breaks_off_or_is_too_large_is_told_where_it_is_taken(mis: Mis) -> None:
    async def large(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * (2 << 20))

    mis.script[:] = [cut, large, status(403)]
    client = await mis.client()
    for error in (Transient, Incomplete, EntityDenied):
        with pytest.raises(error):
            await take(client, mis.request())
    assert len(mis.requests) == 3


async def test_what_comes_first_is_asked_for_again(mis: Mis) -> None:
    tries: list[int] = []

    async def attempt() -> str:
        tries.append(len(tries))
        if len(tries) < 3:
            raise Transient("not yet")
        return "there"

    assert await (await mis.client()).repeated(attempt) == "there"
    assert len(tries) == 3


def failing(mis: Mis) -> None:
    """Let the circuit open after three failures in a row."""
    mis.traffic = Traffic(TrafficLimits(circuit_failures=3), clock=mis.clock, sleep=mis.clock.sleep)


async def test_what_tries_a_circuit_closes_it_when_its_answer_begins(mis: Mis) -> None:
    """Seen to fail where the end of the answer said so: for as long as it came, nobody else could ask."""
    taken = asyncio.Event()

    failing(mis)
    mis.script[:] = [status(500), status(500), status(500), in_two(taken), status(200)]
    client = await mis.client()
    for _ in range(3):
        with pytest.raises(Transient):
            await client.send(mis.request())
    with pytest.raises(CircuitOpen):
        await client.send(mis.request())
    await mis.clock.sleep(60)
    async with client.opened(mis.request()) as chunks:
        assert await anext(chunks) == b"one"
        assert (await client.send(mis.request())).status == 200
        taken.set()


async def test_bodies_that_are_cut_open_the_circuit_whatever_their_beginning(mis: Mis) -> None:
    """Seen to fail where an accepted status was taken for a whole answer: no failures were in a row, and what
    tried the circuit had not failed.
    """
    failing(mis)
    mis.script[:] = [cut]
    client = await mis.client()
    for _ in range(3):
        with pytest.raises(Transient, match="failed"):
            await take(client, mis.request())
    with pytest.raises(CircuitOpen):
        await take(client, mis.request())
    await mis.clock.sleep(60)
    with pytest.raises(Transient, match="failed"):
        await take(client, mis.request())
    with pytest.raises(CircuitOpen) as left_alone:
        await take(client, mis.request())
    assert (left_alone.value.until - mis.clock.now()).total_seconds() >= 60
    assert len(mis.requests) == 4
