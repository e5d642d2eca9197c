"""A session's context manager is called, and is not asked what may leave its block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schoolgate_sdk import Connector, SchoolConnection, Transient
from schoolgate_sdk.testing.lying import LyingMis, LyingSession, hang, lying_connector
from schoolgate_server.mis.blame import ConnectorDefect
from schoolgate_server.mis.sessions import session_of

LONG, SHORT = timedelta(seconds=60), timedelta(seconds=0.05)
CONNECTION = SchoolConnection("oak", {}, lambda: datetime(2026, 11, 2, tzinfo=UTC))


class Ours(Exception):
    """Something of the server's own, such as a lease that is lost."""


def connector(opening: Callable[[], Any]) -> Connector:
    def open_session(_: SchoolConnection) -> Any:
        return asynccontextmanager(opening)()

    return replace(lying_connector(LyingMis()), open=open_session)


async def swallowing() -> AsyncGenerator[LyingSession]:
    with suppress(BaseException):
        yield LyingSession(LyingMis())


async def scoped() -> AsyncGenerator[LyingSession]:
    async with asyncio.timeout(3600), asyncio.TaskGroup():
        yield LyingSession(LyingMis())


async def hanging_on_close() -> AsyncGenerator[LyingSession]:
    yield LyingSession(LyingMis())
    await hang()


async def test_g15_a_connector_cannot_swallow_what_is_not_its_own() -> None:
    """Seen to fail where the connector's context manager surrounds the block."""
    with pytest.raises(Ours):
        async with session_of(connector(swallowing), CONNECTION, LONG, LONG):
            raise Ours


async def test_one_task_opens_and_closes() -> None:
    """Seen to fail where each is timed in a task of its own: asyncio's scopes end where they began."""
    async with session_of(connector(scoped), CONNECTION, LONG, LONG) as session:
        assert isinstance(session, LyingSession)


async def test_g18_a_session_that_does_not_close_stops_nobody() -> None:
    async with asyncio.timeout(30):
        async with session_of(connector(hanging_on_close), CONNECTION, LONG, SHORT):
            pass


async def silent() -> AsyncGenerator[LyingSession]:
    await hang()
    yield LyingSession(LyingMis())


async def test_g18_a_session_that_does_not_open_is_transient() -> None:
    with pytest.raises(Transient, match="opening a session took longer"):
        async with session_of(connector(silent), CONNECTION, SHORT, LONG):
            pytest.fail("nothing was opened")


async def test_the_block_may_be_cancelled() -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with session_of(connector(swallowing), CONNECTION, LONG, LONG):
            inside.set()
            await hang()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_no_context_manager_is_the_connectors_defect() -> None:
    broken = replace(lying_connector(LyingMis()), open=lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConnectorDefect):
        async with session_of(broken, CONNECTION, LONG, LONG):
            pytest.fail("nothing was opened")


async def test_a_session_gets_its_time_to_close() -> None:
    """Seen to fail where it is cancelled as soon as the block is left."""
    told: list[str] = []

    async def polite() -> AsyncGenerator[LyingSession]:
        yield LyingSession(LyingMis())
        await asyncio.sleep(0)
        told.append("goodbye")

    async with session_of(connector(polite), CONNECTION, LONG, LONG):
        pass
    assert told == ["goodbye"]
