"""Politeness: every request has its turn in the process's traffic, and pauses are kept to, by everybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from schoolgate_sdk.errors import ConnectorError, RateLimited
from schoolgate_sdk.testing.conformance.bench import Bench, Stage
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.traffic import PausesFor, Road, Traffic, Turn

_PAUSE: Final = 1
"""Seconds: the shortest pause that Retry-After can ask for."""


class _CountedRoad(Road):
    """A road that counts its turns."""

    def __init__(self, road: Road, count: Callable[[], None]) -> None:
        vars(self).update(vars(road))
        self._count = count

    @asynccontextmanager
    async def turn(self, longest_wait: float, *, entity: str | None = None) -> AsyncGenerator[Turn]:
        async with super().turn(longest_wait, entity=entity) as turn:
            self._count()
            yield turn


class _CountedTraffic(Traffic):
    """Traffic that counts the turns of all its roads."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0

    def road(
        self,
        host: str,
        school_id: str,
        *,
        now: Callable[[], datetime],
        pauses_for: PausesFor = PausesFor.HOST,
        quiet: Callable[[], bool] = lambda: False,
    ) -> Road:
        road = super().road(host, school_id, now=now, pauses_for=pauses_for, quiet=quiet)
        return _CountedRoad(road, self._count)

    def _count(self) -> None:
        self.turns += 1


def _requests(stage: Stage) -> Callable[[], int]:
    if stage.mis.requests is None:
        raise CheckFailed(
            "SimulatedMis has no requests=, so nobody can count them",
            "let the simulator count what comes; or waive this check with the reason: unchecked(…)",
        )
    return stage.mis.requests


async def _traffic(bench: Bench) -> str:
    async with bench.stage() as stage:
        requests = _requests(stage)
        traffic = _CountedTraffic()
        stage.traffic = traffic
        asked = 0

        def quiet() -> bool:
            nonlocal asked
            asked += 1
            return False

        stage.quiet = quiet
        await stage.arrive()
        sent = requests()
    if not sent:
        raise CheckFailed("everything was read, and requests() is still 0", "count every request that comes")
    if traffic.turns < sent:
        raise CheckFailed(
            f"{sent} requests came, and {traffic.turns} of them waited for their turn",
            "send with schoolgate_sdk.http, or each in `async with connection.traffic.road(…).turn(…)`",
        )
    if asked < sent:
        raise CheckFailed(
            f"{sent} requests came, and connection.quiet() was asked {asked} times",
            "hand quiet=connection.quiet to the road, so that schools are spared while registers are taken",
        )
    return f"{sent} requests, each in its turn"


async def _pause(bench: Bench) -> str:
    dataset = await bench.longest()
    async with bench.stage() as stage:
        requests = _requests(stage)
        entity = dataset.entities[0]
        stage.fault(Fault(kind="rate_limit", entity=entity, page=1, retry_after=str(_PAUSE)))
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with stage.session() as session:
                reading = await stage.read(session, dataset)
        except RateLimited:
            return "the read was given up with RateLimited"
        took = clock() - began
        stage.check_struck()
    if took < _PAUSE:
        raise CheckFailed(
            f"Retry-After: {_PAUSE} came, and {requests()} requests were sent within {took:.2f} s",
            "wait as long as the MIS asks, or raise RateLimited(until=…)",
        )
    return f"Retry-After: {_PAUSE} was waited for, and then {len(reading.rows)} rows came"


async def _shared(bench: Bench) -> str:
    dataset = await bench.longest()
    async with bench.stage() as stage:
        requests = _requests(stage)
        stage.fault(Fault(kind="rate_limit", times=None, retry_after="3600"))
        await _limited(stage, "is told to pause for an hour")
        stage.clear_faults()
        before = requests()
        await _limited(stage, "is still to pause")
        if requests() != before:
            raise CheckFailed(
                "the MIS asked for an hour's pause, and another session sent a request at once",
                "send with schoolgate_sdk.http, or tell turn.asked_to_pause(seconds) of every HTTP 429",
            )
    return f"{dataset.name}: another session sent nothing until the pause is over"


async def _limited(stage: Stage, when: str) -> None:
    dataset = await stage.bench.longest()
    try:
        async with stage.session() as session:
            await stage.read(session, dataset)
    except RateLimited:
        return
    except ConnectorError as error:
        raise CheckFailed(
            f"a session that {when} raises {type(error).__name__}", "raise RateLimited(until=…)"
        ) from error
    raise CheckFailed(f"a session that {when} reads all the same", "raise RateLimited(until=…)")


CHECKS: tuple[Check, ...] = (
    Check("pacing.traffic", "Every request waits for its turn in connection.traffic.", _traffic),
    Check("pacing.pause", "A pause that the MIS asks for is kept to.", _pause),
    Check("pacing.shared", "… by every session, of whatever school at that host.", _shared),
)
