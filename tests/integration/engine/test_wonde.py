"""A school read through Wonde, over HTTP and into the store: the records are what the world says, after a
full read, after changes with a deletion, after edits; and a school may come to it from Bromcom.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, datetime
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestServer

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_DELETED_IN_MIS, Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_bromcom.plugin import schoolgate_connector as bromcom_connector
from schoolgate_bromcom.simulator.command import build_application as bromcom_application
from schoolgate_bromcom.simulator.record_rows import SETTINGS as BROMCOM_SETTINGS
from schoolgate_bromcom.simulator.school import SimulatedSchool as BromcomSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.testing.conformance.comparing import Entity, compare, fields_of, of_truth
from schoolgate_sdk.testing.conformance.editing import EDITS, small_school
from schoolgate_sdk.testing.conformance.expecting import Expectation
from schoolgate_sdk.testing.world import World
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from schoolgate_wonde.conformance import conformance
from schoolgate_wonde.plugin import schoolgate_connector
from schoolgate_wonde.simulator.command import build_application
from schoolgate_wonde.simulator.school import SimulatedSchool
from schoolgate_wonde.simulator.service import WondeApi
from tests.support.engine import SCHOOL, Engine, MirrorSeal, TickingClock, outcome
from tests.support.scripted import ScriptedMis

pytestmark = pytest.mark.slow

CONNECTOR = schoolgate_connector()
ID = "A1930499544"
WONDE_CREDENTIALS = {"token": "the-token-of-wonde"}
BROMCOM_CREDENTIALS = {"application_id": "the-id", "application_secret": "the-secret"}
PROFILE = tuple(f"{info.name}.*" for info in KINDS.values())
REFERRED = {f"{info.name}_id": info.kind for info in KINDS.values()}
QUIET_EDITS = (
    *("join", "leave_at_once", "rename", "change_upn", "move_group", "correct_mark", "add_contact"),
    *("share_contact", "change_contact", "unlink_contact", "record_behaviour", "correct_behaviour"),
    *("delete_behaviour", "record_lesson_mark"),
)
"""Edits after which so little is gone that nothing is held."""


class Stored:
    """Credentials by school, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, str]] = {}

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        self.kept[school_id] = dict(credentials)
        return TickingClock()()

    async def get(self, school_id: str) -> dict[str, str] | None:
        return self.kept.get(school_id)

    async def forget(self, school_id: str) -> None:
        self.kept.pop(school_id, None)


class Mises:
    """The same world at Wonde and at Bromcom, and the engine that reads it from either."""

    def __init__(self, engine: Engine, world: World, wonde: Mapping[str, str]) -> None:
        self.engine = engine
        self.world = world
        self.wonde = wonde

    async def sync(self, layer: pb.SyncLayer.ValueType = pb.SYNC_LAYER_FULL) -> pb.Run:
        """Sync to the end, which has to be a success for every dataset."""
        accepted = await self.engine.supervisor.start_sync(
            SCHOOL, (), str(uuid.uuid4()), "tests", layer=layer
        )
        run = await self.engine.finish(accepted.run_id)
        assert run.state == pb.RUN_STATE_SUCCEEDED, [
            (part.dataset, part.state, part.failure.message) for part in run.datasets
        ]
        return run

    async def differences(self) -> list[str]:
        """Return in what the live records are not the world as Wonde shows it."""
        expectation = Expectation(CONNECTOR, conformance().waivers)
        expected = [of_truth(truth) for truth in expectation.truths(self.world)]
        arrived = [
            _entity(record)
            for kind in sorted(expectation.offered)
            for record in await self.engine.records(kind, tombstones=False)
        ]
        return compare(expected, arrived).of()


def _entity(record: Record) -> Entity:
    """Return a record as the kit compares entities: without meanings, references apart."""
    info = KINDS[record.kind]
    given = fields_of(getattr(record, info.name))
    meanings = set(info.coded.values())
    fields = {name: given[name] for name in given if name not in {*info.references, *meanings}}
    refs = {name: (REFERRED[name], (given[name],)) for name in info.references if name in given}
    return Entity(record.kind, (record.id,), fields, refs)


