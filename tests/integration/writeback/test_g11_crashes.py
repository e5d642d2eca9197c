"""A server that dies, stalls or is cut off at every single step of a write; another one takes over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import WriteRequest, WriteSafety
from tests.simulation.handle import Trouble
from tests.support.write_stage import OPTIONS, Stage, nothing, outcomes_of, play, state_of

QUICK = replace(
    OPTIONS,
    interval=timedelta(seconds=1),
    linger=timedelta(0),
    lease_ttl=timedelta(seconds=6),
    attempt=timedelta(seconds=8),
    skew=timedelta(seconds=1),
    settle=timedelta(seconds=15),
    follow_every=timedelta(minutes=10),
    stop_grace=timedelta(seconds=1),
)
"""So that a story takes a minute of virtual time, in whose every second somebody looks."""

SAFE = [WriteSafety.NATIVE_KEY, WriteSafety.EXTERNAL_ID, WriteSafety.NATURAL_KEY_READBACK]
EVERY = [*SAFE, WriteSafety.NONE]
MOST_STEPS = 60


async def judged(stage: Stage, safety: WriteSafety, where: str) -> None:
    """Say that nothing was lost and nothing doubled."""
    (entry,) = await stage.settled("k1", within=600)
    assert not stage.mis.doubled, where
    if state_of(entry) == "CONFIRMED":
        assert len(stage.mis.effects) == 1, where
    else:
        assert (state_of(entry), safety) == ("NEEDS_ATTENTION", WriteSafety.NONE), where
        assert "UNKNOWN" in outcomes_of(entry), where


@pytest.mark.parametrize("mode", ["crash_before", "crash_after", "answer_lost", "unavailable", "late"])
@pytest.mark.parametrize("safety", EVERY)
def test_g11_a_server_that_dies_at_any_step_loses_and_doubles_nothing(safety: WriteSafety, mode: str) -> None:
    """Steps are its operations on the store, one after the other."""

    async def story(stage: Stage, at: int) -> bool:
        await stage.submit()
        first = await stage.server(Trouble(mode, at, 6.0))
        await asyncio.sleep(3)
        await stage.server()
        await judged(stage, safety, f"{mode} at operation {at}")
        return bool(first.gate.fired) or first.gate.died.is_set()

    for at in range(1, MOST_STEPS):
        if not play(partial(story, at=at), Stage(safety, options=QUICK)):
            assert at > 10
            return


def test_g11_a_write_that_is_cancelled_at_any_step_is_sent_or_cancelled_and_never_both() -> None:
    """Seen to fail where a lost compare-and-set of SENDING did not keep it from being sent."""

    async def story(stage: Stage, at: int) -> str:
        await stage.submit()
        server = await stage.server(starts=False)

        async def cancels() -> None:
            entry = await stage.read()
            if state_of(entry) == "PENDING":
                entry.move(pb.WRITE_STATE_CANCELLED, stage.clock())
                await stage.client_store.writes.save(entry)

        server.gate.look, server.gate.look_at = cancels, at
        await server.dispatcher.start()
        state = state_of(await stage.until("k1", "CONFIRMED", "CANCELLED", within=60))
        await asyncio.sleep(10)
        assert len(stage.mis.left) == (state == "CONFIRMED"), f"cancelled at operation {at}"
        return state

    states = [play(partial(story, at=at), Stage(options=QUICK)) for at in range(1, 30)]
    assert {*states} == {"CONFIRMED", "CANCELLED"}


@pytest.mark.parametrize("moment", ["prepare", "travel", "answer"])
@pytest.mark.parametrize("safety", EVERY)
def test_g11_a_server_that_dies_while_the_mis_is_at_work(safety: WriteSafety, moment: str) -> None:
    async def story(stage: Stage) -> None:
        await stage.submit()
        first = await stage.server()

        def dies(request: WriteRequest) -> None:
            first.die()

        setattr(stage.mis, moment, dies)
        await asyncio.sleep(3)
        setattr(stage.mis, moment, nothing)
        await stage.server()
        await judged(stage, safety, moment)
        assert len(stage.mis.left) <= 2

    play(story, Stage(safety, options=QUICK))


@pytest.mark.parametrize("safety", EVERY)
def test_g15_a_stalled_server_that_wakes_after_its_time_sends_nothing(safety: WriteSafety) -> None:
    """Its connector goes on as if nothing had been, deaf to every cancellation, and comes to the gate."""

    async def story(stage: Stage) -> None:
        await stage.submit()
        awake = asyncio.Event()

        async def stalls(request: WriteRequest) -> None:
            stage.mis.prepare = lambda request: None
            while not awake.is_set():
                try:
                    await asyncio.shield(asyncio.ensure_future(awake.wait()))
                except asyncio.CancelledError:
                    continue

        stage.mis.prepare = stalls
        await stage.server()
        await asyncio.sleep(3)
        await stage.server()
        await judged(stage, safety, "stalled")
        awake.set()
        await asyncio.sleep(5)
        assert len(stage.mis.effects) <= 1
        await judged(stage, safety, "awake")

    play(story, Stage(safety, options=QUICK))


@pytest.mark.parametrize(
    ("lease", "attempt", "passes"),
    [(60, 8, 10), (6, 60, 10)],
    ids=["its time is over", "its lease is over"],
)
def test_g15_a_server_that_is_stopped_before_the_gate_sends_nothing_when_it_goes_on(
    lease: int, attempt: int, passes: int
) -> None:
    """Nothing of it runs in between, so nothing but a look at the clock tells it (SIGSTOP and SIGCONT)."""

    options = replace(
        QUICK,
        lease_ttl=timedelta(seconds=lease),
        attempt=timedelta(seconds=attempt),
        policy_age=timedelta(hours=1),
    )

    async def story(stage: Stage) -> None:
        await stage.submit()

        def stops(request: WriteRequest) -> None:
            stage.mis.prepare = lambda request: None
            stage.stall(timedelta(seconds=passes))

        stage.mis.prepare = stops
        await stage.server()
        entry = await stage.until("k1", "CONFIRMED", within=120)
        *before, last = outcomes_of(entry)
        assert (set(before), last) == ({"NOT_SENT"}, "ACCEPTED")
        assert len(stage.mis.left) == 1

    play(story, Stage(WriteSafety.NONE, options=options))


@pytest.mark.parametrize("safety", EVERY)
def test_g11_two_servers_send_everything_once(safety: WriteSafety) -> None:
    async def story(stage: Stage) -> None:
        keys = [f"k{number}" for number in range(40)]
        await stage.server()
        await stage.server()
        for number, key in enumerate(keys):
            await stage.submit(key, pupil=1 + number % 30, day=f"2026-11-{1 + number // 30:02}")
            stage.servers[number % 2].dispatcher.wake("oak")
        entries = await stage.settled(*keys)
        assert {state_of(entry) for entry in entries} == {"CONFIRMED"}
        assert len(stage.mis.effects) == len(keys)
        assert not stage.mis.doubled

    play(story, Stage(safety, options=QUICK))


@pytest.mark.parametrize("safety", EVERY)
def test_g11_a_server_that_is_stopped_leaves_nothing_in_the_air(safety: WriteSafety) -> None:
    async def story(stage: Stage) -> None:
        await stage.submit("waits", pupil=2)
        await stage.submit("left", pupil=3)

        async def slow(request: WriteRequest) -> None:
            await asyncio.sleep(6)

        async def prepare(request: WriteRequest) -> None:
            if request.idempotency_key == "waits":
                await slow(request)

        stage.mis.prepare, stage.mis.answer = prepare, slow
        first = await stage.server()
        await asyncio.sleep(3)
        await first.dispatcher.stop()
        waits, left = await stage.read("waits"), await stage.read("left")
        assert (state_of(waits), outcomes_of(waits)) == ("PENDING", ["NOT_SENT"])
        unknown = "NEEDS_ATTENTION" if safety is WriteSafety.NONE else "UNKNOWN"
        assert (state_of(left), outcomes_of(left)) == (unknown, ["UNKNOWN"])
        stage.mis.prepare = stage.mis.answer = lambda request: None
        await stage.server()
        await stage.settled("waits", "left")
        assert len(stage.mis.effects) == 2

    play(story, Stage(safety, options=QUICK))


@pytest.mark.parametrize("safety", EVERY)
def test_g11_what_an_attempt_came_to_is_stored_once_the_store_answers_again(safety: WriteSafety) -> None:
    """The MIS has answered, and the store is away for a while, with its lease or beyond it."""

    async def story(stage: Stage, seconds: float) -> None:
        await stage.submit()
        first = await stage.server()

        def cut(request: WriteRequest) -> None:
            first.gate.arm(Trouble("partition", 1, seconds))

        stage.mis.answer = cut
        await asyncio.sleep(3)
        await stage.server()
        (entry,) = await stage.settled("k1", within=600)
        assert state_of(entry) in ("CONFIRMED", "NEEDS_ATTENTION")
        await asyncio.sleep(seconds + 10)
        assert await stage.state() == "CONFIRMED"
        assert len(stage.mis.effects) == 1

    for seconds in (2.0, 40.0):
        play(partial(story, seconds=seconds), Stage(safety, options=QUICK))
