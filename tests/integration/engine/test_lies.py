"""A connector that lies stops nobody, deletes nothing, and is named (G01, G02, G09, G18).

Every lie of the SDK's testing kit is told about one of three datasets; those about rows on a real mongod too.
"""

from __future__ import annotations

import asyncio
import tracemalloc
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Page
from schoolgate_sdk.testing.lies import LIES, NO_COUNT, lie_named
from schoolgate_sdk.testing.lying import (
    GROUPS,
    MEMBERSHIPS,
    SECRET,
    STUDENTS,
    Lie,
    LyingMis,
    Pages,
    lying_connector,
)
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import ReadLimits, SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.engine import SCHOOL, Engine, MirrorSeal, TickingClock, outcome

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)

PATIENT = SyncOptions(
    commit_batch=50,
    segment_rows=20,
    page_timeout=timedelta(seconds=60),
    check_timeout=timedelta(seconds=60),
    close_timeout=timedelta(seconds=60),
    limits=ReadLimits(empty_pages=20, rows=500),
)

HASTY = replace(
    PATIENT,
    page_timeout=timedelta(seconds=0.5),
    check_timeout=timedelta(seconds=0.5),
    close_timeout=timedelta(seconds=0.5),
    limits=replace(PATIENT.limits, duration=timedelta(seconds=3), closing=timedelta(seconds=0.5)),
)
"""For lies that only time shows, and for no others: what takes its time for other reasons is no failure."""

PATIENCE = 60.0
"""Seconds that a run may take at most, on a machine that is busy with other things."""

WHOLE_RUN = ("open_", "session_", "read_raises_auth", "read_raises_rate_limited")
"""Lies after which there is no use in going on with other datasets."""

TAKE_TIME = ("hang", "close", "trickle")
"""Parts of the names of lies that only time shows."""


class OneSecret:
    """Credentials as the lies quote them."""

    async def get(self, school_id: str) -> dict[str, str]:
        return {"secret": SECRET}


@pytest.fixture
def mis() -> LyingMis:
    return LyingMis()


@asynccontextmanager
async def engine_of(store: Store, mis: LyingMis, options: SyncOptions = PATIENT) -> AsyncGenerator[Engine]:
    store.row_seal = MirrorSeal()
    store.credentials = OneSecret()  # type: ignore[assignment]
    host = ConnectorHost({"lying": lying_connector(mis)}, {})
    supervisor = Supervisor(store, host, TickingClock(), options, uuid.uuid4().hex, lambda: uuid.uuid4().hex)
    school = School(school_id=SCHOOL, connector="lying", data_profile=CORE_PROFILE, time_zone="Europe/London")
    await store.schools.create(school, "11111111-1111-4111-8111-111111111111", b"")
    await supervisor.start()
    try:
        yield Engine(store, mis, supervisor)  # type: ignore[arg-type]
    finally:
        await asyncio.wait_for(supervisor.stop(), PATIENCE)


async def synced(engine: Engine) -> pb.Run:
    """Sync, and see that the run ends in a final state by itself."""
    return await asyncio.wait_for(engine.sync(), PATIENCE)


async def alive(engine: Engine, kind: Any) -> dict[str, Record]:
    return {record.id: record for record in await engine.records(kind, tombstones=False)}


async def surnames(engine: Engine) -> list[str]:
    return sorted(r.student.surname for r in (await alive(engine, kinds.KIND_STUDENT)).values())


def truth(mis: LyingMis) -> list[str]:
    return sorted(row["surname"] for row in mis.rows[STUDENTS])