@asynccontextmanager
async def mises(store: Store, first: str) -> AsyncGenerator[Mises]:
    world = small_school(World.build(seed=7, pupils=30, marks_until=date(2026, 9, 19)))
    clock, stored = TickingClock(), Stored()
    wonde = WondeApi({ID: SimulatedSchool(ID, world, clock)}, WONDE_CREDENTIALS["token"])
    application_id, application_secret = BROMCOM_CREDENTIALS.values()
    bromcom = PartnerApi(
        {20001: BromcomSchool(20001, world, page_size=300)}, application_id, application_secret
    )
    store.credentials, store.row_seal = stored, MirrorSeal()
    async with AsyncExitStack() as stack:
        at_wonde = await stack.enter_async_context(TestServer(build_application(wonde)))
        at_bromcom = await stack.enter_async_context(TestServer(bromcom_application(bromcom)))
        settings = {
            "wonde": {"base_url": str(at_wonde.make_url("/v1.0")), "school_id": ID},
            "bromcom": {
                **BROMCOM_SETTINGS,
                "base_url": str(at_bromcom.make_url("/v2")),
                "school_number": "20001",
                "page_size": "300",
            },
        }
        stored.kept[SCHOOL] = WONDE_CREDENTIALS if first == "wonde" else BROMCOM_CREDENTIALS
        host = ConnectorHost({"wonde": CONNECTOR, "bromcom": bromcom_connector()}, {})
        supervisor = Supervisor(
            store, host, clock, SyncOptions(commit_batch=200), "server-1", lambda: uuid.uuid4().hex
        )
        school = School(
            school_id=SCHOOL,
            display_name="Oak",
            connector=first,
            data_profile=PROFILE,
            time_zone="Europe/London",
            settings=settings[first],
        )
        await store.schools.create(school, str(uuid.uuid4()), b"")
        await supervisor.start()
        stack.push_async_callback(supervisor.stop)
        yield Mises(Engine(store, ScriptedMis(), supervisor), world, settings["wonde"])


@pytest.fixture
async def wonde(store: Store) -> AsyncGenerator[Mises]:
    async with mises(store, "wonde") as found:
        yield found


def written(run: pb.Run) -> int:
    return sum(part.created + part.updated + part.tombstoned + part.revived for part in run.datasets)


async def test_g03_a_world_arrives_and_then_nothing_is_written(wonde: Mises) -> None:
    assert written(await wonde.sync()) > 2000
    assert await wonde.differences() == []
    assert written(await wonde.sync()) == 0
    assert await wonde.differences() == []


async def test_changes_bring_edits_and_a_deletion(wonde: Mises) -> None:
    await wonde.sync()
    world = wonde.world
    pupils, events = list(world.pupils), list(world.behaviour)
    [gone] = [
        record
        for record in await wonde.engine.records(kinds.KIND_BEHAVIOUR_EVENT)
        if record.source_keys[0].parts[-1].text.endswith(f"{events[1]:05d}")
    ]
    world.rename(pupils[3], surname="Zeta-Jones")
    world.correct_behaviour(events[0], comment="Said sorry")
    world.delete_behaviour(events[1])
    world.change_contact(next(iter(world.contacts)), telephone="020 7946 0000")
    run = await wonde.sync(pb.SYNC_LAYER_CHANGES)
    for dataset in ("students", "contacts", "behaviour_events", "attendance_marks"):
        part = outcome(run, dataset)
        assert (part.layer, part.fallback) == (pb.SYNC_LAYER_UNSPECIFIED, ""), dataset
    assert await wonde.differences() == []
    [tombstone] = [
        record
        for record in await wonde.engine.records(kinds.KIND_BEHAVIOUR_EVENT)
        if record.HasField("tombstone")
    ]
    assert tombstone.id == gone.id
    assert tombstone.tombstone.reason == TOMBSTONE_REASON_DELETED_IN_MIS


async def test_edits_arrive_with_the_next_snapshot(wonde: Mises) -> None:
    await wonde.sync()
    by_name = {edit.name: edit for edit in EDITS}
    for name in QUIET_EDITS:
        by_name[name].happen(wonde.world)
    assert await wonde.differences() != []
    await wonde.sync()
    assert await wonde.differences() == []


async def _operate(mises: Mises, **operation: Any) -> pb.Run:
    run = await mises.engine.supervisor.start_operation(
        SCHOOL, orjson.dumps(operation), str(uuid.uuid4()), "tests"
    )
    finished = await mises.engine.finish(run.run_id)
    assert finished.state == pb.RUN_STATE_SUCCEEDED, finished.failure
    return finished


async def test_a_school_moves_from_bromcom_and_pupils_keep_their_ids(store: Store) -> None:
    """Nothing but what a pupil is says that two rows are one: the two MISs share no id."""
    async with mises(store, "bromcom") as found:
        await found.sync()
        before = {
            record.student.upn: record.id
            for record in await found.engine.records(kinds.KIND_STUDENT, tombstones=False)
            if record.student.upn
        }
        assert len(before) > 20
        given = orjson.dumps({"settings": dict(found.wonde), "credentials": WONDE_CREDENTIALS})
        sealed = b64encode(await store.row_seal.seal(SCHOOL, given)).decode()
        await _operate(found, type="plan_mis_change", connector="wonde", sealed=sealed)
        plan = (await store.mis_plans.get(SCHOOL)).plan
        [pupils] = [match for match in plan.kinds if match.kind == kinds.KIND_STUDENT]
        assert pupils.matched == pupils.found == 30
        await _operate(found, type="apply_mis_change", digest=plan.digest)
        after = {
            record.student.upn: record
            for record in await found.engine.records(kinds.KIND_STUDENT, tombstones=False)
            if record.student.upn
        }
        assert {upn: record.id for upn, record in after.items()} == before
        for record in after.values():
            assert "wonde/student" in {key.namespace for key in record.source_keys}
