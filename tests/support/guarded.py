"""A MIS over real HTTP that asks for a token, and a connector of it on the SDK's client.

It refuses in every way that a MIS can, and counts what it was asked with which token.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from schoolgate_sdk import (
    AuthExpired,
    AuthInvalid,
    AuthRevoked,
    Connector,
    ConnectorError,
    EndOfSnapshot,
    EntityDenied,
    EntityGrantState,
    FieldSpec,
    Identity,
    Page,
    SchoolConnection,
    Scope,
)
from schoolgate_sdk.http import Answer, HttpClient, HttpOptions, Request, http_client
from tests.support.scripted import ScriptedMis, scripted_connector


class Asked(NamedTuple):
    """One request as the MIS saw it."""

    school: str
    dataset: str
    page: int
    token: str


Answers = Callable[[Asked], Awaitable[web.Response | None]]


async def _as_usual(asked: Asked) -> web.Response | None:
    return None


@dataclass
class GuardedMis:
    """Every school has the same rows; ``tokens`` are accepted, and ``answers`` may answer instead."""

    rows: ScriptedMis
    url: str = ""
    tokens: set[str] = field(default_factory=lambda: {"first"})
    denied: set[str] = field(default_factory=set[str])
    answers: Answers = _as_usual
    asked: list[Asked] = field(default_factory=list[Asked])

    async def handle(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Asked(
            request.query["school"], request.match_info["dataset"], int(request.query["page"]), token
        )
        self.asked.append(asked)
        answer = await self.answers(asked)
        if answer is not None:
            return answer
        if token not in self.tokens:
            return web.Response(status=401, text=f"{token} is wrong")
        if asked.dataset in self.denied:
            return web.Response(status=403)
        rows, size = self.rows.rows[asked.dataset], self.rows.page_size
        part = rows[asked.page * size : (asked.page + 1) * size]
        body = {"rows": part, "last": (asked.page + 1) * size >= len(rows)}
        return web.Response(body=orjson.dumps(body), content_type="application/json")


@asynccontextmanager
async def guarded_mis(rows: ScriptedMis) -> AsyncGenerator[GuardedMis]:
    """Serve a MIS on loopback for the time of the block."""
    mis = GuardedMis(rows)
    application = web.Application()
    application.router.add_get("/{dataset}", mis.handle)
    server = TestServer(application)
    await server.start_server()
    mis.url = str(server.make_url("/")).rstrip("/")
    try:
        yield mis
    finally:
        await server.close()


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> ConnectorError | None:
    """Tell apart what this MIS tells apart in its words."""
    if status != 401:
        return None
    if body == b"expired":
        return AuthExpired("the token has expired", identity=Identity.SCHOOL)
    if body == b"revoked":
        return AuthRevoked("the school has revoked the application", identity=Identity.SCHOOL)
    if body == b"partner":
        return AuthInvalid("the MIS does not know the application", identity=Identity.PARTNER)
    return None


class GuardedSession:
    """Reads pages in turn, and asks for a page of each entity to see whether it is granted."""

    def __init__(self, http: HttpClient, url: str, school_id: str) -> None:
        self._http = http
        self._url = url
        self._school_id = school_id

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        number = int(cursor or 0)
        while True:
            page = await self._page(scope.dataset, number)
            number += 1
            if page["last"]:
                yield Page(page["rows"], str(number), EndOfSnapshot(True))
                return
            yield Page(page["rows"], str(number))

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        states: dict[str, EntityGrantState] = {}
        for entity in entities:
            try:
                await self._page(entity, 0)
            except EntityDenied:
                states[entity] = EntityGrantState.DENIED
            else:
                states[entity] = EntityGrantState.GRANTED
        return states

    async def _page(self, dataset: str, number: int) -> dict[str, list[dict[str, object]]]:
        def decode(answer: Answer) -> dict[str, list[dict[str, object]]]:
            found: dict[str, list[dict[str, object]]] = orjson.loads(answer.body)
            return found

        params = {"school": self._school_id, "page": str(number)}
        return await self._http.read(Request("GET", f"{self._url}/{dataset}", dataset, params=params), decode)


def guarded_connector(
    mis: GuardedMis,
    *,
    asks_at_once: bool = False,
    attempts: int = 1,
    identity: Identity = Identity.SCHOOL,
) -> Connector:
    """Return a connector called ``scripted``; with ``asks_at_once`` a session begins with a request.

    ``identity`` is whose token it is. Where it is sent is the setting ``address``.
    """
    options = HttpOptions(
        "The MIS", read_attempts=attempts, retry_wait=0.01, refusal=_refusal, identity=identity
    )

    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[GuardedSession]:
        mis.rows.opened += 1
        headers = {"Authorization": f"Bearer {connection.credentials['token']}"}
        async with http_client(
            connection, options, headers, rng=random.Random(1), sleep=connection.traffic.sleep
        ) as http:
            session = GuardedSession(http, mis.url, connection.school_id)
            if asks_at_once:
                async for _ in session.read(Scope("students", "2026/27")):
                    break
            yield session

    described = scripted_connector(mis.rows)
    return replace(
        described,
        open=open_session,
        settings=(
            *described.settings,
            FieldSpec("address", "Where it is.", default="here", endpoint=True),
            FieldSpec("number", "The school's own there.", default="1"),
            FieldSpec("annexe", "Of the school alone.", endpoint=True, identity=Identity.SCHOOL),
        ),
        credentials=(FieldSpec("token", "The token.", required=True, identity=identity),),
    )
