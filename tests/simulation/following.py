"""A follower of the change feed beside a history: it reads in steps, dies, and goes on from what it had kept.

It is the follower and the table of ``schoolgate_client``, told by the servicer of WatchChanges without gRPC
between them. What it heard is compared with the model as soon as that knows as much.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, cast

import grpc

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate_client import Backoff, Follower, MemoryTable
from schoolgate_server.rpc import calls
from schoolgate_server.rpc.watch import Watch
from schoolgate_server.store.store import Store
from tests.simulation.answers import Answers
from tests.simulation.base import require
from tests.simulation.meaning import KIND_OF
from tests.simulation.server import SCHOOL


@dataclass(frozen=True)
class _Stand:
    """How far a table goes: it has what stands before ``place``, and had everything as of ``complete``.

    Of what had left by the seq ``left[0]``, before its snapshot began, it hears nothing; of what left
    by ``left[1]``, when its first page was read, it may.
    """

    place: tuple[int, str] = (0, "")
    complete: int = 0
    left: tuple[int, int] = (0, 0)

    def after(self, response: q.WatchChangesResponse) -> _Stand:
        """Return how far it goes with ``response``."""
        if response.up_to_date:
            return _Stand((response.seq + 1, ""), response.seq)
        last = response.changes[-1].record
        return _Stand((last.seq, last.id), self.complete, self.left)


class _Heard(NamedTuple):
    """A response, where the follower stood that heard it, and its table then, if it had everything."""

    stand: _Stand
    response: q.WatchChangesResponse
    table: dict[str, Record] | None


class _Kept(NamedTuple):
    """What outlives the follower's process."""

    records: dict[str, Record]
    cursor: str
    stand: _Stand


class _Died(Exception):
    """The follower's process was killed."""


class _Enough(Exception):
    """The follower was told enough for now, and its connection is closed."""


