"""Ends tasks for certain, waits no longer than is good, and lets others have their turn."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

AGAIN_SECONDS = 0.5
"""Between two cancellations of a task that goes on; long enough for what it must still do to end well."""

_TURNS = 10
"""As many turns of the event loop as an operation on MongoDB takes until the next one leaves, or more: in the
driver, tasks, timeouts and futures wait for each other."""


async def give_way() -> None:
    """Let operations under way come as far as they can, in the middle of long work.

    With one turn of the loop for each slice of work, an operation that takes ten turns waits for ten slices.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks`` until each has ended, and swallow what they end with.

    Once is not enough: before Python 3.12 ``asyncio.wait_for``, which the MongoDB driver sends with, loses a
    cancellation that arrives just as its future completes (python/cpython#86296), and the task goes on.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as lost


async def wait_within(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set, or ``seconds`` have passed; the caller looks which of both it was."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
