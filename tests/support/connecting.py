"""Closes sockets that pymongo leaves behind."""

from __future__ import annotations

import asyncio
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def closed_when_cancelled() -> Generator[None]:
    """Have event loops close a socket whose connecting is cancelled.

    Of a connection in the making pymongo (``pool_shared._async_create_connection``) closes the socket for an
    ``OSError``, and leaves it to the collector where the caller is cancelled, as by tests that have servers
    die. The warning about it would fail whichever test runs when the collector comes by.
    """
    connect: Any = BaseSelectorEventLoop.sock_connect

    async def sock_connect(loop: BaseSelectorEventLoop, sock: Any, address: Any) -> None:
        try:
            await connect(loop, sock, address)
        except asyncio.CancelledError:
            sock.close()
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)
        yield
