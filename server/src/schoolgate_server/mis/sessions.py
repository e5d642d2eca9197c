"""Opens and closes a connector's session, so that neither can stop or stain what is done in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

from loguru import logger

from schoolgate_sdk import Connector, ReadRows, SchoolConnection, Session, Transient
from schoolgate_server.mis.asking import require
from schoolgate_server.mis.blame import ConnectorDefect, connector_at_work, let_go, outcome_of
from schoolgate_server.model.failures import place_of


class SessionLimits(Protocol):
    """How long a session may take to open, and to close."""

    @property
    def page_timeout(self) -> timedelta: ...
    @property
    def close_timeout(self) -> timedelta: ...


@asynccontextmanager
async def session_of(
    connector: Connector, connection: SchoolConnection, open_limit: timedelta, close_limit: timedelta
) -> AsyncGenerator[Session]:
    """Hold a session open for the time of the block.

    One task opens and closes it, as scopes of asyncio need. What the block raises is none of the connector's
    business, so that it cannot be swallowed there, and a failure to close changes nothing any more.

    Raises:
        Transient: it was not open within ``open_limit``.
        ConnectorError, ConnectorDefect: it could not be opened.
    """
    opened: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def keep() -> None:
        with connector_at_work():
            async with connector.open(connection) as session:
                require(session, ReadRows, "a session reads rows")
                opened.set_result(session)
                await leave.wait()

    keeper = asyncio.create_task(keep(), name=f"session of {connector.name}")
    try:
        first: set[asyncio.Future[Any]] = {keeper, opened}
        await asyncio.wait(first, timeout=open_limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            if not keeper.done():
                raise Transient(f"opening a session took longer than {open_limit.total_seconds():g} s")
            outcome_of(keeper)
            raise ConnectorDefect  # it swallowed what went wrong
        yield opened.result()
    finally:
        leave.set()
        if opened.done():
            await _wait_for_close(keeper, connector.name, close_limit)
        await let_go(keeper)


async def _wait_for_close(keeper: asyncio.Task[None], name: str, limit: timedelta) -> None:
    await asyncio.wait({keeper}, timeout=limit.total_seconds())
    if not keeper.done():
        logger.warning("the session of connector {} does not close", name)
    elif not keeper.cancelled() and (error := keeper.exception()) is not None:
        cause = error.defect if isinstance(error, ConnectorDefect) else error
        logger.warning("the session of connector {} did not close well: {}", name, place_of(cause))
