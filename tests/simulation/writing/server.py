"""One simulated server that writes: service, dispatcher and supervisor over its own handle of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import Connector
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from schoolgate_server.writeback.assembly import REQUESTED_BY, write_back
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.reach import Surroundings
from tests.simulation.handle import Gate, GatedHandle, ServerDied, Trouble
from tests.simulation.server import DATABASE, OpenVault, new_uuid
from tests.simulation.writing.mis import Pass, SimulatedWriteMis
from tests.support.write_mis.connector import NAME

SETTLE = timedelta(seconds=25)
OPTIONS = WriteOptions(
    environment="simulation",
    attempt=timedelta(seconds=8),
    settle=SETTLE,
    skew=timedelta(seconds=1),
    lease_ttl=timedelta(seconds=6),
    refused_first=timedelta(seconds=5),
    refused_longest=timedelta(seconds=20),
    retry_longest=timedelta(seconds=10),
    look_longest=timedelta(seconds=20),
    blocked_longest=timedelta(seconds=5),
    find_limit=timedelta(seconds=10),
    save_for=timedelta(seconds=20),
)
"""The real proportions with shorter times."""


class WritingGate(Gate):
    """A gate at which a server can also stand still, and at whose steps with the MIS it can die."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at_mis_step = 0
        self.mis_steps = 0
        self.stalled_until = 0.0

    def stall(self, seconds: float) -> None:
        """Let nothing pass for so long; its timers go on, as they all fire when a process wakes up."""
        self.stalled_until = asyncio.get_running_loop().time() + seconds

    async def perform(
        self, execute: Callable[[], Any], half: Callable[[], Any], *, commits: bool = False
    ) -> Any:
        await self._stand_still()
        done = await super().perform(execute, half, commits=commits)
        await self._stand_still()
        return done

    async def pass_to_mis(self, step: str) -> None:
        """Pass with a request to the MIS, or with its answer.

        Raises:
            ServerDied: the server is dead; nothing leaves it, and it hears nothing.
        """
        await self._stand_still()
        if step != "open":
            self.mis_steps += 1
            if self.mis_steps == self.dies_at_mis_step:
                self.fired.append(f"crash at the MIS: {step}")
                self.die()
        if self.died.is_set():
            raise ServerDied("the server is dead")

    async def _stand_still(self) -> None:
        while (left := self.stalled_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)


class WritingServer:
    """``name`` is its owner's name, another one at every start."""

    def __init__(self, client: Any, mis: SimulatedWriteMis, clock: Clock, name: str, rng: Random) -> None:
        self.name = name
        self.gate = WritingGate()
        self.store = Store.open(GatedHandle(client, self.gate), DATABASE, clock, sleep=asyncio.sleep)
        self.store.credentials = self.store.row_seal = OpenVault()
        self.intent: Trouble | None = None
        """What befalls the next operation that makes an attempt's intent durable."""
        self._befall_intents()
        connector: Connector = mis.connector(Pass(name, self.gate.pass_to_mis))
        host = ConnectorHost({NAME: connector}, {})

        def new_id() -> str:
            return new_uuid(rng).hex

        self.supervisor = Supervisor(self.store, host, clock, SyncOptions(), name, new_id)
        self.service, self.dispatcher = write_back(
            Surroundings(self.store, host, clock, OPTIONS),
            name,
            new_id,
            notify=partial(self.supervisor.notify, requested_by=REQUESTED_BY),
        )

    def _befall_intents(self) -> None:
        save = self.store.writes.save

        async def saved(entry: WriteEntry) -> bool:
            if self.intent is not None and entry.write.state == pb.WRITE_STATE_SENDING:
                self.gate.trouble, self.intent = self.intent, None
                self.gate.trouble.at = self.gate.operations + 1
            return await save(entry)

        self.store.writes.save = saved  # type: ignore[method-assign]

    async def start(self) -> None:
        await self.store.prepare()
        await self.supervisor.start()
        await self.dispatcher.start()

    async def stop(self) -> None:
        await self.dispatcher.stop()
        await self.supervisor.stop()