async def ends_in_the_truth(engine: Engine, mis: LyingMis) -> None:
    """Sync honestly, approving what is held of strangers that came, until nothing changes."""
    mis.lies = ()
    run = await synced(engine)
    if run.state != pb.RUN_STATE_SUCCEEDED:
        for hold in await engine.store.holds.list(SCHOOL):
            await engine.store.holds.approve(SCHOOL, hold.hold_id, hold.digest, "operator", NOW)
        run = await synced(engine)
    assert run.state == pb.RUN_STATE_SUCCEEDED, run
    assert await surnames(engine) == truth(mis)
    assert await engine.live(kinds.KIND_GROUP) == len(mis.rows[GROUPS])
    assert await engine.live(kinds.KIND_GROUP_MEMBERSHIP) == len(mis.rows[MEMBERSHIPS])
    again = await synced(engine)
    assert (again.state, again.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_after)


def check_failure(why: failures.Failure) -> None:
    """A failure names the connector, has a type, and quotes neither secrets nor whole answers."""
    assert why.connector == "lying", why
    assert why.type != failures.FAILURE_TYPE_UNSPECIFIED
    assert len(why.message) <= 500
    assert SECRET not in str(why)


async def tell(engine: Engine, mis: LyingMis, lies: Sequence[Lie]) -> pb.Run:
    """Sync with ``lies``, and see that they do no harm while they are told."""
    before = await alive(engine, kinds.KIND_STUDENT)
    mis.lies = lies
    run = await synced(engine)
    mis.lies = ()
    part = outcome(run, STUDENTS)
    if run.HasField("failure"):
        check_failure(run.failure)
    elif part.state != pb.DATASET_STATE_SUCCEEDED:
        check_failure(part.failure)
    if not any(lie.name.startswith(WHOLE_RUN) for lie in lies):
        assert {outcome(run, name).state for name in (GROUPS, MEMBERSHIPS)} == {pb.DATASET_STATE_SUCCEEDED}
        assert await engine.live(kinds.KIND_GROUP) == len(mis.rows[GROUPS])
    present = await alive(engine, kinds.KIND_STUDENT)
    lost = {record.student.surname for record_id, record in before.items() if record_id not in present}
    assert lost.isdisjoint(truth(mis)), "somebody who is there was tombstoned"
    assert len(present) <= len(before) + PATIENT.limits.rows + 1
    return run


def told(lie: Lie) -> list[Any]:
    """Return where a lie is told: without a count it is believed longest, so a count is what one may hide.

    On a real mongod those about rows are told, for they are what reaches the store.
    """
    cases = [("mongomock", lie, False)]
    if lie.rows or lie.pages:
        cases.append(("mongomock", lie, True))
    real = [("mongod", lie, False)] if lie.rows or lie.parser else []
    return [pytest.param(*case, id=_named(*case)) for case in cases] + [
        pytest.param(*case, id=_named(*case), marks=pytest.mark.mongod) for case in real
    ]


def _named(place: str, lie: Lie, with_count: bool) -> str:
    return f"{lie.name}-{'counted' if with_count else 'uncounted'}-{place}"


@pytest.mark.parametrize(
    ("place", "lie", "with_count"), [case for lie in LIES for case in told(lie)], indirect=["place"]
)
async def test_g01_a_lie_deletes_nobody_and_names_the_connector(
    store: Store, mis: LyingMis, lie: Lie, with_count: bool
) -> None:
    async with engine_of(store, mis) as engine:
        first = await synced(engine)
        assert first.state == pb.RUN_STATE_SUCCEEDED, first
        before = await alive(engine, kinds.KIND_STUDENT)
    left = mis.rows[STUDENTS].pop(4)["surname"]
    mis.rows[STUDENTS].append({"id": 77, "surname": "Joiner"})
    mis.rows[GROUPS].append({"id": 77, "name": "Joined"})
    takes_time = any(word in lie.name for word in TAKE_TIME)
    async with engine_of(store, mis, HASTY if takes_time else PATIENT) as engine:
        await tell(engine, mis, (lie,) if with_count else (NO_COUNT, lie))
    async with engine_of(store, mis) as engine:
        await ends_in_the_truth(engine, mis)
        kept = await alive(engine, kinds.KIND_STUDENT)
    gone = [r.student.surname for i, r in before.items() if i not in kept]
    # Whoever is said to have had the key of one who left cannot be told from the truth: that record lives on.
    assert gone == ([] if lie.name == "former_key_of_another" else [left])


