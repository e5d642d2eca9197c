"""Lets watchers of a run see its latest state; a slow one skips states and never the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from schoolgate.v1 import sync_service_pb2 as pb

SHOWN_ROWS = 10_000
"""Rows between two states that watchers see."""

FINAL_STATES = frozenset(
    {pb.RUN_STATE_SUCCEEDED, pb.RUN_STATE_PARTIAL, pb.RUN_STATE_FAILED, pb.RUN_STATE_CANCELLED}
)


def is_final(run: pb.Run) -> bool:
    """Whether ``run`` has ended."""
    return run.state in FINAL_STATES


class RunBoard:
    """The latest state of one run at work on this server. One copy is kept, however slow its watchers."""

    def __init__(self, run: pb.Run) -> None:
        self._latest = pb.Run()
        self._latest.CopyFrom(run)
        self._edition = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def post(self, run: pb.Run) -> None:
        """Show ``run`` to all watchers."""
        latest = pb.Run()
        latest.CopyFrom(run)
        async with self._changed:
            self._latest = latest
            self._edition += 1
            self._changed.notify_all()

    async def close(self) -> None:
        """Let all watchers go; what becomes of the run they must ask the store."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def watch(self) -> AsyncGenerator[pb.Run]:
        """Yield the present state, then later ones, and end after a final one or when the board is closed."""
        seen = -1
        while True:
            async with self._changed:
                while self._edition == seen and not self._closed:
                    await self._changed.wait()
                if self._edition == seen:
                    return
                seen, latest = self._edition, self._latest
            yield latest
            if is_final(latest):
                return
