"""Schedules: each due run starts once, after what is at work, and no school keeps another from its own."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import QuietHours, School, SyncSchedule
from schoolgate_sdk import AuthInvalid, RateLimited
from schoolgate_server.store.store import Store
from schoolgate_server.sync import schedule, supervisor
from schoolgate_server.sync.refusals import AUTH_PAUSES
from schoolgate_server.sync.schedule import Scheduler
from tests.integration.engine.conftest import NoCredentials
from tests.support.changing import ChangingMis, changing_connector
from tests.support.engine import SCHOOL, Engine, engine_over
from tests.support.mongomock_handle import MockHandle
from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS, group, mark, member, student

FULL = SyncSchedule(layer=pb.SYNC_LAYER_FULL, every_minutes=1440)
WINDOW = SyncSchedule(layer=pb.SYNC_LAYER_WINDOW, every_minutes=60, window_days=30)
CHANGES = SyncSchedule(layer=pb.SYNC_LAYER_CHANGES, every_minutes=5)


class SetClock:
    """A clock that a test moves; it goes on by a millisecond at every look."""

    def __init__(self) -> None:
        self.start = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
        self._ticks = itertools.count()

    def __call__(self) -> datetime:
        return self.start + timedelta(milliseconds=next(self._ticks))

    def forward(self, **by: float) -> None:
        self.start += timedelta(**by)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(place: tuple[str, str], clock: SetClock) -> AsyncGenerator[Store]:
    uri, database = place
    handle: Any = AsyncMongoClient[Any](uri, serverMonitoringMode="poll") if uri else MockHandle()
    opened = Store.open(handle, database, clock)
    opened.credentials = NoCredentials()
    await opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture
async def engine(store: Store, clock: SetClock) -> AsyncGenerator[Engine]:
    mis = ChangingMis()
    mis.rows[STUDENTS] = [student(number, person=1000 + number) for number in range(25)]
    mis.rows[GROUPS] = [group(0)]
    mis.rows[MEMBERSHIPS] = [member(0, 1000)]
    mis.rows[MARKS] = [mark(number, "2026-10-20") for number in range(25)]
    async with engine_over(store, mis, connector=changing_connector(mis), clock=clock) as running:
        yield running


async def plan(store: Store, *schedules: SyncSchedule, school_id: str = SCHOOL) -> None:
    school = School(school_id=school_id, schedules=schedules)
    await store.schools.update(school, ["schedules"], str(uuid.uuid4()), b"")


async def look(engine: Engine) -> list[str]:
    """Look once for due runs, see those that began through to their end, and return their layers."""
    known = {entry.run.run_id for entry in await engine.store.runs.list(SCHOOL, None, 1000)}
    await engine.supervisor.scheduler.look()
    started = [
        entry.run
        for entry in await engine.store.runs.list(SCHOOL, None, 1000)
        if entry.run.run_id not in known
    ]
    for run in started:
        await engine.finish(run.run_id)
    return [pb.SyncLayer.Name(run.layer).removeprefix("SYNC_LAYER_") for run in started]


async def test_due_runs_start_one_after_the_other_and_again_after_their_interval(
    engine: Engine, clock: SetClock
) -> None:
    assert await look(engine) == []
    await plan(engine.store, CHANGES, WINDOW, FULL)
    assert [await look(engine) for _ in range(4)] == [["FULL"], ["WINDOW"], ["CHANGES"], []]
    clock.forward(minutes=6)
    assert [await look(engine) for _ in range(2)] == [["CHANGES"], []]
    clock.forward(minutes=55)
    assert [await look(engine) for _ in range(3)] == [["WINDOW"], ["CHANGES"], []]
    runs = [entry.run for entry in await engine.store.runs.list(SCHOOL, None, 1000)]
    assert {run.requested_by for run in runs} == {"schedule"}
    assert {run.state for run in runs} == {pb.RUN_STATE_SUCCEEDED}
    [first, _] = [run for run in runs if run.layer == pb.SYNC_LAYER_WINDOW]
    assert (first.date_from, first.date_to) == ("2026-10-03", "2027-09-01")


async def test_two_servers_never_start_the_same_due_run_twice(engine: Engine, store: Store) -> None:
    """Seen to fail where each server made its own request id."""
    await plan(store, FULL)
    connector = changing_connector(engine.mis)  # type: ignore[arg-type]  # the fixture's
    clock: Any = engine.supervisor.now
    async with engine_over(store, engine.mis, connector=connector, owner="server-2", clock=clock) as other:
        await asyncio.gather(
            *(server.supervisor.scheduler.look() for server in (engine, other) for _ in range(3))
        )
        runs = await store.runs.list(SCHOOL, None, 1000)
        assert len(runs) == 1
        assert (await engine.finish(runs[0].run.run_id)).state == pb.RUN_STATE_SUCCEEDED
        assert (await look(other), await look(engine)) == ([], [])


async def test_a_run_that_is_due_while_another_is_at_work_starts_after_it(engine: Engine) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(dataset: str, index: int) -> None:
        begun.set()
        await go_on.wait()

    engine.mis.on_page = wait
    asked = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
    await begun.wait()
    await plan(engine.store, FULL)
    await engine.supervisor.scheduler.look()
    assert len(await engine.store.runs.list(SCHOOL, None, 10)) == 1
    go_on.set()
    await engine.finish(asked.run_id)
    assert await look(engine) == ["FULL"]


async def test_a_failing_school_does_not_stop_the_others(
    engine: Engine, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = engine.store
    unusable = School(school_id="ash", connector="no such connector")
    await store.schools.create(unusable, str(uuid.uuid4()), b"")
    await plan(store, FULL, school_id="ash")
    await plan(store, FULL)
    asked = store.runs.last_scheduled

    async def defective(school_id: str) -> Any:
        if school_id == "ash":
            raise ZeroDivisionError
        return await asked(school_id)

    for broken in (False, True):
        if broken:
            monkeypatch.setattr(store.runs, "last_scheduled", defective)
            clock.forward(days=2)
        assert await look(engine) == ["FULL"]
    assert await store.runs.list("ash", None, 10) == []


async def test_refused_credentials_are_not_tried_again_until_something_changed(
    engine: Engine, clock: SetClock
) -> None:
    """Seen to fail without ``resumes_at``: the MIS was asked at every interval."""

    def refuse(dataset: str, index: int) -> None:
        raise AuthInvalid("wrong secret")

    engine.mis.on_page = refuse
    await plan(engine.store, CHANGES)
    clock.forward(minutes=1)
    assert await look(engine) == ["CHANGES"]
    [last] = await engine.store.runs.finished(SCHOOL, 5)
    assert last.failure.type == failures.FAILURE_TYPE_AUTH_INVALID
    for _ in range(3):
        clock.forward(hours=1)
        assert await look(engine) == []
    await plan(engine.store, CHANGES)  # any change of the registration
    assert await look(engine) == ["CHANGES"]
    clock.forward(hours=1)
    assert await look(engine) == []
    for pause in AUTH_PAUSES:  # the gaps grow
        clock.forward(seconds=pause.total_seconds() - 3600 - 60)
        assert await look(engine) == []
        clock.forward(hours=1, seconds=60)
        assert await look(engine) == ["CHANGES"]
        clock.forward(hours=1)


async def test_schedules_wait_for_the_end_of_quiet_hours_and_people_do_not(
    engine: Engine, clock: SetClock
) -> None:
    """Seen to fail without the look at quiet hours: the schedule's run began in them."""
    await engine.store.schools.update(
        School(
            school_id=SCHOOL,
            schedules=[CHANGES],
            quiet_hours=[QuietHours(begins="08:30", ends="09:30")],
        ),
        ["schedules", "quiet_hours"],
        str(uuid.uuid4()),
        b"",
    )
    assert await look(engine) == ["CHANGES"]
    clock.forward(hours=2, minutes=45)  # 08:45 in London
    assert await look(engine) == []
    asked = await engine.sync(STUDENTS)
    assert asked.state == pb.RUN_STATE_SUCCEEDED
    assert asked.quiet_until.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    clock.forward(minutes=46)
    assert await look(engine) == ["CHANGES"]
    [last, *_] = await engine.store.runs.finished(SCHOOL, 1)
    assert not last.HasField("quiet_until")


async def test_a_pause_that_the_mis_asked_for_is_kept(engine: Engine, clock: SetClock) -> None:
    until = clock.start + timedelta(hours=2)

    def pause(dataset: str, index: int) -> None:
        raise RateLimited("too much", until=until)

    engine.mis.on_page = pause
    await plan(engine.store, CHANGES)
    assert await look(engine) == ["CHANGES"]
    clock.forward(hours=1)
    assert await look(engine) == []
    engine.mis.on_page = lambda dataset, index: None
    clock.forward(hours=1)
    assert await look(engine) == ["CHANGES"]


async def test_the_server_looks_by_itself(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Event()

    async def look_and_fail(self: Scheduler) -> None:
        looked.set()
        raise ZeroDivisionError  # which must not end the loop

    monkeypatch.setattr(supervisor, "SCHEDULE_SECONDS", 0.01)
    monkeypatch.setattr(schedule.Scheduler, "look", look_and_fail)
    async with engine_over(engine.store, engine.mis, owner="server-2"):
        for _ in range(2):
            await looked.wait()
            looked.clear()
