"""Following what changes for as long as a caller wants: what every stream of states has in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.calls import admit_again

_State = TypeVar("_State")

LOOK_SECONDS = 5.0
"""Between two looks whether a follower is still admitted."""


async def followed(states: AsyncGenerator[_State], closing: asyncio.Event) -> AsyncGenerator[_State]:
    """Yield ``states`` to their end, for as long as the caller would be admitted and the server goes on.

    The next one is read when the one before was taken: how slow a follower is costs no memory.

    Raises:
        ServiceError: ``SHUTTING_DOWN``, as soon as ``closing`` is set; what would refuse the call now.
    """
    closed = asyncio.ensure_future(closing.wait())
    following: asyncio.Future[_State] | None = None
    try:
        while True:
            admit_again()
            if following is None:
                following = asyncio.ensure_future(anext(states))
            waits: set[asyncio.Future[Any]] = {following, closed}
            await asyncio.wait(waits, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "")
            if not following.done():
                continue
            try:
                state = following.result()
            except StopAsyncIteration:
                return
            following = None
            admit_again()
            yield state
    finally:
        closed.cancel()
        if following is not None:
            following.cancel()
            await asyncio.wait({following})  # one that is at work cannot be closed
        await states.aclose()
