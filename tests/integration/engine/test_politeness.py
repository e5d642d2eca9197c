"""Several schools of one server are one client to the host of their MISs."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from schoolgate.v1 import failure_pb2 as f
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import QuietHours, School, SyncSchedule
from schoolgate_sdk.traffic import Traffic, TrafficLimits
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from tests.support.engine import SCHOOL, Engine, engine_over, outcome
from tests.support.guarded import Asked, GuardedMis, guarded_connector, guarded_mis
from tests.support.scripted import GROUPS, STUDENTS, ScriptedMis, group, student
from tests.support.served import MemoryVault

BEGAN = datetime(2026, 11, 2, 8, 45, tzinfo=UTC)
"""A Monday at registration."""
OTHERS = ("elm", "ash")


class Clock:
    """Time that passes only while somebody waits for a turn; what is dated goes on with it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        self.seconds += 0.001
        return BEGAN + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def mis() -> AsyncGenerator[GuardedMis]:
    rows = ScriptedMis()
    rows.rows[STUDENTS] = [student(number) for number in range(35)]
    rows.rows[GROUPS] = [group(0)]
    async with guarded_mis(rows) as running:
        yield running


@pytest.fixture
async def engine(store: Store, mis: GuardedMis, clock: Clock) -> AsyncGenerator[Engine]:
    store.credentials = MemoryVault(store)
    limits = TrafficLimits(circuit_failures=4, quiet_interval=5.0)
    traffic = Traffic(limits, clock=clock, sleep=clock.sleep, rng=random.Random(1))
    connector = guarded_connector(mis)
    async with engine_over(store, mis.rows, connector=connector, clock=clock.now, traffic=traffic) as running:
        for school_id in (SCHOOL, *OTHERS):
            if school_id != SCHOOL:
                school = School(school_id=school_id, connector="scripted", data_profile=CORE_PROFILE)
                await store.schools.create(school, str(uuid.uuid4()), b"")
            await store.credentials.set(school_id, {"token": "first"}, str(uuid.uuid4()))
        yield running


async def sync(engine: Engine, school_id: str, *datasets: str) -> pb.Run:
    accepted = await engine.supervisor.start_sync(school_id, datasets, str(uuid.uuid4()), "tests")
    latest = pb.Run()
    async for run in engine.supervisor.watch(school_id, accepted.run_id):
        latest = run
    return latest


def answers(mis: GuardedMis, answer: web.Response | int, *schools: str, headers: str = "") -> None:
    async def handle(asked: Asked) -> web.Response | None:
        if asked.school not in schools:
            return None
        given = {"Retry-After": headers} if headers else {}
        return answer if isinstance(answer, web.Response) else web.Response(status=answer, headers=given)

    mis.answers = handle


async def test_a_pause_that_one_school_was_told_is_kept_by_all(
    engine: Engine, mis: GuardedMis, clock: Clock
) -> None:
    """Seen to fail where each session had traffic of its own: the second school asked at once."""
    answers(mis, 429, SCHOOL, headers="20")
    paused = await sync(engine, SCHOOL, STUDENTS)
    assert paused.failure.type == f.FAILURE_TYPE_RATE_LIMITED
    told = clock.seconds
    other = await sync(engine, "elm", STUDENTS)
    assert other.state == pb.RUN_STATE_SUCCEEDED
    assert sum(clock.sleeps) >= 19.9
    assert clock.seconds - told >= 19.9


async def test_a_long_pause_is_handed_on_to_all_without_asking(engine: Engine, mis: GuardedMis) -> None:
    answers(mis, 429, SCHOOL, headers="3600")
    first = await sync(engine, SCHOOL, STUDENTS)
    mis.asked.clear()
    second = await sync(engine, "elm", STUDENTS)
    for run in (first, second):
        assert run.failure.type == f.FAILURE_TYPE_RATE_LIMITED
        left = run.failure.retry_at.ToDatetime(tzinfo=UTC) - BEGAN
        assert timedelta(minutes=59) < left < timedelta(minutes=61)
    assert mis.asked == []


