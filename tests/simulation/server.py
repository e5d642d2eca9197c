"""One simulated server: the real engine over its own handle of the shared in-memory store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, TypeAlias

import orjson

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.diagnostics_service_pb2 import Decision
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, SourceKey, source_key
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.reconcile.holds import Thresholds
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.progress import is_final
from schoolgate_server.sync.supervisor import Supervisor
from tests.simulation.base import COUNT, FRACTION, Documents
from tests.simulation.handle import Gate, GatedHandle, ServerDied
from tests.simulation.meaning import KIND_OF
from tests.simulation.plans import Plan
from tests.simulation.virtual_time import VirtualClock

Notice: TypeAlias = tuple[str, tuple[Any, ...], str]
"""A dataset, the parts of a key, and a request id."""

SCHOOL = "oak"
DATABASE = "simulation"
LONGEST = 6 * 3600.0
"""Seconds of virtual time after which a run that has not ended never will."""

PROFILES: Mapping[str, list[str]] = {
    "core": list(CORE_PROFILE),
    "wide": [*CORE_PROFILE, "student.ethnicity_code"],
    "narrow": [entry for entry in CORE_PROFILE if entry != "student.forename"],
}


class OpenVault:
    """The simulated MIS asks for no credentials, and rows are sealed with the school's name alone."""

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        raise AssertionError("nobody sets credentials")

    async def get(self, school_id: str) -> dict[str, str] | None:
        return None

    async def forget(self, school_id: str) -> None:
        return None

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        return school_id.encode() + plain

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        assert sealed.startswith(school_id.encode())
        return sealed.removeprefix(school_id.encode())


class Server:
    """A supervisor with its gate; ``name`` is its owner's name, another one at every start."""

    def __init__(
        self,
        client: Any,
        connector: Connector,
        clock: VirtualClock,
        options: SyncOptions,
        name: str,
        rng: Random,
    ) -> None:
        self.gate = Gate()
        self.name = name
        self.store = Store.open(GatedHandle(client, self.gate), DATABASE, clock, sleep=asyncio.sleep)
        self.store.credentials = self.store.row_seal = OpenVault()
        host = ConnectorHost({"scripted": connector}, {})
        self.supervisor = Supervisor(self.store, host, clock, options, name, lambda: new_uuid(rng).hex)

    async def start(self, *, adopts: bool = True) -> None:
        await self.store.prepare()
        if adopts:
            await self.supervisor.start()

    async def register(self, rng: Random) -> None:
        school = School(school_id=SCHOOL, display_name="Oak", connector="scripted", time_zone="Europe/London")
        school.data_profile.extend(PROFILES["core"])
        await self.store.schools.create(school, str(new_uuid(rng)), b"")

    async def sync(self, plan: Plan, request_id: str) -> pb.Run | None:
        """Ask for a run and follow it to its end; ``None`` where the server dies meanwhile."""
        date_from, date_to = plan.days or ("", "")
        start = partial(
            self.supervisor.start_sync,
            SCHOOL,
            plan.datasets,
            request_id,
            "simulation",
            layer=plan.layer,
            date_from=date_from,
            date_to=date_to,
        )
        return await self._end(start)

    async def notify(self, notices: Sequence[Notice]) -> pb.Run | None:
        """Tell of changes, and follow the runs that read them; ``None`` where the server dies meanwhile.

        The last of them is returned.
        """
        runs: dict[str, pb.Run] = {}
        for dataset, parts, request_id in notices:
            kind, key = KINDS_BY_NAME[KIND_OF[dataset]].kind, source_key(f"scripted/{dataset}", *parts)
            told = await self._answer(partial(self._tell, kind, key, request_id))
            if told is None:
                return None
            runs[told.run_id] = told
        ended: pb.Run | None = None
        for run in runs.values():
            ended = await self._end(partial(_same, run))
            if ended is None:
                return None
        return ended

    async def _tell(self, kind: Any, key: SourceKey, request_id: str) -> pb.Run:
        return await self.supervisor.notify(SCHOOL, kind, [key], request_id, "simulation")

    async def _end(self, ask: Callable[[], Awaitable[pb.Run]]) -> pb.Run | None:
        return await self._answer(partial(self._follow, ask))

    async def _answer(self, ask: Callable[[], Coroutine[Any, Any, pb.Run]]) -> pb.Run | None:
        """Return what ``ask`` does, asked again while the store does not answer, as a patient client does."""
        ending = asyncio.create_task(_patiently(ask))
        dying = asyncio.create_task(self.gate.died.wait())
        try:
            await asyncio.wait({ending, dying}, timeout=LONGEST, return_when=asyncio.FIRST_COMPLETED)
            if self.gate.died.is_set():
                return None
            assert ending.done(), "the run does not end"
            return ending.result()
        finally:
            for task in (ending, dying):
                task.cancel()
            await asyncio.gather(ending, dying, return_exceptions=True)

    async def _follow(self, ask: Callable[[], Awaitable[pb.Run]]) -> pb.Run:
        run = await ask()
        async for latest in self.supervisor.watch(SCHOOL, run.run_id):
            run = latest
        assert is_final(run)
        return run

    async def stop(self) -> None:
        await self.supervisor.stop()


async def _patiently(ask: Callable[[], Awaitable[pb.Run]]) -> pb.Run:
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(1)
        except ServerDied:
            await asyncio.Event().wait()  # nobody answers; the caller has noticed
            raise


async def _same(run: pb.Run) -> pb.Run:
    return run


def new_uuid(rng: Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128), version=4)


def options_of(rng: Random) -> SyncOptions:
    return SyncOptions(
        commit_batch=rng.choice((2, 5, 50)),
        segment_rows=rng.choice((4, 10, 1000)),
        thresholds=Thresholds(FRACTION, COUNT, updates_count=10_000),
        checked_rows=0,  # in so small a school it would be every row, and none be taken as it was read before
        checked_one_of=0,
    )


def documents_of(client: Any) -> Documents:
    """Return every document, by collection and id; decisions with the parts of their key."""
    database = client[DATABASE]
    found = {
        name: {str(document["_id"]): document for document in database[name].find({})}
        for name in sorted({"records", "history", "heads", "identities", *database.list_collection_names()})
    }
    for document in found.setdefault("decisions", {}).values():
        decision = Decision.FromString(document["wire"])
        parts = [
            part.integer if part.WhichOneof("value") == "integer" else part.text
            for part in decision.source_key.parts
        ]
        document["parts"] = parts if decision.HasField("source_key") else None
    return found


def digest_text(documents: Documents) -> str:
    """Return documents as text, to compare two of them."""
    return orjson.dumps(documents, default=repr, option=orjson.OPT_SORT_KEYS).decode()