@pytest.mark.parametrize("place", ["mongomock"], indirect=True)
@pytest.mark.parametrize("lie", [lie for lie in LIES if lie.rows or lie.parser], ids=lambda lie: lie.name)
async def test_g01_a_lie_in_the_very_first_sync_is_mended_by_the_next(
    store: Store, mis: LyingMis, lie: Lie
) -> None:
    async with engine_of(store, mis) as engine:
        await tell(engine, mis, (lie,))
        await ends_in_the_truth(engine, mis)


async def test_g02_another_schools_rows_are_held_with_everything_that_is_new(
    store: Store, mis: LyingMis
) -> None:
    """Seen to fail without ``strange_population``: forty strangers were created beside the forty pupils."""
    async with engine_of(store, mis) as engine:
        await synced(engine)
        part = outcome(await tell(engine, mis, (NO_COUNT, lie_named("other_school"))), STUDENTS)
        assert (part.state, part.created, part.held) == (pb.DATASET_STATE_HELD, 0, 80)
        assert "may be another school's" in part.failure.message
        assert await surnames(engine) == truth(mis)


async def test_g10_a_page_that_changes_while_a_run_is_resumed_deletes_nobody(
    store: Store, mis: LyingMis
) -> None:
    """Between the first read, the next page and the resumed read the rows are never the same."""
    shifting, reached = lie_named("page_changes"), asyncio.Event()

    async def stalled(honest: Pages) -> AsyncGenerator[Page]:
        for _ in range(2):
            yield await anext(honest)
        reached.set()
        await asyncio.Event().wait()

    async with engine_of(store, mis) as engine:
        await synced(engine)
        mis.lies = (NO_COUNT, shifting, Lie(name="stalled", says="", pages=stalled))
        accepted = await engine.supervisor.start_sync(SCHOOL, [STUDENTS], str(uuid.uuid4()), "tests")
        await reached.wait()
        while not (await store.runs.get(SCHOOL, accepted.run_id)).manifest.get(STUDENTS):
            await asyncio.sleep(0.01)
    mis.lies = (NO_COUNT, shifting)
    async with engine_of(store, mis) as engine:
        run = await asyncio.wait_for(engine.finish(accepted.run_id), PATIENCE)
        assert (run.resumptions, outcome(run, STUDENTS).state) == (1, pb.DATASET_STATE_INCOMPLETE)
        assert await surnames(engine) == truth(mis)
        await ends_in_the_truth(engine, mis)


async def test_g18_a_row_with_messages_for_ever_takes_no_memory(store: Store, mis: LyingMis) -> None:
    """Seen to fail (and the machine to swap) where all that a parser yields is listed."""
    async with engine_of(store, mis) as engine:
        await synced(engine)
        mis.rows[STUDENTS] = mis.rows[STUDENTS][:4]
        mis.lies = (lie_named("many_messages"),)
        tracemalloc.start()
        await synced(engine)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 30_000_000


CHECKED = [lie for lie in LIES if lie.grants or lie.opening or lie.session]


@pytest.mark.parametrize("place", ["mongomock"], indirect=True)
@pytest.mark.parametrize("lie", CHECKED, ids=lambda lie: lie.name)
async def test_g18_a_connection_check_says_what_the_connector_did(
    store: Store, mis: LyingMis, lie: Lie
) -> None:
    takes_time = any(word in lie.name for word in TAKE_TIME)
    async with engine_of(store, mis, HASTY if takes_time else PATIENT) as engine:
        assert (await engine.supervisor.check_connection(SCHOOL)).ok
        mis.lies = (lie,)
        answer = await asyncio.wait_for(engine.supervisor.check_connection(SCHOOL), PATIENCE)
        assert not answer.ok
        check_failure(answer.failure)
