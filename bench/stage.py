"""What is measured: a real mongod, the service and simulated MISs, each in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import secrets
import tempfile
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from schoolgate.v1.school_service_pb2 import AcademicYearSpan, CreateSchoolRequest, School
from schoolgate.v1.sync_service_pb2 import Run, RunState
from schoolgate_sdk.testing.world import World
from schoolgate_server.cli import runs
from schoolgate_server.cli.client import Client, Target, connect
from schoolgate_server.cli.demo import mis, processes
from schoolgate_server.cli.operate import READY_PREFIX
from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions

SEED = 7
MIS_NUMBER = 20001
DATABASE = "bench"
YEAR = (date(2026, 9, 1), date(2027, 9, 1))
"""The academic year, half-open."""

_YEAR = AcademicYearSpan(name="2026/27", valid_from=str(YEAR[0]), valid_to=str(YEAR[1]))
_READY_SECONDS = 300.0

_UNPACED = {
    f"SCHOOLGATE_TRAFFIC__{whose}_{what}": "10000"
    for whose in ("HOST", "SCHOOL")
    for what in ("RATE", "BURST")
}
"""The pace that spares a MIS is no work, and no reference keeps it."""

_NEVER_HELD = {"SCHOOLGATE_SYNC__HOLD_UPDATES_FRACTION": "1.0"}
"""A run in which every mark changed would be held for an operator to look at."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service: a client of it, the id of its process, and its MongoDB."""

    client: Client
    pid: int
    mongo_uri: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A client of the service, its MongoDB, the MIS, and the world that the MIS serves."""

    service: Service
    simulator: mis.Simulator
    world: World

    @property
    def client(self) -> Client:
        """The client of the service."""
        return self.service.client

    @property
    def mongo_uri(self) -> str:
        """The URI of the service's MongoDB."""
        return self.service.mongo_uri

    def register(self) -> str:
        """Register the one school of the MIS once more, under a new id, and return that."""
        school_id = f"school-{uuid.uuid4().hex[:12]}"
        school = School(
            school_id=school_id,
            display_name="Benchmark School",
            connector="bromcom",
            settings={"base_url": self.simulator.base_url, "school_number": str(MIS_NUMBER)},
            academic_year=_YEAR,
        )
        request = CreateSchoolRequest(
            school=school, credentials=self.simulator.credentials, request_id=str(uuid.uuid4())
        )
        self.client.call(self.client.schools.CreateSchool, request)
        return school_id

    def sync(self, school_id: str) -> Run:
        """Sync once and return the run; raises where it did not succeed."""
        started = runs.start(self.client, school_id)
        *_, last = runs.states(self.client, school_id, started.run_id)
        if last.state != RunState.RUN_STATE_SUCCEEDED:
            raise RuntimeError(f"a sync did not succeed: {last}")
        return last


@asynccontextmanager
async def served() -> AsyncGenerator[Service]:
    """Start the service with its MongoDB, whose cache is MongoDB's own choice; stop both at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="schoolgate-bench-")))
        mongod = await stack.enter_async_context(
            EmbeddedMongod(EmbeddedOptions(folder=folder / "mongod", cache_gb=None))
        )
        settings = {
            "SCHOOLGATE_LISTEN__PORT": "0",
            "SCHOOLGATE_MONGO__URI": mongod.uri,
            "SCHOOLGATE_MONGO__DATABASE": DATABASE,
            "SCHOOLGATE_VAULT__KEY": base64.b64encode(secrets.token_bytes(96)).decode(),
            "SCHOOLGATE_LOG__LEVEL": "WARNING",
            **_UNPACED,
            **_NEVER_HELD,
        }
        server = stack.enter_context(processes.child("server", ["serve"], folder, settings))
        line = await asyncio.to_thread(server.wait_for, lambda out: out.strip() or None, _READY_SECONDS)
        client = stack.enter_context(connect(Target(line.removeprefix(READY_PREFIX))))
        yield Service(client, server.process.pid, mongod.uri)


@contextmanager
def simulated(service: Service, pupils: int) -> Generator[Stage]:
    """Simulate the MIS of a school of ``pupils`` pupils with a year of marks, while the block lasts."""
    options = ["--seed", str(SEED), "--pupils", str(pupils), "--school", str(MIS_NUMBER)]
    with (
        tempfile.TemporaryDirectory(prefix="schoolgate-bench-") as folder,
        processes.child("simulator", ["simulate", "bromcom", *options], Path(folder), {}) as simulator,
    ):
        world = World.build(SEED, pupils, YEAR[0])
        yield Stage(service, simulator.wait_for(mis.announced, _READY_SECONDS), world)
