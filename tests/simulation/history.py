"""One history: seeded edits and syncs of one school, every step checked against the model."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any

import mongomock
from loguru import logger
from mongomock.codec_options import CodecOptions
from pymongo import _csot

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.model.questions import Question
from schoolgate_server.store.store import Store
from tests.simulation.base import Broken, Documents, RunFacts, require
from tests.simulation.facts import facts_of, joined
from tests.simulation.handle import ServerDied, Trouble
from tests.simulation.meaning import KIND_OF, Reading
from tests.simulation.mis import SimulatedMis, Weather
from tests.simulation.model import Model
from tests.simulation.notices import told_apart
from tests.simulation.plans import Plan, draw_plan, draw_trouble
from tests.simulation.server import (
    DATABASE,
    PROFILES,
    SCHOOL,
    Notice,
    Server,
    digest_text,
    documents_of,
    new_uuid,
    options_of,
)
from tests.simulation.speed import hasten
from tests.simulation.virtual_time import VirtualClock, run_virtually
from tests.simulation.world import DATASETS, World, key_parts
from tests.support.mongomock_handle import MockHandle
from tests.support.scripted import GROUPS, MARKS

SETTLED_SECONDS = 200.0
"""Longer than any lease, cut or slow operation: whoever was cut off has noticed by then."""

_ALL = Question(include_tombstones=True)


@dataclass
class Outcome:
    """What a history came to."""

    digest: str
    counts: Counter[str] = field(default_factory=Counter[str])


class History:
    """One seed's history. ``steps`` says what happened so far, for whoever must understand a failure."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self.steps: list[str] = []
        self.counts: Counter[str] = Counter()
        self._client = _client()
        self._clock = VirtualClock()
        self._options = options_of(self._rng)
        self._mis = SimulatedMis(World(self._rng), self._rng.randint(2, 6))
        self._reading = Reading(1, "core")
        self._model = Model()
        self._server: Server | None = None
        self._servers = 0
        self._operations = 60
        self._answers: dict[int, str] = {}
        self._reader = Store.open(MockHandle(self._client), DATABASE, self._clock)

    async def play(self) -> Outcome:
        server = await self._up()
        await server.register(self._rng)
        for _ in range(self._rng.randint(3, 7)):
            await self._step()
            self.counts["steps"] += 1
        await self._down()
        for seq in self._answers:
            await self._ask(seq)
        documents = digest_text(documents_of(self._client))
        return Outcome(hashlib.sha256(documents.encode()).hexdigest(), self.counts)

    async def _step(self) -> None:
        for _ in range(self._rng.choice((0, 1, 1, 2, 2, 3))):
            self.steps.append(self._mis.world.edit())
        if self._rng.random() < 0.12:
            await self._change_reading()
        if self._rng.random() < 0.4:
            await self._approve()
        if self._rng.random() < 0.25:
            await self._notify()
        plan = draw_plan(self._rng, self._operations)
        self.steps.append(f"sync {plan}")
        twin = _copied(self._client) if plan.is_disturbed and self._rng.random() < 0.5 else None
        run, facts = await self._sync(plan)
        after = documents_of(self._client)
        self._model.verify(facts, after)
        for part in facts.datasets:
            for name in ("created", "updated", "revived", "tombstoned", "reprojected", "merged"):
                self.counts[f"records {name}"] += part.counters[name]
            self.counts[f"datasets {part.state.lower()}"] += 1
        await self._ask((await self._reader.leases.head(SCHOOL)).published)
        if plan.edit_at is not None or run.state == pb.RUN_STATE_CANCELLED:
            return
        if twin is not None and all(part.exact for part in facts.datasets):
            await self._compare_undisturbed(twin, plan, after)
        exact = all(part.exact for part in facts.datasets)
        if exact and not self._model.postponed and self._rng.random() < 0.35:
            await self._repeat(plan, after)

    async def _change_reading(self) -> None:
        """Change the parser, which takes a new server, or the profile."""
        if self._rng.random() < 0.5:
            version = self._reading.parser_version + self._rng.choice((1, 2))
            self._reading = Reading(version, self._reading.profile)
            await self._down()
            self.counts["parser changed"] += 1
        else:
            self._reading = Reading(self._reading.parser_version, self._rng.choice(list(PROFILES)))
            school = await self._reader.schools.get(SCHOOL)
            school.data_profile[:] = PROFILES[self._reading.profile]
            await self._reader.schools.update(school, ["data_profile"], str(new_uuid(self._rng)), b"")
            self.counts["profile changed"] += 1
        self.steps.append(f"{self._reading}")

    async def _notify(self) -> None:
        """Tell of some rows that they changed, twice and in any order; one run reads them all again."""
        named = told_apart(self._mis.world.some_rows(self._rng), self._mis.world, documents_of(self._client))
        if not named or await self._reader.holds.list(SCHOOL):
            return  # with a hold open, a whole snapshot would be read instead
        plan = Plan(tuple(name for name in DATASETS if name in named), Weather())
        if self._rng.random() < 0.4:
            plan.troubles = [draw_trouble(self._rng, 40)]
        notices = [(name, key, str(new_uuid(self._rng))) for name, keys in named.items() for key in keys]
        notices += self._rng.sample(notices, self._rng.randint(0, len(notices)))
        self._rng.shuffle(notices)
        self.steps.append(f"notify of {named}; {plan}")
        _, facts = await self._sync(plan, notices)
        for part in facts.datasets:
            # Of several runs, each saw the pupils that were known when it began.
            part.targeted, part.expected = True, {"SUCCEEDED"}
            part.exact = len(facts.runs) == 1 or part.dataset in {GROUPS, MARKS}
            keys = [tuple(map(repr, parts)) for parts in named[part.dataset]]
            rows = self._mis.world.rows[part.dataset]
            part.rows = [dict(row) for row in rows if tuple(map(repr, key_parts(part.dataset, row))) in keys]
        self._model.verify(facts, documents_of(self._client))
        self.counts["notified"] += len(notices)
        await self._ask((await self._reader.leases.head(SCHOOL)).published)

    async def _approve(self) -> None:
        """Approve what is held for some dataset, as an operator who looked at it may."""
        holds = await self._reader.holds.list(SCHOOL)
        if holds:
            hold = self._rng.choice(holds)
            await self._reader.holds.approve(SCHOOL, hold.hold_id, hold.digest, "operator", self._clock())
            self._model.judge.approve(hold.dataset)
            self.steps.append(f"approve what is held of {hold.dataset}")
            self.counts["hold approved"] += 1

    async def _sync(self, plan: Plan, notices: Sequence[Notice] = ()) -> tuple[pb.Run, RunFacts]:
        """Sync through everything that the plan has in store, and let whoever is still at work end."""
        self._mis.begin(plan.weather)
        request = str(new_uuid(self._rng))
        rival = await self._start() if plan.rival else None
        troubles: list[Trouble | None] = list(plan.troubles)
        run, before = None, set(documents_of(self._client).get("runs", {}))
        while run is None:
            server = await self._up()
            server.gate.arm(troubles.pop(0) if troubles else None)
            server.gate.look, server.gate.look_at = self._look, plan.look_at
            stopping = self._plan_pages(plan, server)
            asking = server.notify(notices) if notices else server.sync(plan.datasets, request)
            run = await self._follow(server, asking, stopping)
            self._operations = max(20, server.gate.operations)
            self.counts.update(f"fault: {fault}" for fault in server.gate.fired)
            server.gate.fired.clear()
            if run is None:
                await self._down()
        if plan.troubles or rival:
            await asyncio.sleep(SETTLED_SECONDS)
        if rival is not None:
            self.counts["fault: rival server"] += 1
            await rival.stop()
        self._mis.on_page = _nothing
        self.counts.update(f"fault: {fault}" for fault in self._mis.fired)
        self.counts["runs"] += 1
        stored = (await self._reader.runs.get(SCHOOL, run.run_id)).run
        require(stored.state == run.state, "G15", f"{run.state} is stored as {stored.state}")
        if notices:
            # One may have taken a notification in whose answer was lost.
            made = set(documents_of(self._client)["runs"]) - before
            runs = [(await self._reader.runs.get(SCHOOL, run_id)).run for run_id in sorted(made)]
            return run, joined([self._facts(each, replace(plan, datasets=_names(each))) for each in runs])
        return run, self._facts(run, plan)

    def _facts(self, run: pb.Run, plan: Plan) -> RunFacts:
        return facts_of(run, self._mis, plan, self._reading, self._options.segment_rows)

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
                self.steps.append(f"  meanwhile {self._mis.world.edit()}")

        self._mis.on_page = on_page
        return stopping

    async def _repeat(self, plan: Plan, before: Documents) -> None:
        """G03: the same once more writes nothing but its run."""
        shuffled = self._rng.random() < 0.5
        if shuffled and not set(plan.weather.claims.values()) & {"truncated", "page_twice"}:
            self.steps.append(self._mis.world.shuffle())
        # A resumed read may keep an empty page from behind the end; in another order the pages are others.
        exactly = not shuffled and not plan.is_disturbed
        self.steps.append("repeat")
        again = Plan(plan.datasets, plan.weather)
        run, facts = await self._sync(again)
        after = documents_of(self._client)
        require(run.seq_after == run.seq_before, "G03", "a repetition moved the published seq")
        for documents in (before, after):
            for name in ("runs",) if exactly else ("runs", "raw_pages"):
                documents.pop(name, None)
            for head in documents["heads"].values():  # who holds the school is no part of its data
                for name in ("lease", "epoch", "rolled_back"):
                    head.pop(name, None)
            if shuffled:
                _forget_order(documents)
        for name, documents in after.items():
            require(documents == before.get(name, {}), "G03", f"a repetition changed {name}")
        self._model.verify(facts, documents_of(self._client))
        self.counts["repetitions"] += 1

    async def _compare_undisturbed(self, twin: Any, plan: Plan, after: Documents) -> None:
        """G10: the same sync without any disturbance, over a copy of the store, ends in the same records."""
        self._mis.begin(plan.weather)
        server = await self._start(twin)
        run = await server.sync(plan.datasets, str(new_uuid(self._rng)))
        await server.stop()
        assert run is not None
        undisturbed = documents_of(twin)
        for name in ("records", "identities"):
            one, other = (_contents(documents[name]) for documents in (after, undisturbed))
            for key in {**one, **other}:
                pair = one.get(key), other.get(key)
                require(pair[0] == pair[1], "G10", f"{name} differ from those of an undisturbed run: {pair}")
        self.counts["compared with an undisturbed run"] += 1

    async def _look(self) -> None:
        """Read as of the published seq, whatever is being committed at this moment."""
        head = await self._reader.leases.head(SCHOOL)
        self.counts["reads during a run"] += 1
        await self._ask(head.published)

    async def _ask(self, seq: int) -> None:
        """G12: what was the answer once is the answer for ever."""
        answer = hashlib.sha256()
        for kind in KIND_OF.values():
            number, after = KINDS_BY_NAME[kind].kind, ""
            while page := await self._reader.records.query(SCHOOL, number, _ALL, seq, after, 50):
                for record in page:
                    answer.update(record.SerializeToString(deterministic=True))
                after = page[-1].id
        known = self._answers.setdefault(seq, answer.hexdigest())
        require(known == answer.hexdigest(), "G12", f"the answer as of {seq} changed")

    async def _start(self, client: Any = None) -> Server:
        self._servers += 1
        server = Server(
            self._client if client is None else client,
            self._mis.connector(self._reading.parser_version),
            self._clock,
            self._options,
            f"server-{self._servers}",
            self._rng,
        )
        await server.start()
        return server

    async def _up(self) -> Server:
        if self._server is None:
            self._server = await self._start()
        return self._server

    async def _down(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None


def play(seed: int) -> Outcome:
    """Play one history.

    Raises:
        AssertionError: it breaks a guarantee; the text has the seed and the steps that led there.
    """
    history = History(seed)

    async def timed() -> Outcome:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_only_of_the_living)
        setattr(_csot, "time", SimpleNamespace(monotonic=loop.time))  # noqa: B010 - the driver's own clock
        return await history.play()

    real: Any = vars(_csot)["time"]
    logger.disable("schoolgate_server")
    try:
        outcome: Outcome = run_virtually(timed)
    except Exception as error:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(history.steps, 1))
        what = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
        raise AssertionError(
            f"seed {seed}: {what}\n{steps}\nagain: make simulate SEEDS={seed}-{seed}"
        ) from error
    finally:
        logger.enable("schoolgate_server")
        setattr(_csot, "time", real)  # noqa: B010
    return outcome


def _only_of_the_living(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in a task that nobody asks, unless its server is dead."""
    if not isinstance(context.get("exception"), ServerDied):
        loop.default_exception_handler(context)


def _names(run: pb.Run) -> tuple[str, ...]:
    return tuple(part.dataset for part in run.datasets)


def _client() -> Any:
    hasten()
    make: Any = mongomock.MongoClient
    return make()


def _copied(client: Any) -> Any:
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


def _forget_order(documents: Documents) -> None:
    """Whether one of several differing rows also counts as a duplicate depends on their order."""
    decisions = documents["decisions"]
    for decision_id in [key for key, one in decisions.items() if one["reason"].endswith("DUPLICATE_ROW")]:
        del decisions[decision_id]


def _contents(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("live", "keys", "body", "hash", "key", "record", "cause", "link")
    return {name: [document.get(field_name) for field_name in names] for name, document in documents.items()}


async def _nothing(dataset: str, index: int) -> None:
    """Let the page come."""
