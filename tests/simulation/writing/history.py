"""One history of writes from a seed: what is asked for, what befalls servers, store and MIS, and the verdict.

The model is how often each key took effect in the MIS, which the MIS counts itself. See ``judging`` for what
must hold at the end; what must hold at every request that arrives is looked at there and then.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import mongomock

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.service import WriteService
from tests.simulation.handle import ServerDied, Trouble
from tests.simulation.server import DATABASE, SCHOOL, OpenVault, new_uuid
from tests.simulation.speed import hasten
from tests.simulation.virtual_time import START, run_virtually
from tests.simulation.writing import judging
from tests.simulation.writing.asked import EVENT, OPERATIONS, Asked, new_asked, twin_of
from tests.simulation.writing.mis import Pass, SimulatedWriteMis
from tests.simulation.writing.server import OPTIONS, SETTLE, WritingServer
from tests.support.mongomock_handle import MockHandle
from tests.support.write_mis.connector import NAME, STAFF, STUDENTS

TROUBLES = (
    *("crash_before", "crash_after", "crash_before", "crash_after", "unavailable", "answer_lost"),
    *("late", "slow", "partition", "step_down"),
)
ACTIONS = {
    "submit": 10,
    "again": 5,
    "twin": 3,
    "cancel": 1,
    "switch": 2,
    "trouble": 3,
    "trouble with an intent": 2,
    "crash at the MIS": 3,
    "stall": 2,
    "rival": 1,
    "stop": 1,
}
"""How often each is drawn, in proportion."""
LONGEST = 3600.0
"""Seconds of virtual time in which all must have come to an end once nothing befalls anybody any more."""


class LoopClock:
    """The loop's time as everybody's clock, so that spans are what they are; no two looks are the same."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def __call__(self) -> datetime:
        passed = asyncio.get_running_loop().time()
        return START + timedelta(seconds=passed, microseconds=next(self._looks) % 1000)


@dataclass
class Switched:
    """A span in which the kill switch was thrown: from when the call had returned to when it was undone."""

    operations: tuple[str, ...]
    since: float = float("inf")
    until: float = float("inf")


@dataclass
class Played:
    """What came of a history, for the test's summary and to compare two runs of one seed."""

    counts: Counter[str] = field(default_factory=Counter[str])
    steps: list[str] = field(default_factory=list[str])
    entries: list[pb.Write] = field(default_factory=list[pb.Write])


