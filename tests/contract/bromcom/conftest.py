"""A world, the simulator that serves it over HTTP, and sessions of the connector with it, in one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Middleware

from schoolgate_bromcom.plugin import schoolgate_connector
from schoolgate_bromcom.session import BromcomSession
from schoolgate_bromcom.simulator.command import build_application
from schoolgate_bromcom.simulator.effects import SchoolAccount
from schoolgate_bromcom.simulator.entities import ENTITIES, PersonIds
from schoolgate_bromcom.simulator.faults import Fault
from schoolgate_bromcom.simulator.record_rows import RESULT_SETTINGS, SETTINGS
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_bromcom.simulator.soap_service import PATH
from schoolgate_bromcom.simulator.soap_writes import WRITE_PATH
from schoolgate_sdk import EndOfSnapshot, ReadRows, Row, SchoolConnection, Scope
from schoolgate_sdk.testing.world import World

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONNECTOR = schoolgate_connector()
DEFAULTS = {spec.name: spec.default for spec in CONNECTOR.settings}
CREDENTIALS = {"application_id": "the-id", "application_secret": "the-secret"}
ACCOUNT = {"soap_username": "schoolgate-reader", "soap_password": "the-account's-<password>"}
PAGE = 250
"""Rows of a full page, unless a test says otherwise."""
NOW = datetime(2026, 9, 12, 8, 0, tzinfo=UTC)


class Sent(NamedTuple):
    """A request as it came: the surface, its headers, its body."""

    surface: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Mis:
    """A simulated MIS with one school, or several, and what a connector needs to read the first."""

    api: PartnerApi
    base_url: str
    open: Callable[[SchoolConnection], Awaitable[BromcomSession]]
    settings: dict[str, str] = field(default_factory=dict[str, str])
    credentials: dict[str, str] = field(default_factory=lambda: dict(CREDENTIALS), repr=False)
    recorded: list[Sent] = field(default_factory=list[Sent], repr=False)

    @property
    def account(self) -> SchoolAccount:
        return self.api.accounts[self.school.number]

    def requests(self, entity: str | None = None) -> int:
        """Return how many requests came, or how many about an entity."""
        log: Any = self.api.log.as_json()
        if entity is None:
            return int(log["requests"])
        return int(log["entities"].get(entity, {"requests": 0})["requests"])

    @property
    def school(self) -> SimulatedSchool:
        return next(iter(self.api.schools.values()))

    @property
    def world(self) -> World:
        return self.school.world

    def revoke(self, entity: str, surface: str) -> None:
        """Withdraw an entity on one surface."""
        granted = self.school.granted if surface == "partner" else self.account.granted
        granted.discard(entity)

    def fault(self, **members: object) -> None:
        self.api.faults.add(Fault.from_json(members))

    def connection(self, *, credentials: dict[str, str] | None = None, **settings: str) -> SchoolConnection:
        given = self.settings | settings
        return SchoolConnection(
            "school-1", given, lambda: NOW, self.credentials if credentials is None else credentials
        )

    async def session(self, *, credentials: dict[str, str] | None = None, **settings: str) -> BromcomSession:
        return await self.open(self.connection(credentials=credentials, **settings))


class StartMis(Protocol):
    async def __call__(
        self,
        *worlds: World,
        page_size: int = PAGE,
        person_ids: PersonIds = "column",
        tidy: bool = False,
        today: date | None = None,
        surface: str = "partner",
    ) -> Mis: ...


def _recording(recorded: list[Sent]) -> Middleware:
    """Return what keeps every request in ``recorded``."""

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.read()
        where = "soap" if request.path in {PATH, WRITE_PATH} else "partner"
        recorded.append(Sent(where, dict(request.headers), body))
        return await handler(request)

    return record


@pytest.fixture
async def start_mis() -> AsyncGenerator[StartMis, None]:
    async with AsyncExitStack() as stack:

        async def open_session(connection: SchoolConnection) -> BromcomSession:
            session = await stack.enter_async_context(CONNECTOR.open(connection))
            assert isinstance(session, BromcomSession)
            return session

        async def start(
            *worlds: World,
            page_size: int = PAGE,
            person_ids: PersonIds = "column",
            tidy: bool = False,
            today: date | None = None,
            surface: str = "partner",
        ) -> Mis:
            schools = {
                20001 + index: SimulatedSchool(
                    20001 + index,
                    world,
                    page_size=page_size,
                    person_ids=person_ids,
                    tidy=tidy,
                    today=today,
                )
                for index, world in enumerate(worlds)
            }
            accounts = {
                number: SchoolAccount(ACCOUNT["soap_username"], ACCOUNT["soap_password"], set(ENTITIES))
                for number in schools
            }
            api = PartnerApi(
                schools, CREDENTIALS["application_id"], CREDENTIALS["application_secret"], accounts
            )
            recorded: list[Sent] = []
            application = build_application(api)
            application.middlewares.append(_recording(recorded))
            server = TestServer(application)
            await server.start_server()
            stack.push_async_callback(server.close)
            settings = {
                **DEFAULTS,
                **SETTINGS,
                **RESULT_SETTINGS,
                "base_url": str(server.make_url("/v2")),
                "school_number": "20001",
                "page_size": str(page_size),
                "person_id_is_student_id": "no",
                "retry_wait_seconds": "0.001",
                "read_attempts": "3",
                "surface": surface,
                "surface_fallback": "no",
                "soap_url": str(server.make_url(PATH)),
                "soap_write_url": str(server.make_url(WRITE_PATH)),
            }
            credentials = dict(CREDENTIALS) | (ACCOUNT if surface == "soap" else {})
            return Mis(api, settings["base_url"], open_session, settings, credentials, recorded)

        yield start


@pytest.fixture
async def mis(start_mis: StartMis) -> Mis:
    """A small school with two weeks of marks, in pages of 250 rows."""
    return await start_mis(World.build(seed=11, pupils=60, marks_until=date(2026, 9, 19)))


async def read_all(
    session: ReadRows,
    dataset: str,
    date_from: date | None = None,
    date_to: date | None = None,
    cursor: str = "",
) -> tuple[list[Row], EndOfSnapshot]:
    """Read a whole dataset and return its rows and what is known of its end."""
    rows: list[Row] = []
    async for page in session.read(Scope(dataset, "2026/27", date_from, date_to), cursor):
        rows.extend(page.rows)
        if page.end is not None:
            return rows, page.end
    raise AssertionError("the read ended without its end")
