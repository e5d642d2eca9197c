"""How much a MIS is asked, and when it is left alone: one :class:`Traffic` per process, for all schools.

Many schools' MISs answer at one host. What its owner sees is one client, so pauses, pace and circuit breaker
belong to the host, and to the school at that host besides. The extra ``http`` is needed where a pace is set.

Times are seconds of a clock that never jumps; moments for people come from the clock that a road has.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from schoolgate_sdk.circuit import Circuit
from schoolgate_sdk.errors import CircuitOpen, RateLimited

_MOST_JITTER: Final = 1.0
"""Seconds on top of a pause that many were told: they would all come back at the same moment."""
_LONGEST_BACKOFF: Final = 60.0
"""Seconds. What a pause without a named end grows to, however often the MIS asks for one."""
_NO_TIME: Final = 1e-6
"""Seconds that are none: a clock's rounding must not be slept for."""
_PARTIES_PER_HOST: Final = 2
"""Schools that must have failed before a whole host counts as down: one school's failure is its own."""


class PausesFor(enum.Enum):
    """Whom a MIS means when it asks for a pause (HTTP 429)."""

    HOST = "host"
    SCHOOL = "school"


@dataclass(frozen=True, slots=True)
class TrafficLimits:
    """What one process may ask of MISs. Rates are requests per second, ``None`` for no limit."""

    host_concurrency: int = 8
    """Requests at once with one host, whichever schools they are for."""
    school_concurrency: int = 2
    """Requests at once for one school at one host."""
    host_rate: float | None = None
    """Requests per second with one host."""
    host_burst: int = 10
    """Requests that may follow each other at once after a lull, per host."""
    school_rate: float | None = None
    """Requests per second for one school at one host."""
    school_burst: int = 5
    """Requests that may follow each other at once after a lull, per school."""
    circuit_failures: int = 10
    """Failures in a row, no answer between them, after which a school's or a host's circuit opens."""
    circuit_open: float = 30.0
    """Seconds for which it stays open before one request is let through; doubled while that one fails."""
    circuit_open_longest: float = 900.0
    """Seconds to which that doubles at most."""
    quiet_interval: float = 5.0
    """Seconds between two requests for a school in its quiet hours."""


class _Pace(Protocol):
    async def acquire(self, amount: float = 1) -> None: ...


