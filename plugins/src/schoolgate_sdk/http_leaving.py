"""How a request of :mod:`schoolgate_sdk.http` leaves: once, and a write no earlier than it is let."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from schoolgate_sdk.http_messages import Request
from schoolgate_sdk.writing import Departure, Leaving

_OVER: Final = "the request is over"


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once: aiohttp by itself sends a DELETE again whose connection broke, and it is a write.

    It does so for the types of error that are replaced here.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(type(error).__name__) from None


class Gate:
    """Asks once whether ``request`` may leave.

    A body waits behind it: aiohttp asks an asynchronous iterator for one when the connection stands, which
    may take as long as a connect and be after the moment at which the write was stopped. What the question
    raises aiohttp takes for a broken connection, so that it is kept in ``stopped`` for the caller. The MIS
    has not got a whole request then: the headers announce a body of which nothing follows.
    """

    def __init__(self, request: Request, leaving: Leaving) -> None:
        self.stopped: BaseException | None = None
        self._request = request
        self._leaving = leaving
        self._is_over = False

    def ask(self) -> None:
        """Return where it may leave.

        Raises:
            BaseException: what ``leaving`` raised.
        """
        if self._is_over:  # aiohttp's writer, which outlives by a turn what was cancelled
            raise aiohttp.ClientConnectionError(_OVER)
        try:
            self._leaving(_departure(self._request))
        except BaseException as stopped:
            self.stopped = stopped
            raise

    def behind(self, body: bytes) -> AsyncIterator[bytes]:
        """Return ``body`` in one piece, after asking."""
        return _Held(self, body)

    def close(self) -> None:
        """Let nothing leave any more."""
        self._is_over = True


def _departure(request: Request) -> Departure:
    shown = request.shown if request.shown is not None else (request.body or b"").decode(errors="replace")
    return Departure(f"{request.method} {request.entity or ''}".rstrip(), shown)


class _Held:
    """A body behind a gate. It is no generator: of one that is dropped in its middle a task would be left."""

    def __init__(self, gate: Gate, body: bytes) -> None:
        self._gate = gate
        self._body: bytes | None = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body, self._body = self._body, None
        if body is None:
            raise StopAsyncIteration
        self._gate.ask()
        return body
