"""What one process asks of MISs: pauses, pace, concurrency and circuits, shared by whom they concern."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from schoolgate_sdk import CircuitOpen, RateLimited
from schoolgate_sdk.traffic import PausesFor, Road, Traffic, TrafficLimits

BEGAN = datetime(2026, 9, 14, 8, 0, tzinfo=UTC)


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _traffic(clock: Clock, limits: TrafficLimits | None = None) -> Traffic:
    return Traffic(limits, clock=clock, sleep=clock.sleep, rng=random.Random(1))


def _road(
    traffic: Traffic,
    clock: Clock,
    school: str = "a",
    host: str = "https://mis",
    pauses_for: PausesFor = PausesFor.HOST,
    quiet: Callable[[], bool] = lambda: False,
) -> Road:
    return traffic.road(host, school, now=clock.now, pauses_for=pauses_for, quiet=quiet)


async def _ask(road: Road, longest_wait: float = 30.0) -> None:
    async with road.turn(longest_wait) as turn:
        turn.answered()


async def _fail(road: Road, times: int = 1) -> None:
    for _ in range(times):
        async with road.turn(30.0) as turn:
            turn.failed()


async def _told_to_pause(road: Road, seconds: float | None) -> None:
    async with road.turn(30.0) as turn:
        turn.asked_to_pause(seconds)


async def test_a_pause_is_every_schools_on_that_host_and_nobody_elses(clock: Clock) -> None:
    traffic = _traffic(clock)
    await _told_to_pause(_road(traffic, clock, "a"), 20.0)
    await _ask(_road(traffic, clock, "a", host="https://other"))
    assert clock.sleeps == []
    await _ask(_road(traffic, clock, "b"))
    assert 20.0 <= clock.seconds - 1000.0 <= 21.0


async def test_a_pause_of_one_school_where_the_mis_counts_per_school(clock: Clock) -> None:
    traffic = _traffic(clock)
    await _told_to_pause(_road(traffic, clock, "a", pauses_for=PausesFor.SCHOOL), 20.0)
    await _ask(_road(traffic, clock, "b", pauses_for=PausesFor.SCHOOL))
    assert clock.sleeps == []
    await _ask(_road(traffic, clock, "a", pauses_for=PausesFor.SCHOOL))
    assert clock.seconds - 1000.0 >= 20.0


async def test_a_pause_that_is_too_long_to_wait_out_says_until_when(clock: Clock) -> None:
    traffic = _traffic(clock)
    await _told_to_pause(_road(traffic, clock, "a"), 120.0)
    with pytest.raises(RateLimited) as caught:
        await _ask(_road(traffic, clock, "b"))
    assert caught.value.until == BEGAN + timedelta(seconds=120)
    assert clock.sleeps == []


async def test_who_waits_out_one_pause_comes_back_at_different_moments(clock: Clock) -> None:
    waits: list[float] = []
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await over.wait()

    traffic = Traffic(clock=clock, sleep=sleep, rng=random.Random(1))
    await _told_to_pause(_road(traffic, clock), 20.0)
    asking = [asyncio.create_task(_ask(_road(traffic, clock, f"school-{n}"))) for n in range(6)]
    for _ in range(5):
        await asyncio.sleep(0)
    clock.seconds += 25.0
    over.set()
    await asyncio.gather(*asking)
    assert len(set(waits)) == len(waits) == 6
    assert all(20.0 <= wait <= 21.0 for wait in waits)


async def test_pauses_without_a_named_end_grow_with_full_jitter_until_an_answer(clock: Clock) -> None:
    class Most(random.Random):
        bounds: list[float]

        def uniform(self, a: float, b: float) -> float:
            self.bounds.append(b)
            return a

    rng = Most()
    rng.bounds = []
    traffic = Traffic(clock=clock, sleep=clock.sleep, rng=rng)
    road = _road(traffic, clock)
    for _ in range(8):
        await _told_to_pause(road, None)
    assert rng.bounds == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    clock.seconds += 1.0
    await _ask(road)
    rng.bounds.clear()
    await _told_to_pause(road, None)
    assert rng.bounds == [1.0]


async def test_concurrency_is_bounded_per_host_and_per_school(clock: Clock) -> None:
    limits = TrafficLimits(host_concurrency=3, school_concurrency=2)
    traffic = _traffic(clock, limits)
    at_work: list[str] = []
    most: dict[str, int] = {}
    let_go = asyncio.Event()

    async def ask(school: str) -> None:
        async with _road(traffic, clock, school).turn(30.0) as turn:
            at_work.append(school)
            most[school] = max(most.get(school, 0), at_work.count(school))
            most["all"] = max(most.get("all", 0), len(at_work))
            await let_go.wait()
            at_work.remove(school)
            turn.answered()

    tasks = [asyncio.create_task(ask(school)) for school in ("a", "a", "a", "a", "b", "b", "c")]
    for _ in range(20):
        await asyncio.sleep(0)
    assert sorted(at_work) == ["a", "a", "b"]
    let_go.set()
    await asyncio.gather(*tasks)
    assert most["all"] == 3
    assert most["a"] == 2


async def test_who_queued_while_a_pause_was_ordered_waits_it_out_too(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(host_concurrency=1))
    async with _road(traffic, clock, "a").turn(30.0) as turn:
        queued = asyncio.create_task(_ask(_road(traffic, clock, "b")))
        for _ in range(5):
            await asyncio.sleep(0)
        turn.asked_to_pause(10.0)
    await queued
    assert clock.seconds - 1000.0 >= 10.0


async def test_pace_is_kept_over_all_schools_of_a_host() -> None:
    traffic = Traffic(TrafficLimits(host_rate=100.0, host_burst=1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    roads = [traffic.road("https://mis", f"school-{n}", now=lambda: BEGAN) for n in range(6)]
    await asyncio.gather(*(_ask(road) for road in roads))
    # A lower bound only: how long a busy machine takes beyond it says nothing.
    assert loop.time() - began >= 0.049


async def test_pace_is_kept_per_school() -> None:
    traffic = Traffic(TrafficLimits(school_rate=100.0, school_burst=2))
    loop = asyncio.get_running_loop()
    road = traffic.road("https://mis", "a", now=lambda: BEGAN)
    began = loop.time()
    for _ in range(6):
        await _ask(road)
    assert loop.time() - began >= 0.039


async def test_a_schools_circuit_opens_and_says_until_when(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(circuit_failures=3))
    road = _road(traffic, clock)
    await _fail(road, 3)
    with pytest.raises(CircuitOpen) as caught:
        await _ask(road)
    left = (caught.value.until - clock.now()).total_seconds()
    assert 30.0 <= left <= 33.0
    clock.seconds += left
    await _ask(road)
    await _ask(road)


async def test_g17_one_schools_failures_do_not_open_the_hosts_circuit(clock: Clock) -> None:
    """Seen to fail with hosts' circuits that count failures without asking whose."""
    traffic = _traffic(clock, TrafficLimits(circuit_failures=3))
    await _fail(_road(traffic, clock, "a"), 3)
    with pytest.raises(CircuitOpen):
        await _ask(_road(traffic, clock, "a"))
    await _ask(_road(traffic, clock, "b"))


