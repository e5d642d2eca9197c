"""One school, one scripted MIS and the real engine over a real or an in-memory store."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, encode_key, source_key
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.model.questions import Question
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.scripted import ScriptedMis, scripted_connector

SCHOOL = "oak"
EVERYTHING = Question(include_tombstones=True)


class TickingClock:
    """Goes one second on at every look, from a fixed moment in term."""

    def __init__(self, start: datetime = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._ticks = itertools.count()

    def __call__(self) -> datetime:
        return self._start + timedelta(milliseconds=next(self._ticks))


@dataclass
class Engine:
    store: Store
    mis: ScriptedMis
    supervisor: Supervisor

    async def sync(self, *datasets: str) -> pb.Run:
        """Run a sync to its end."""
        accepted = await self.supervisor.start_sync(SCHOOL, datasets, str(uuid.uuid4()), "tests")
        return await self.finish(accepted.run_id)

    async def finish(self, run_id: str) -> pb.Run:
        latest = pb.Run()
        async for run in self.supervisor.watch(SCHOOL, run_id):
            latest = run
        return latest

    async def records(self, kind: Kind.ValueType, *, tombstones: bool = True) -> list[Record]:
        head = await self.store.leases.head(SCHOOL)
        question = Question(include_tombstones=tombstones)
        return await self.store.records.query(SCHOOL, kind, question, head.published, "", 100_000)

    async def live(self, kind: Kind.ValueType) -> int:
        return len(await self.records(kind, tombstones=False))

    async def decisions(self, dataset: str = "") -> Sequence[Any]:
        return await self.store.decisions.list(SCHOOL, dataset, None, 100_000)


def record_id(kind: Kind.ValueType, dataset: str, *parts: int | str) -> str:
    return Minter(SCHOOL).mint(kind, encode_key(source_key(f"scripted/{dataset}", *parts)))


def outcome(run: pb.Run, dataset: str) -> pb.DatasetRun:
    return next(part for part in run.datasets if part.dataset == dataset)


async def move_site(store: Store, site: str = "annexe") -> None:
    """Have the school's rows read under another scope from now on."""
    school = await store.schools.get(SCHOOL)
    school.settings["site"] = site
    await store.schools.update(school, ["settings"], str(uuid.uuid4()), b"")


class MirrorSeal:
    """Turns retained rows round: enough to show that nothing but the seal reads them."""

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        return plain[::-1]

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        return sealed[::-1]


@asynccontextmanager
async def engine_over(
    store: Store,
    mis: ScriptedMis | None = None,
    *,
    options: SyncOptions | None = None,
    parser_version: int = 1,
    owner: str = "server-1",
    profile: Sequence[str] = CORE_PROFILE,
    clock: Clock | None = None,
    connector: Connector | None = None,
    traffic: Traffic | None = None,
    partners: Partners = NO_PARTNERS,
) -> AsyncGenerator[Engine]:
    """Register the school where it is not yet, and run a supervisor over ``store``."""
    mis = mis or ScriptedMis()
    store.row_seal = MirrorSeal()
    connector = connector or scripted_connector(mis, parser_version=parser_version)
    host = ConnectorHost({"scripted": connector}, {})
    options = options or SyncOptions(commit_batch=7, segment_rows=10)
    supervisor = Supervisor(
        store,
        host,
        clock or TickingClock(),
        options,
        owner,
        lambda: uuid.uuid4().hex,
        traffic=traffic,
        partners=partners,
    )
    school = School(
        school_id=SCHOOL,
        display_name="Oak",
        connector="scripted",
        data_profile=profile,
        time_zone="Europe/London",
    )
    await store.schools.create(school, "11111111-1111-4111-8111-111111111111", b"")
    await supervisor.start()
    try:
        yield Engine(store, mis, supervisor)
    finally:
        await supervisor.stop()
