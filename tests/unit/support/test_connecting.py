"""Seen to fail, with the warning of an unclosed socket, without ``closed_when_cancelled`` in ``conftest``."""

from __future__ import annotations

import asyncio
import gc
import socket

from pymongo.pool_options import PoolOptions
from pymongo.pool_shared import _async_create_connection  # pyright: ignore[reportPrivateUsage]

MOST_TURNS = 12
"""More turns of the loop than it takes to connect."""


async def test_a_connection_cancelled_in_the_making_leaves_no_socket() -> None:
    cancelled = 0
    with socket.create_server(("127.0.0.1", 0), backlog=2 * MOST_TURNS) as server:
        for turns in range(MOST_TURNS):
            cancelled += await _is_cancelled(server.getsockname(), turns)
    gc.collect()
    assert 0 < cancelled < MOST_TURNS


async def _is_cancelled(address: tuple[str, int], turns: int) -> bool:
    """Connect, and cancel it after so many turns; whether it was not done by then."""
    connecting = asyncio.create_task(_async_create_connection(address, PoolOptions()))
    for _ in range(turns):
        await asyncio.sleep(0)
    connecting.cancel()
    try:
        (await connecting).close()
    except asyncio.CancelledError:
        return True
    return False