class History:
    """The state of one history; :meth:`play` is its program."""

    def __init__(self, seed: int, *, late: float | None = None) -> None:
        hasten()
        self.rng = Random(f"{seed}/writing")
        self.client: Any = mongomock.MongoClient()
        self.clock = LoopClock()
        self.played = Played()
        self.asked: list[Asked] = []
        self.switched: list[Switched] = []
        self.cancelled: set[str] = set()
        self.broken: list[str] = []
        self.servers: list[WritingServer] = []
        self.mis = SimulatedWriteMis(
            Random(f"{seed}/mis"), self.clock, late=late or SETTLE.total_seconds() - 1
        )
        self.mis.is_dated = Random(f"{seed}/dates").random() < 0.5
        self.mis.on_arrival = lambda arrival: judging.look(self, arrival)
        self.reader = Store.open(MockHandle(self.client), DATABASE, self.clock, sleep=asyncio.sleep)
        self.reader.credentials = self.reader.row_seal = OpenVault()
        host = ConnectorHost({NAME: self.mis.connector(Pass("office", _pass))}, {})
        self.office = WriteService(self.reader, host, self.clock, OPTIONS, _no_preview, lambda school: None)
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def now(self) -> float:
        """Seconds of the loop."""
        return asyncio.get_running_loop().time()

    def say(self, step: str) -> None:
        """Note what happens."""
        self.played.steps.append(f"{self.now:8.2f} {step}")

    def spawn(self, work: Any) -> None:
        """Do something beside the history, to be waited for at its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

    async def begin(self) -> None:
        """Register the school, have its pupils read, and let everything be written."""
        server = await self.start()
        school = School(school_id=SCHOOL, display_name="Oak", connector=NAME, time_zone="Europe/London")
        school.settings["url"] = "simulated"
        school.data_profile.extend(
            ["student.*", "staff.*", "behaviour_event.*", "attendance_mark.*", "assessment_result.*"]
        )
        await self.reader.schools.create(school, str(new_uuid(self.rng)), b"")
        request = str(new_uuid(self.rng))
        accepted = await server.supervisor.start_sync(SCHOOL, [STUDENTS, STAFF], request, "simulation")
        async for _ in server.supervisor.watch(SCHOOL, accepted.run_id):
            pass
        await self.set_policy(pb.WRITE_POLICY_ON, OPERATIONS)

    async def set_policy(self, policy: pb.WritePolicy.ValueType, operations: tuple[str, ...]) -> None:
        """Set what may be written, by a server that sends nothing itself."""
        for operation in operations:
            request = pb.SetWritePolicyRequest(school_id=SCHOOL, operation=operation, policy=policy)
            request.request_id = str(new_uuid(self.rng))
            await self.office.set_policy(request, "admin")

    async def start(self) -> WritingServer:
        """Start a server, and another one in its place should it die."""
        server = WritingServer(self.client, self.mis, self.clock, f"server-{next(self._names)}", self.rng)
        await server.start()
        self.servers.append(server)
        self.spawn(self._watch(server))
        return server

    async def _watch(self, server: WritingServer) -> None:
        await server.gate.died.wait()
        if server not in self.servers:
            return  # it was stopped
        self.say(f"{server.name} died")
        self.servers.remove(server)
        await server.stop()
        self._fired(server)
        await asyncio.sleep(self.rng.uniform(0, 3))
        if not self.servers:
            await self.start()

    async def stop(self, server: WritingServer) -> None:
        """Stop a server as an operator does."""
        self.servers.remove(server)
        await server.stop()
        self._fired(server)
        server.gate.died.set()

    def _fired(self, server: WritingServer) -> None:
        self.played.counts.update(f"fault: {fault}" for fault in server.gate.fired)
        server.gate.fired.clear()

    async def submit(self, asked: Asked, patience: int) -> None:
        """Ask for a write until it is durable, or until patience is at its end."""
        for _ in range(patience):
            server = self.rng.choice(self.servers) if self.servers else None
            if server is not None:
                try:
                    answer = await server.service.submit(asked.request, "caller", new_uuid(self.rng).hex)
                except (StoreUnavailable, ServerDied):
                    self.played.counts["submissions without an answer"] += 1
                except ServiceError as error:
                    if error.reason != reasons.ERROR_REASON_WRITE_POLICY_OFF:
                        raise
                    self.played.counts["submissions while it is off"] += 1
                else:
                    if not server.gate.died.is_set():
                        asked.answered = self.now if asked.answered is None else asked.answered
                        asked.write_id = answer.write.write_id
                        return
            await asyncio.sleep(self.rng.uniform(0.2, 2))

    async def act(self, action: str) -> None:
        """Do one of the actions of a history."""
        self.played.counts[action] += 1
        match action:
            case "submit":
                await self._ask(self._new())
            case "again" | "twin" | "cancel" if self.asked:
                await self._act_about(action, self.rng.choice(self.asked))
            case "switch" if all(each.until <= self.now for each in self.switched):
                await self._throw_the_switch()
            case "rival" if len(self.servers) < 2:
                await self.start()
            case _ if self.servers:
                await self._befall(action, self.rng.choice(self.servers))
            case _:
                pass

    def _new(self) -> Asked:
        return new_asked(self.rng, next(self._numbers), self.mis.students, self.now)

    async def _act_about(self, action: str, asked: Asked) -> None:
        """Do something about what was asked for before."""
        if action == "again":
            for _ in range(self.rng.randint(1, 2)):
                self.spawn(self.submit(asked, 3))
        elif action == "twin":
            # Of events most: for a MIS that knows no id of ours two alike are the hardest to tell apart.
            events = [each for each in self.asked if each.operation == EVENT]
            if events and self.rng.random() < 0.8:
                asked = self.rng.choice(events)
            await self._ask(twin_of(asked, next(self._numbers), self.now))
        else:
            self.spawn(self._cancel(asked))

    async def _ask(self, asked: Asked) -> None:
        self.asked.append(asked)
        self.say(f"{asked.key}: {asked.operation}")
        for _ in range(self.rng.choice((1, 1, 1, 2))):
            self.spawn(self.submit(asked, self.rng.choice((1, 30, 30))))

    async def _befall(self, action: str, server: WritingServer) -> None:
        gate, rng = server.gate, self.rng
        match action:
            case "trouble" | "trouble with an intent":
                trouble = Trouble(rng.choice(TROUBLES), gate.operations + rng.randint(1, 40))
                if trouble.mode in {"late", "slow", "partition"}:
                    trouble.seconds = rng.uniform(0.5, 12)
                if action == "trouble":
                    gate.trouble = trouble
                else:
                    server.intent = trouble
                self.say(f"{server.name}: {action}, {trouble}")
            case "crash at the MIS":
                gate.dies_at_mis_step = gate.mis_steps + rng.randint(1, 6)
                self.say(f"{server.name} dies at step {gate.dies_at_mis_step} with the MIS")
            case "stall":
                seconds = rng.choice((rng.uniform(1, 5), rng.uniform(1, 40)))
                self.say(f"{server.name} stalls for {seconds:.1f} s")
                self.played.counts["fault: stall"] += 1
                gate.stall(seconds)
            case "stop" if len(self.servers) > 1 or rng.random() < 0.5:
                self.say(f"{server.name} is stopped")
                self.spawn(self._stop_and_start(server))
            case _:
                return

    async def _stop_and_start(self, server: WritingServer) -> None:
        if server in self.servers and not server.gate.died.is_set():
            await self.stop(server)
        if not self.servers:
            await self.start()

    async def _cancel(self, asked: Asked) -> None:
        if not self.servers or not asked.write_id:
            return
        server = self.rng.choice(self.servers)
        try:
            request = pb.CancelWriteRequest(school_id=SCHOOL, write_id=asked.write_id)
            request.request_id = str(new_uuid(self.rng))
            await server.service.cancel(request)
        except (StoreUnavailable, ServerDied, ServiceError):
            return
        if not server.gate.died.is_set():
            self.say(f"{asked.key} is cancelled")
            self.cancelled.add(asked.key)

    async def _throw_the_switch(self) -> None:
        """Stop writing while some writes wait for their turn at the MIS, perhaps while a server stalls."""
        for _ in range(self.rng.randint(2, 8)):
            await self._ask(self._new())
        await asyncio.sleep(self.rng.uniform(0, 1.5))
        if self.servers and self.rng.random() < 0.4:
            await self._befall("stall", self.rng.choice(self.servers))
        switched = Switched(tuple(self.rng.sample(OPERATIONS, self.rng.choice((1, 4, 4)))))
        self.switched.append(switched)
        self.spawn(self._switch(switched))

    async def _switch(self, switched: Switched) -> None:
        operations = switched.operations
        await self.set_policy(pb.WRITE_POLICY_OFF, operations)
        self.say(f"off: {', '.join(operations)}")
        switched.since = self.now
        await asyncio.sleep(self.rng.uniform(2, 30))
        switched.until = self.now
        await self.set_policy(pb.WRITE_POLICY_ON, operations)

    async def play(self) -> Played:
        """Play the history to its end, and judge it."""
        await self.begin()
        self.mis.chance, self.mis.read_chance = self.rng.choice((0.0, 0.3, 0.6)), self.rng.choice((0.0, 0.2))
        names, weights = list(ACTIONS), list(ACTIONS.values())
        for action in self.rng.choices(names, weights, k=self.rng.randint(15, 45)):
            await asyncio.sleep(self.rng.expovariate(0.7))
            await self.act(action)
        await self.heal()
        await judging.judge(self)
        return self.played

    async def heal(self) -> None:
        """Let nothing befall anybody any more, and wait until every write has come to its end."""
        self.mis.chance = self.mis.read_chance = 0.0
        for server in self.servers:
            server.gate.trouble, server.gate.dies_at_mis_step, server.intent = None, 0, None
        await asyncio.sleep(60)
        if not self.servers:
            await self.start()
        end = self.now + LONGEST
        while unsettled := await judging.unsettled(self):
            assert self.now < end, f"writes do not come to their end: {unsettled}"
            await asyncio.sleep(10)
        for server in [*self.servers]:
            await self.stop(server)
        await asyncio.gather(*self._tasks)


async def _pass(step: str) -> None:
    """Let everything pass."""


async def _no_preview(school: School, entry: WriteEntry) -> pb.WritePayload:
    raise AssertionError(f"no policy of {school.school_id} is DRY_RUN for {entry.write_id}")


def play(seed: int) -> Played:
    """Play the history of a seed.

    Raises:
        AssertionError: a guarantee is broken; the text names the seed and says what happened.
    """
    history: list[History] = []

    async def work() -> Played:
        history.append(History(seed))
        return await history[0].play()

    try:
        played: Played = run_virtually(work)
    except Exception as error:
        steps = "\n".join(history[0].played.steps)
        raise AssertionError(f"seed {seed} of writing: {error!r}\n{steps}") from error
    return played