async def test_g17_a_school_whose_mis_fails_keeps_no_other_from_its_own(
    engine: Engine, mis: GuardedMis
) -> None:
    """Seen to fail where one school's failures opened the circuit of the whole host."""
    answers(mis, 500, SCHOOL)
    failed = [await sync(engine, SCHOOL, STUDENTS, GROUPS) for _ in range(6)]
    why = outcome(failed[-1], STUDENTS).failure
    assert (why.type, why.HasField("retry_at")) == (f.FAILURE_TYPE_TRANSIENT, True)
    assert len(mis.asked) == 4, "after that its circuit is open"
    assert (await sync(engine, "elm", STUDENTS)).state == pb.RUN_STATE_SUCCEEDED


async def test_a_host_that_fails_several_schools_is_left_alone_by_all_and_taken_up_again(
    engine: Engine, mis: GuardedMis, clock: Clock
) -> None:
    answers(mis, 500, SCHOOL, "elm")
    for school_id in (SCHOOL, "elm"):
        await sync(engine, school_id, STUDENTS, GROUPS)
    assert len(mis.asked) == 4
    mis.asked.clear()
    left_alone = outcome(await sync(engine, "ash", STUDENTS), STUDENTS).failure
    assert (left_alone.type, mis.asked) == (f.FAILURE_TYPE_TRANSIENT, [])
    clock.seconds += (left_alone.retry_at.ToDatetime(tzinfo=UTC) - clock.now()).total_seconds()
    assert (await sync(engine, "ash", STUDENTS)).state == pb.RUN_STATE_SUCCEEDED


async def test_in_quiet_hours_nobodys_runs_ask_slowly_and_a_persons_as_ever(
    engine: Engine, mis: GuardedMis, clock: Clock
) -> None:
    """Seen to fail where scheduled sessions did not know that they are in the background."""
    school = School(
        school_id=SCHOOL,
        quiet_hours=[QuietHours(begins="08:50", ends="09:30")],
        schedules=[SyncSchedule(layer=pb.SYNC_LAYER_FULL, every_minutes=1440)],
    )
    await engine.store.schools.update(school, ["quiet_hours", "schedules"], str(uuid.uuid4()), b"")

    async def late(asked: Asked) -> web.Response | None:
        if len(mis.asked) == 1:
            clock.seconds += 600  # the hours begin while the run is at work
        return None

    mis.answers = late
    await engine.supervisor.scheduler.look()
    [begun] = await engine.store.runs.list(SCHOOL, None, 10)
    await engine.finish(begun.run.run_id)
    scheduled = len(mis.asked)
    assert [round(seconds) for seconds in clock.sleeps] == [5] * (scheduled - 2)
    assert scheduled > 4
    clock.sleeps.clear()
    asked = await sync(engine, SCHOOL, STUDENTS)
    assert (asked.state, clock.sleeps, len(mis.asked)) == (pb.RUN_STATE_SUCCEEDED, [], scheduled + 4)
    assert asked.quiet_until.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


async def test_requests_at_once_are_bounded_over_all_schools(store: Store, mis: GuardedMis) -> None:
    at_once, most = 0, 0

    async def count(asked: Asked) -> web.Response | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return None

    mis.answers = count
    store.credentials = MemoryVault(store)
    traffic = Traffic(TrafficLimits(host_concurrency=1))
    async with engine_over(store, mis.rows, connector=guarded_connector(mis), traffic=traffic) as engine:
        await store.credentials.set(SCHOOL, {"token": "first"}, str(uuid.uuid4()))
        for school_id in OTHERS:
            school = School(school_id=school_id, connector="scripted", data_profile=CORE_PROFILE)
            await store.schools.create(school, str(uuid.uuid4()), b"")
            await store.credentials.set(school_id, {"token": "first"}, str(uuid.uuid4()))
        runs = await asyncio.gather(*(sync(engine, school_id, STUDENTS) for school_id in (SCHOOL, *OTHERS)))
    assert {run.state for run in runs} == {pb.RUN_STATE_SUCCEEDED}
    assert most == 1
