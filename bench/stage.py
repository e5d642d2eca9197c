"""What is measured: a real mongod, the service and the simulated MIS, each in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import secrets
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
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
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A client of the service, its MongoDB, the MIS, and the world that the MIS serves."""

    client: Client
    mongo_uri: str
    simulator: mis.Simulator
    world: World

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
async def raised(pupils: int) -> AsyncGenerator[Stage]:
    """Start everything for a school of ``pupils`` pupils with a year of marks; stop it at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="schoolgate-bench-")))
        mongod = await stack.enter_async_context(
            EmbeddedMongod(EmbeddedOptions(folder=folder / "mongod", cache_gb=1.0))
        )
        settings = {
            "SCHOOLGATE_LISTEN__PORT": "0",
            "SCHOOLGATE_MONGO__URI": mongod.uri,
            "SCHOOLGATE_MONGO__DATABASE": DATABASE,
            "SCHOOLGATE_VAULT__KEY": base64.b64encode(secrets.token_bytes(96)).decode(),
            "SCHOOLGATE_LOG__LEVEL": "WARNING",
        }
        options = ["--seed", str(SEED), "--pupils", str(pupils), "--school", str(MIS_NUMBER)]
        server = stack.enter_context(processes.child("server", ["serve"], folder, settings))
        simulator = stack.enter_context(
            processes.child("simulator", ["simulate", "bromcom", *options], folder, {})
        )
        announced = await asyncio.to_thread(simulator.wait_for, mis.announced, _READY_SECONDS)
        line = await asyncio.to_thread(server.wait_for, lambda out: out.strip() or None, _READY_SECONDS)
        client = stack.enter_context(connect(Target(line.removeprefix(READY_PREFIX))))
        world = World.build(SEED, pupils, YEAR[0])
        yield Stage(client, mongod.uri, announced, world)