class Following:
    """Follows one school. Its draws are its own, so that histories stay what they were."""

    def __init__(self, seed: int, store: Store, answers: Answers, counts: Counter[str]) -> None:
        self._random = Random(f"{seed}/following")
        self._store = store
        self._answers = answers
        self._counts = counts
        self._watch = Watch(store, asyncio.Event())
        every = tuple(KIND_OF)
        some = tuple(self._random.sample(every, self._random.randint(1, 3)))
        self._datasets = every if self._random.random() < 0.7 else some
        self._memory = MemoryTable()
        self._stand = _Stand()
        self._kept = _Kept({}, "", self._stand)
        self._left = 0
        self._is_mortal = True
        self._turn = asyncio.Lock()
        self._published = 0
        self._response = q.WatchChangesResponse()
        self._heard: list[_Heard] = []

    async def look(self) -> None:
        """Read some pages, whatever is being committed at this moment.

        Two servers at work may come to such a moment together. A table has one follower, so the second of
        them leaves it to the first.
        """
        if self._turn.locked():
            return
        async with self._turn:
            self._left = self._random.choice((0, 1, 1, 2, 3))
            if self._left:
                await self._follow(self._random.choice((2, 5, 5, 20)))

    async def finish(self) -> None:
        """Read until nothing is left to tell, and compare the table with what is published (G13)."""
        self._left, self._is_mortal = 1 << 30, False
        await self._follow(50)
        self.check()
        states = self._answers.states(self._answers.published, self._datasets)
        current = {state.record_id: self._answers.record(state) for state in states if state.version.live}
        complete = self._stand.complete == self._answers.published
        require(complete, "G13", f"the follower ends at {self._stand}, not {self._answers.published}")
        require(self._memory.records == current, "G13", "the follower ends with other records than there are")

    def check(self) -> None:
        """G13: compare what was told with the model, which knows everything that is published."""
        for heard in self._heard:
            self._check(heard)
        self._heard.clear()

    async def _follow(self, page_size: int) -> None:
        """Follow over one connection, or several where it breaks, until enough was told or it dies."""
        self._published = (await self._store.leases.head(SCHOOL)).published
        channel = _Channel(self._watch, self._hear)
        follower = Follower(
            cast("grpc.aio.Channel", channel),
            SCHOOL,
            self,
            kinds=[Kind.Value(f"KIND_{KIND_OF[dataset].upper()}") for dataset in self._datasets],
            page_size=page_size,
            backoff=Backoff(first=0.01, longest=0.01, random=self._random),
        )
        try:
            # As a task, which has a call at hand of its own.
            await asyncio.create_task(follower.run())
        except _Died:
            self._counts["fault: follower killed"] += 1
            self._memory, self._stand = MemoryTable(), self._kept.stand
            if self._kept.cursor:
                changes = [q.Change(record=record) for record in self._kept.records.values()]
                await self._memory.apply(changes, self._kept.cursor, anew=True)
        except _Enough:
            pass
        finally:
            await channel.close()
        published = (await self._store.leases.head(SCHOOL)).published
        for heard in self._heard:
            text = f"the follower was told of {heard.response.seq}, and {published} is published"
            require(heard.response.seq <= published, "G12", text)

    def _hear(self, response: q.WatchChangesResponse) -> None:
        if self._is_mortal and self._random.random() < 0.1:
            self._counts["fault: follower's connection broken"] += 1
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "broken")
        self._response = response

    async def cursor(self) -> str:
        """Return the cursor of the table in memory, as the client's follower asks for it."""
        return await self._memory.cursor()

    async def apply(self, changes: Sequence[q.Change], cursor: str, *, anew: bool) -> None:
        """Take changes in, as the client's follower hands them over, and die before, after or not at all."""
        response, chance = self._response, self._random.random()
        require(anew == (self._stand == _Stand()), "G13", f"the follower began anew at {self._stand}")
        if anew:
            self._stand = _Stand(left=(self._published, response.seq))
        stand = self._stand
        if self._is_mortal and chance < 0.1:
            self._heard.append(_Heard(stand, response, None))
            raise _Died
        await self._memory.apply(changes, cursor, anew=anew)
        self._stand = stand.after(response)
        table = dict(self._memory.records)
        self._heard.append(_Heard(stand, response, table if response.up_to_date else None))
        self._counts["changes told to a follower"] += len(changes)
        if self._is_mortal and chance < 0.25:
            raise _Died
        if chance < 0.65:
            self._kept = _Kept(table, cursor, self._stand)
        self._left -= 1
        if response.up_to_date or not self._left:
            raise _Enough

    def _check(self, heard: _Heard) -> None:
        stand, response, table = heard
        told = [change.record.id for change in response.changes]
        states = self._answers.states(response.seq, self._datasets)
        never, perhaps = stand.left
        following = [
            state
            for state in sorted(states, key=lambda state: state.place)
            if state.place > stand.place
            and (
                state.version.live
                or state.version.seq > perhaps
                or (state.version.seq > never and state.record_id in told)
            )
        ]
        expected = [state.record_id for state in following]
        if not response.up_to_date:
            expected = expected[: max(1, len(told))]
        where = f"after {stand.place}, as of {response.seq}"
        require(told == expected, "G13", f"a follower was told of {told}, not of {expected}, {where}")
        for change, state in zip(response.changes, following, strict=False):
            meant = self._answers.change(state, stand.complete)
            if change != meant:
                require(False, "G13", f"a follower was told {change} {where}, which is {meant}")
        if table is not None:
            current = {state.record_id: self._answers.record(state) for state in states if state.version.live}
            require(table == current, "G13", f"a follower's table is not what there is as of {response.seq}")


class _Channel:
    """A channel of gRPC as far as the client uses one: its calls end up in the servicer of this process."""

    def __init__(self, servicer: Watch, hear: Callable[[q.WatchChangesResponse], None]) -> None:
        self._servicer = servicer
        self._hear = hear
        self._calls: list[AsyncIterator[q.WatchChangesResponse]] = []

    def unary_unary(self, path: str, **serializers: Any) -> None:
        """Offer no method that answers once: following needs none."""

    def unary_stream(self, path: str, **serializers: Any) -> Callable[..., _Call]:
        method = getattr(self._servicer, path.rpartition("/")[2])

        def call(request: Any, metadata: Any = ()) -> _Call:
            calls.begin(path, None, lambda: "simulation")
            self._calls.append(method(request, None))
            return _Call(self._calls[-1], self._hear)

        return call

    async def close(self) -> None:
        """End what was called."""
        for each in self._calls:
            await cast("Any", each).aclose()


class _Call:
    def __init__(
        self, responses: AsyncIterator[q.WatchChangesResponse], hear: Callable[[q.WatchChangesResponse], None]
    ) -> None:
        self._responses = responses
        self._hear = hear

    async def read(self) -> q.WatchChangesResponse:
        response = await anext(self._responses)
        self._hear(response)
        return response

    def cancel(self) -> None:
        """Take nothing more; the channel ends the call when it is closed."""
