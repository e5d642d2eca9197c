"""The same over a real mongod, in real time: a server that is gone, and the kill switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import WriteRequest, WriteSafety
from schoolgate_server.model.clock import system_clock
from schoolgate_server.store.store import Store
from tests.simulation.handle import Gate
from tests.simulation.server import OpenVault
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.write_stage import OPTIONS, Stage, outcomes_of, state_of

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]

pytestmark = pytest.mark.mongod

QUICK = replace(
    OPTIONS,
    interval=timedelta(seconds=0.1),
    linger=timedelta(seconds=0.2),
    stop_grace=timedelta(seconds=0.2),
    look_first=timedelta(seconds=0.1),
)


class RealStage(Stage):
    """A stage over a real mongod; its clock is the machine's, and can be set forward."""

    def __init__(self, uri: str, database: str, safety: WriteSafety) -> None:
        self._uri = uri
        self._database = database
        self._stores: list[Store] = []
        super().__init__(safety, options=QUICK)
        self._time = system_clock

    def new_store(self, gate: Gate) -> Store:
        handle: Any = AsyncMongoClient[Any](self._uri, serverMonitoringMode="poll")
        store = Store.open(handle, self._database, self.clock)
        store.credentials = store.row_seal = OpenVault()
        self._stores.append(store)
        return store

    async def close(self) -> None:
        await super().close()
        for store in self._stores:
            await store.close()


@pytest.fixture(params=list(WriteSafety))
async def stage(
    request: pytest.FixtureRequest, mongo_uri: str, mongo_database: str
) -> AsyncGenerator[RealStage]:
    made = RealStage(mongo_uri, mongo_database, request.param)
    await made.prepare()
    yield made
    await made.close()


async def test_g11_a_server_that_is_gone_is_stood_in_for(stage: RealStage) -> None:
    gone = asyncio.Event()

    async def never(request: WriteRequest) -> None:
        stage.mis.answer = lambda request: None
        gone.set()
        await asyncio.Event().wait()

    stage.mis.answer = never
    first = await stage.server()
    await stage.submit()
    await gone.wait()
    first.die()
    await first.dispatcher.stop()  # its last word is that the outcome is unknown
    stage.stall(QUICK.attempt + QUICK.settle + timedelta(seconds=10))
    await stage.server()
    (entry,) = await stage.settled("k1", within=30)
    expected = "NEEDS_ATTENTION" if stage.mis.safety is WriteSafety.NONE else "CONFIRMED"
    assert state_of(entry) == expected
    assert outcomes_of(entry)[0] == "UNKNOWN"
    assert len(stage.mis.effects) == 1


async def test_g19_the_switch_acts_within_a_second(stage: RealStage) -> None:
    async def waits_for_its_turn(request: WriteRequest) -> None:
        await asyncio.sleep(0.3)

    stage.mis.prepare = waits_for_its_turn
    for number in range(40):
        await stage.submit(f"k{number}", pupil=1 + number)
    await stage.server()
    while not stage.mis.left:
        await asyncio.sleep(0.02)
    await stage.set_policy(pb.WRITE_POLICY_OFF)
    await asyncio.sleep(1)
    gone = len(stage.mis.left)
    await asyncio.sleep(2)
    assert len(stage.mis.left) == gone < 40
    states = [await stage.state(f"k{number}") for number in range(40)]
    assert states.count("PENDING") == 40 - gone
