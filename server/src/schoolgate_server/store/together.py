"""Short reads that are asked for at one moment, sent as one operation.

An operation costs a driver about half a millisecond of a core, which is more than MongoDB takes to read a few
documents by an index: what needs ten such reads before it may answer is several times faster with two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeAlias

_Found = list[dict[str, Any]]

_QUIET_TURNS = 4
"""Turns of the loop: as many as gatherings may stand within each other before one of them reads."""


class Pipelines(Protocol):
    """A collection, as far as it is needed here."""

    @property
    def name(self) -> str:
        """Its name in the database."""
        ...

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> _Found:
        """Return all documents that ``pipeline`` makes."""
        ...


class Read(NamedTuple):
    """One read of one collection, which is meant to find few documents."""

    collection: Pipelines
    query: Mapping[str, Any]
    projection: Mapping[str, Any] | None
    sort: Sequence[tuple[str, int]] | None
    limit: int

    def stages(self, number: int) -> list[dict[str, Any]]:
        """Return the stages of a pipeline that find what this read does, each under its ``number``."""
        found: list[dict[str, Any]] = [{"$match": self.query}]
        if self.sort:
            found.append({"$sort": dict(self.sort)})
        if self.limit:
            found.append({"$limit": self.limit})
        if self.projection:
            found.append({"$project": self.projection})
        return [*found, {"$replaceRoot": {"newRoot": {"number": {"$literal": number}, "document": "$$ROOT"}}}]


_Asked: TypeAlias = tuple[Read, asyncio.Future[_Found]]
"""A read, and what is to become of it: done where nobody waits for it any more."""


class Together:
    """The reads of one block that are under way."""

    def __init__(self) -> None:
        self._waiting: list[_Asked] = []
        self._idle: list[asyncio.Future[None]] = []
        self._sending: dict[asyncio.Task[None], list[_Asked]] = {}
        self.is_over = False

    async def find(self, read: Read) -> _Found:
        """Return what ``read`` finds; those that are asked for meanwhile are done after it, in order."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Found] = loop.create_future()
        self._waiting.append((read, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._look, 1, _QUIET_TURNS)
        return await future

    async def sent(self) -> None:
        """Return once what waits has been sent, at once where nothing does."""
        if self._waiting:
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
            await asyncio.sleep(0)  # what was written leaves at the end of the turn

    def _look(self, before: int, turns: int) -> None:
        """Send what waits once the loop has turned some times without more: who would ask has had a turn."""
        waiting = self._waiting
        if turns:
            left = turns - 1 if len(waiting) == before else _QUIET_TURNS
            asyncio.get_running_loop().call_soon(self._look, len(waiting), left)
            return
        self._waiting = []
        wanted = [asked for asked in waiting if not asked[1].done()]
        if wanted:
            task = asyncio.ensure_future(_send(wanted))
            self._sending[task] = wanted
            task.add_done_callback(self._sending.pop)
        idle, self._idle = self._idle, []
        for future in idle:  # woken after the task has begun
            if not future.done():
                future.set_result(None)

    async def end(self) -> None:
        """Let go of what nobody waits for any more; reads that come later go by themselves.

        What ``asyncio.gather`` leaves behind where something else failed waits on, and gets its answer.
        """
        self.is_over = True
        idle = [task for task, asked in self._sending.items() if all(future.done() for _, future in asked)]
        for task in idle:
            task.cancel()
        await asyncio.gather(*idle, return_exceptions=True)


_CURRENT: ContextVar[Together | None] = ContextVar("together", default=None)


@asynccontextmanager
async def together() -> AsyncGenerator[None]:
    """Send the reads that this block asks for at one moment, as ``asyncio.gather`` does, as one operation.

    It is for few documents by an index. Of several reads the one that was asked for first is done first, as
    without; they see no common snapshot, as without; where one fails, all of the operation do. Which index is
    read is up to MongoDB, so that a read which names one is not touched, as are those of sessions and
    linearizable ones. A block within another is part of that.
    """
    if current() is not None:
        yield
        return
    block = Together()
    token = _CURRENT.set(block)
    try:
        yield
    finally:
        _CURRENT.reset(token)
        await block.end()


def current() -> Together | None:
    """Return what reads are to go by here, ``None`` where each goes by itself."""
    block = _CURRENT.get()
    return None if block is None or block.is_over else block


async def _send(waiting: Sequence[_Asked]) -> None:
    try:
        found = await _found([read for read, _ in waiting])
    except Exception as error:  # noqa: BLE001 -- whoever waits for a read raises it
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)
        return
    for (_, future), documents in zip(waiting, found, strict=True):
        if not future.done():
            future.set_result(documents)


async def _found(reads: Sequence[Read]) -> list[_Found]:
    first, *others = reads
    pipeline = first.stages(0)
    for place, read in enumerate(others, 1):
        pipeline.append({"$unionWith": {"coll": read.collection.name, "pipeline": read.stages(place)}})
    found = [_Found() for _ in reads]
    for document in await first.collection.aggregate(pipeline):
        number: int = document["number"]
        found[number].append(document["document"])
    return found
