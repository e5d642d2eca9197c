"""Where a history takes place: one school's MIS, the shared store, the servers, and the model beside them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeAlias

import mongomock
from mongomock.codec_options import CodecOptions

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.model.questions import Question
from schoolgate_server.store.store import Store
from tests.simulation.answers import Answers
from tests.simulation.asking import Asker
from tests.simulation.base import Documents, RunFacts, require
from tests.simulation.facts import facts_of
from tests.simulation.following import Following
from tests.simulation.handle import Trouble
from tests.simulation.meaning import KIND_OF, Reading
from tests.simulation.mis import SimulatedMis
from tests.simulation.model import Model
from tests.simulation.plans import Plan
from tests.simulation.server import DATABASE, SCHOOL, Server, documents_of, new_uuid, options_of
from tests.simulation.speed import hasten
from tests.simulation.virtual_time import VirtualClock
from tests.simulation.world import World
from tests.support.mongomock_handle import MockHandle

SETTLED_SECONDS = 200.0
"""Longer than any lease, cut or slow operation: whoever was cut off has noticed by then."""

Ask: TypeAlias = Callable[[Server, str], Coroutine[Any, Any, pb.Run | None]]
"""Asks a server for a run and follows it to its end; ``None`` where the server dies meanwhile.

The text is a request id, the same for every server that is asked.
"""

_MOMENTS_EVERY = 5
"""One history of so many has ``moments``."""

_PAIRS_AT_THE_END = 4
"""Pairs of effective_on and known_at that are asked about once a history has ended, beside those before."""

_GLANCES = 0.12
"""The share of chunks after which somebody reads before their commit is published."""

_ALL = Question(include_tombstones=True)


class Stage:
    """What the actions of one history work on. ``steps`` says what happened so far, ``counts`` how often."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.moments = _moments_of(seed)
        self.steps: list[str] = []
        self.counts: Counter[str] = Counter()
        self.client = _client()
        self.clock = VirtualClock()
        self.options = options_of(self.rng)
        self.mis = SimulatedMis(World(self.rng), self.rng.randint(2, 6))
        self.reading = Reading(1, "core")
        self.model = Model()
        self.answers: dict[int, str] = {}
        self.reader = Store.open(MockHandle(self.client), DATABASE, self.clock, sleep=_briefly)
        answers = Answers(self.model)
        self.following = Following(seed, self.reader, answers, self.counts)
        self.asker = Asker(seed, self.reader, self.clock, answers, self.counts)
        self.ends_sessions = self.rng.random() < 0.5
        """Whether MongoDB lets a server end the sessions of another one."""
        self.operations = 60
        """About how many store operations the next run will take."""
        self.on_death: Callable[[], None] | None = None
        """What happens in the MIS when the server of the next run dies."""
        self._glances = Random(f"{seed}/glances")
        self._server: Server | None = None
        self._servers = 0

    def documents(self) -> Documents:
        """Return all that the store has."""
        return documents_of(self.client)

    def count(self, facts: RunFacts) -> None:
        """Count what a run did to records, and how its datasets ended."""
        for part in facts.datasets:
            self.counts[f"{part.layer} of a dataset {part.state.lower()}"] += 1
            for name in ("created", "updated", "revived", "tombstoned", "reprojected", "merged"):
                self.counts[f"records {name}"] += part.counters[name]

    async def sync(self, plan: Plan) -> tuple[pb.Run, RunFacts]:
        """Sync as ``plan`` says; return the run and what it did."""
        run = await self.run(plan, lambda server, request: server.sync(plan, request))
        return run, self.facts(run, plan)

    async def run(self, plan: Plan, ask: Ask) -> pb.Run:
        """Have a server do as asked, through all that ``plan`` has in store; another one where it dies.

        Whoever is still at work is let come to an end. The run that ended last is returned.
        """
        self.mis.begin(plan.weather, plan.days)
        request = str(new_uuid(self.rng))
        rival = await self.start() if plan.rival else None
        troubles: list[Trouble | None] = list(plan.troubles)
        run = None
        while run is None:
            server = await self.up()
            server.gate.arm(troubles.pop(0) if troubles else None)
            server.gate.look, server.gate.look_at = self._look, plan.look_at
            server.gate.glance = self._glance
            stopping = self._plan_pages(plan, server)
            run = await self._follow(server, ask(server, request), stopping)
            self.operations = max(20, server.gate.operations)
            self.counts.update(f"fault: {fault}" for fault in server.gate.fired)
            server.gate.fired.clear()
            if run is None:
                await self.down()
                if self.on_death is not None:
                    self.on_death()
        if plan.troubles or rival:
            await asyncio.sleep(SETTLED_SECONDS)
        if rival is not None:
            self.counts["fault: rival server"] += 1
            await rival.stop()
        self.mis.on_page, self.on_death = self.mis.calm, None
        self.counts.update(f"fault: {fault}" for fault in self.mis.fired)
        self.counts["runs"] += 1
        stored = (await self.reader.runs.get(SCHOOL, run.run_id)).run
        require(stored.state == run.state, "G15", f"{run.state} is stored as {stored.state}")
        return run

    def facts(self, run: pb.Run, plan: Plan) -> RunFacts:
        """Return what ``run`` did, which was to do as ``plan`` says."""
        return facts_of(run, self.mis, plan, self.reading, self.options.segment_rows)

    async def _follow(
        self, server: Server, asking: Coroutine[Any, Any, pb.Run | None], stopping: asyncio.Event
    ) -> pb.Run | None:
        syncing = asyncio.create_task(asking)
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({syncing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            self.counts["fault: server stopped"] += 1
            syncing.cancel()
            await server.stop()
            await asyncio.gather(syncing, return_exceptions=True)
            return None
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)
        return await syncing

    def _plan_pages(self, plan: Plan, server: Server) -> asyncio.Event:
        """Have the MIS do at its pages what the plan says; return the event that stops a server."""
        stopping = asyncio.Event()

        async def on_page(dataset: str, index: int) -> None:
            if plan.stop_at and plan.stop_at[0] == (dataset, index):
                plan.stop_at.pop(0)
                stopping.set()
                await asyncio.Event().wait()
            if plan.cancel_at == (dataset, index):
                plan.cancel_at = None
                plan.cancelled = True
                self.counts["fault: run cancelled"] += 1
                for entry in await server.store.runs.unfinished(SCHOOL):
                    await server.supervisor.cancel(SCHOOL, entry.run.run_id)
            if plan.edit_at == (dataset, index):
                self.counts["fault: edit during the read"] += 1
                self.steps.append(f"  meanwhile {self.mis.world.edit()}")

        self.mis.on_page = on_page
        return stopping

    async def _look(self) -> None:
        """Read as of the published seq, whatever is being committed at this moment."""
        head = await self.reader.leases.head(SCHOOL)
        self.counts["reads during a run"] += 1
        await self.ask(head.published)
        await self.following.look()
        await self.asker.ask_perhaps(during_a_run=True)

    async def _glance(self) -> None:
        """Now and then, have what is written and not published followed and asked about."""
        if self._glances.random() < _GLANCES:
            self.counts["reads between a chunk and its publication"] += 1
            await self.following.look()
            await self.asker.ask_perhaps(during_a_run=True)

    async def settle(self) -> None:
        """Read what is published, which the model knows by now, and compare it with what was read before."""
        await self.ask((await self.reader.leases.head(SCHOOL)).published)
        await self.following.look()
        await self.asker.ask_perhaps()
        self.following.check()
        self.asker.check()

    async def finish(self) -> None:
        """Read once more what was read in the course of the history, and what came of it."""
        for seq in self.answers:
            await self.ask(seq)
        await self.following.finish()
        await self.asker.ask(_PAIRS_AT_THE_END)
        self.asker.check()

    async def ask(self, seq: int) -> None:
        """G12: what was the answer once is the answer for ever."""
        answer = hashlib.sha256()
        for kind in KIND_OF.values():
            number, after = KINDS_BY_NAME[kind].kind, ""
            while page := await self.reader.records.query(SCHOOL, number, _ALL, seq, after, 50):
                for record in page:
                    answer.update(record.SerializeToString(deterministic=True))
                after = page[-1].id
        known = self.answers.setdefault(seq, answer.hexdigest())
        require(known == answer.hexdigest(), "G12", f"the answer as of {seq} changed")

    async def start(self, client: Any = None, *, adopts: bool = True) -> Server:
        """Start a server; one that ``adopts`` looks for runs that others left."""
        self._servers += 1
        server = Server(
            self.client if client is None else client,
            self.mis.connector(self.reading.parser_version),
            self.clock,
            self.options,
            f"server-{self._servers}",
            self.rng,
        )
        server.gate.ends_sessions = self.ends_sessions
        await server.start(adopts=adopts)
        return server

    async def up(self) -> Server:
        if self._server is None:
            self._server = await self.start()
        return self._server

    async def down(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None


async def _briefly(seconds: float) -> None:
    """Wait for what is under way: in vain, mostly, as whoever it is of waits for the one who looks."""
    await asyncio.sleep(seconds / 50)


def _moments_of(seed: int) -> Random | None:
    """Return what ``moments`` are drawn from; ``None`` for the other histories, which stay as they are."""
    return Random(f"{seed}/moments") if seed % _MOMENTS_EVERY == _MOMENTS_EVERY - 1 else None


def copied(client: Any) -> Any:
    """Return a store with the same documents."""
    copy: Any = _client()
    options: Any = CodecOptions
    here, there = (
        each.get_database(DATABASE, codec_options=options(tz_aware=True)) for each in (client, copy)
    )
    for name in here.list_collection_names():
        if documents := list(here[name].find({})):
            there[name].insert_many(documents)
    return copy


def _client() -> Any:
    hasten()
    make: Any = mongomock.MongoClient
    return make()
