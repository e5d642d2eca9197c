"""A world, the simulator that serves it over HTTP, and sessions of the connector with it, in one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from schoolgate_sdk import EndOfSnapshot, Row, SchoolConnection, Scope
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.plugin import WondeSession, open_session
from schoolgate_wonde.settings import SETTINGS
from schoolgate_wonde.simulator.command import build_application
from schoolgate_wonde.simulator.school import SimulatedSchool
from schoolgate_wonde.simulator.service import WondeApi

SCHOOL = "A1930499544"
TOKEN = "the-token"
DEFAULTS = {spec.name: spec.default for spec in SETTINGS}


@dataclass
class Clock:
    """Stands still until it is put on."""

    at: datetime = datetime(2026, 9, 21, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def put_on(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class Wonde:
    """One school at a simulated Wonde, and what a connector needs to read it."""

    api: WondeApi
    base_url: str
    clock: Clock
    settings: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def school(self) -> SimulatedSchool:
        return self.api.schools[SCHOOL]

    @property
    def world(self) -> World:
        return self.school.world

    def fault(self, kind: str, **given: Any) -> None:
        self.school.server.fault(Fault(kind=kind, **given))

    @asynccontextmanager
    async def session(self, **settings: str) -> AsyncGenerator[WondeSession]:
        given = DEFAULTS | {
            "base_url": self.base_url,
            "school_id": SCHOOL,
            "page_size": "20",
            "read_attempts": "2",
            "retry_wait_seconds": "0.001",
        }
        connection = SchoolConnection("school", given | settings, self.clock, {"token": TOKEN})
        async with open_session(connection) as session:
            yield session


async def read(session: WondeSession, dataset: str) -> tuple[list[Row], EndOfSnapshot]:
    """Read a dataset to its end."""
    rows: list[Row] = []
    end: EndOfSnapshot | None = None
    async for page in session.read(Scope(dataset, "2026/2027")):
        rows += page.rows
        end = page.end
    assert end is not None
    return rows, end


@asynccontextmanager
async def serving(*, has_data: bool = True, write_delay: float = 0.0) -> AsyncGenerator[Wonde]:
    """Serve a small school."""
    clock = Clock()
    world = World.build(7, 30, marks_until=date(2026, 9, 12))
    school = SimulatedSchool(SCHOOL, world, clock, write_delay=write_delay)
    api = WondeApi({SCHOOL: school}, TOKEN, has_data=has_data)
    async with TestServer(build_application(api)) as server:
        yield Wonde(api, str(server.make_url("/v1.0")), clock)


@pytest.fixture
async def wonde() -> AsyncGenerator[Wonde]:
    async with serving() as found:
        yield found