async def test_a_host_that_fails_several_schools_is_left_alone_by_all(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(circuit_failures=3))
    for school in ("a", "b", "c"):
        await _fail(_road(traffic, clock, school))
    with pytest.raises(CircuitOpen):
        await _ask(_road(traffic, clock, "d"))
    await _ask(_road(traffic, clock, "d", host="https://other"))


async def test_one_request_tries_a_half_open_circuit_and_the_others_wait(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(circuit_failures=2))
    road = _road(traffic, clock)
    await _fail(road, 2)
    clock.seconds += 40.0
    async with road.turn(30.0) as trial:
        with pytest.raises(CircuitOpen):
            await _ask(road)
        trial.answered()
    await _ask(road)


async def test_a_cancelled_trial_leaves_the_circuit_to_the_next(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(circuit_failures=2))
    road = _road(traffic, clock)
    await _fail(road, 2)
    clock.seconds += 40.0

    async def hang() -> None:
        async with road.turn(30.0):
            await asyncio.Event().wait()

    trial = asyncio.create_task(hang())
    await asyncio.sleep(0)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    await _ask(road)


async def test_cancelled_waiters_leave_their_places_to_others(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(host_concurrency=1, school_concurrency=1))
    async with _road(traffic, clock, "a").turn(30.0) as turn:
        waiting = [asyncio.create_task(_ask(_road(traffic, clock, school))) for school in "abc"]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        turn.answered()
    async with asyncio.timeout(5):
        for school in "abc":
            await _ask(_road(traffic, clock, school))


async def test_in_quiet_hours_requests_of_a_school_keep_their_distance(clock: Clock) -> None:
    traffic = _traffic(clock, TrafficLimits(quiet_interval=5.0))
    quiet = True
    road = _road(traffic, clock, quiet=lambda: quiet)
    await asyncio.gather(*(_ask(road) for _ in range(3)))
    assert clock.seconds - 1000.0 >= 10.0
    before = clock.seconds
    await _ask(_road(traffic, clock, "b"))
    quiet = False
    await _ask(road)
    assert clock.seconds == before


async def test_schools_that_wait_for_their_own_pace_keep_no_place_of_the_hosts() -> None:
    """Seen to fail where they did: two slow schools kept everybody else from asking."""
    traffic = Traffic(TrafficLimits(host_concurrency=2, school_rate=0.001, school_burst=1))

    def road(school: str) -> Road:
        return traffic.road("https://mis", school, now=lambda: BEGAN)

    for slow in ("a", "b"):
        await _ask(road(slow))
    waiting = [asyncio.create_task(_ask(road(slow))) for slow in ("a", "b")]
    await asyncio.sleep(0)
    await asyncio.wait_for(_ask(road("c")), 10.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_failed_late_lets_no_second_request_try_beside_the_first(clock: Clock) -> None:
    """Seen to fail where a failure from before the circuit opened counted as the trial's."""
    traffic = _traffic(clock, TrafficLimits(circuit_failures=3, school_concurrency=3))
    road = _road(traffic, clock)
    async with road.turn(30.0) as hung:
        await _fail(road, 3)
        clock.seconds += 40.0
        async with road.turn(30.0):
            hung.failed()
            clock.seconds += 100.0
            with pytest.raises(CircuitOpen):
                async with road.turn(30.0):
                    pass