class Traffic:
    """The state of all hosts, for one event loop.

    ``clock`` counts seconds (the event loop's own unless given); ``sleep`` and ``rng`` serve the waits.
    """

    def __init__(
        self,
        limits: TrafficLimits | None = None,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.limits = limits or TrafficLimits()
        self.sleep = sleep
        self.rng = rng or random.SystemRandom()
        self._clock = clock
        self._hosts: dict[str, _Lane] = {}
        self._schools: dict[tuple[str, str], _Lane] = {}

    def __repr__(self) -> str:
        return f"Traffic({self.limits})"

    def seconds(self) -> float:
        """Return the time."""
        return self._clock() if self._clock else asyncio.get_running_loop().time()

    def road(
        self,
        host: str,
        school_id: str,
        *,
        now: Callable[[], datetime],
        pauses_for: PausesFor = PausesFor.HOST,
        quiet: Callable[[], bool] = lambda: False,
    ) -> Road:
        """Return the way to ``host`` for one school.

        ``now`` dates what errors say; ``quiet`` says before each request whether the MIS is to be spared.
        """
        limits = self.limits
        host_lane = self._hosts.get(host)
        if host_lane is None:
            circuit = self._circuit(_PARTIES_PER_HOST)
            pace = _pace(limits.host_rate, limits.host_burst)
            host_lane = self._hosts[host] = _Lane(limits.host_concurrency, pace, circuit)
        school_lane = self._schools.get((host, school_id))
        if school_lane is None:
            pace = _pace(limits.school_rate, limits.school_burst)
            school_lane = self._schools[host, school_id] = _Lane(
                limits.school_concurrency, pace, self._circuit(1)
            )
        return Road(self, host_lane, school_lane, school_id, now, pauses_for, quiet)

    def _circuit(self, parties: int) -> Circuit:
        limits = self.limits
        return Circuit(
            limits.circuit_failures, limits.circuit_open, limits.circuit_open_longest, self.rng, parties
        )


def _pace(rate: float | None, burst: int) -> _Pace | None:
    if rate is None:
        return None
    from aiolimiter import AsyncLimiter  # of the extra `http`; the SDK works without

    return AsyncLimiter(burst, burst / rate)


class _Lane:
    """What a host, or a school at a host, has to be asked with."""

    def __init__(self, slots: int, pace: _Pace | None, circuit: Circuit) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.pace = pace
        self.circuit = circuit
        self.paused_until = 0.0
        self.quiet_until = 0.0
        self.pauses = 0


class Road:
    """The way to one host for one school: a turn for each request."""

    def __init__(
        self,
        traffic: Traffic,
        host: _Lane,
        school: _Lane,
        school_id: str,
        now: Callable[[], datetime],
        pauses_for: PausesFor,
        quiet: Callable[[], bool],
    ) -> None:
        self._traffic = traffic
        self._host = host
        self._school = school
        self._school_id = school_id
        self._now = now
        self._pausing = host if pauses_for is PausesFor.HOST else school
        self._quiet = quiet

    @asynccontextmanager
    async def turn(self, longest_wait: float, *, entity: str | None = None) -> AsyncGenerator[Turn]:
        """Wait until a request may be sent, and hold its place while it is.

        Raises:
            RateLimited: the MIS asked for a pause that lasts more than ``longest_wait`` seconds yet.
            CircuitOpen: the MIS failed too often of late.
        """
        async with self._school.slots:
            await self._spare()
            tries = await self._take_place(longest_wait, entity)
            turn = Turn(self, self._traffic.seconds(), tries)
            try:
                yield turn
            finally:
                turn.over()
                self._host.slots.release()

    async def _spare(self) -> None:
        """In quiet hours, let some time pass since the request before."""
        if not self._quiet():
            return
        now = self._traffic.seconds()
        begins = max(now, self._school.quiet_until)
        self._school.quiet_until = begins + self._traffic.limits.quiet_interval
        if begins > now:
            await self._traffic.sleep(begins - now)

    async def _take_place(self, longest_wait: float, entity: str | None) -> list[Circuit]:
        """Wait, then take one of the host's slots; return the circuits that the request tries."""
        if self._school.pace is not None:
            self._refuse_open(entity)
            await self._school.pace.acquire()  # before a slot is held for which other schools wait
        while True:
            await self._wait_out(longest_wait, entity)
            await self._host.slots.acquire()
            try:
                if self._host.pace is not None:
                    await self._host.pace.acquire()
                self._refuse_open(entity)
                if not self._pause():
                    # Without another await, so that only one makes the trial of a circuit.
                    now = self._traffic.seconds()
                    circuits = [lane.circuit for lane in (self._school, self._host)]
                    return [circuit for circuit in circuits if circuit.enter(now)]
            except BaseException:
                self._host.slots.release()
                raise
            self._host.slots.release()  # somebody was told to pause meanwhile

    async def _wait_out(self, longest_wait: float, entity: str | None) -> None:
        self._refuse_open(entity)
        while pause := self._pause():
            if pause > longest_wait:
                until = self._now() + timedelta(seconds=pause)
                raise RateLimited("the MIS has asked for a pause", until=until, entity=entity)
            await self._traffic.sleep(pause + self._traffic.rng.uniform(0.0, min(pause, _MOST_JITTER)))
            self._refuse_open(entity)

    def _pause(self) -> float:
        """Return how many seconds of a pause are left, 0.0 without one."""
        ends = max(self._host.paused_until, self._school.paused_until)
        left = ends - self._traffic.seconds()
        return left if left > _NO_TIME else 0.0

    def _refuse_open(self, entity: str | None) -> None:
        now = self._traffic.seconds()
        left = max(lane.circuit.closed_for(now) for lane in (self._school, self._host))
        if left > 0:
            until = self._now() + timedelta(seconds=left)
            raise CircuitOpen("the MIS failed repeatedly and is left alone", until=until, entity=entity)

    def answered(self, began: float) -> None:
        """Note that the MIS is up."""
        for lane in (self._school, self._host):
            lane.circuit.succeeded()
        if began >= self._pausing.paused_until:
            self._pausing.pauses = 0

    def failed(self, trying: Sequence[Circuit] = (), tried: Sequence[Circuit] = ()) -> None:
        """Note that it is not; ``trying`` are circuits that the request tries, ``tried`` those that closed
        when the answer that broke off began.
        """
        now = self._traffic.seconds()
        for circuit in (self._school.circuit, self._host.circuit):
            circuit.failed(now, self._school_id, trying=circuit in trying, tried=circuit in tried)

    def pause(self, seconds: float | None, first_bound: float) -> float:
        """Keep everybody concerned from asking; return for how many seconds.

        ``None`` is a pause without a named end: drawn evenly from zero to a bound that begins with
        ``first_bound`` and doubles with every pause in a row (full jitter).
        """
        lane = self._pausing
        lane.pauses += 1
        if seconds is None:
            bound = min(_LONGEST_BACKOFF, first_bound * 2 ** min(lane.pauses - 1, 30))
            seconds = self._traffic.rng.uniform(0.0, bound)
        lane.paused_until = max(lane.paused_until, self._traffic.seconds() + seconds)
        return seconds


class Turn:
    """One request's place. Whoever holds it says once how it went; a turn of which nothing is said counts
    neither for nor against the MIS.
    """

    def __init__(self, road: Road, began: float, tries: Sequence[Circuit]) -> None:
        self._road = road
        self._began = began
        self._tries = tries
        self._tried: Sequence[Circuit] = ()

    def answering(self) -> None:
        """The MIS began to answer at length: circuits that this request tries close, and nobody waits for the
        end. How that was is still to be said: one that is cut opens them again, for longer.
        """
        for circuit in self._tries:
            circuit.begun()
        self._tried, self._tries = self._tries, ()

    def answered(self) -> None:
        """The MIS answered, be it with a refusal: it is up."""
        self._tries = ()
        self._road.answered(self._began)

    def failed(self) -> None:
        """The connection broke, no answer came in time, or the MIS said that it is unwell (HTTP 5xx)."""
        tries, self._tries = self._tries, ()
        self._road.failed(tries, self._tried)

    def asked_to_pause(self, seconds: float | None, first_bound: float = 1.0) -> float:
        """The MIS asked for a pause (HTTP 429), of ``seconds`` where it said so; see :meth:`Road.pause`.

        That says nothing of how well it is: a proxy may have asked.
        """
        return self._road.pause(seconds, first_bound)

    def over(self) -> None:
        """The request is over, however it ended."""
        for circuit in self._tries:
            circuit.abandoned()
