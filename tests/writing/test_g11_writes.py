"""G11, G14 and G19 at volume: real servers, a real store, a MIS of its own, and what befalls them all.

``make writes`` asks for a thousand writes of each class of safety; an ordinary test run for a few. Servers
are killed (SIGKILL) at every step of a write of each class (``tests.support.write_mis.servers`` says what a
step is), and then at any moment while writes are submitted, some of them several times at once and again
after restarts. The MIS errs before and after it has acted, drops connections, answers late or too late, acts
on requests whose clients have gone, and is restarted. The kill switch is thrown once. With many writes the
store is a replica set of three that loses its primary.

At the end everything is counted: in the MIS's own files, and in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from schoolgate_sdk import WriteSafety
from tests.support.mongo import data_folder, empty_databases, mongo_database, mongo_uri
from tests.support.replica_set import ReplicaSet, new_database, replica_set, three_nodes
from tests.support.write_mis import faults
from tests.support.write_mis.faults import Odds
from tests.support.write_mis.process import WriteMisProcess, install_plugin, write_mis
from tests.support.write_mis.servers import ServerMaker
from tests.writing.asking import Asked, asked
from tests.writing.campaign import Campaign, campaign
from tests.writing.conftest import FEW
from tests.writing.verdict import judge

__all__ = ["empty_databases", "mongo_database", "mongo_uri", "new_database", "replica_set", "three_nodes"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("replica set")]

PUPILS = 40
SCHOOLS = [f"school-{number}" for number in range(6)]
MOST_STEPS = 28
FEW_STEPS = 6
"""Of so many steps one is tried of each class where the writes are few."""
_STEPS = ("insert", "lease", "save sending", "gate", "save sent", "save confirmed")
SETTLE = 4.0
ODDS = Odds(
    seed=1,
    of={
        faults.BEFORE: 0.04,
        faults.AFTER: 0.05,
        faults.DROPPED: 0.05,
        faults.DROPPED_BEFORE: 0.03,
        faults.ASYNCHRONOUS: 0.05,
        faults.HELD: 0.03,
        faults.BUSY: 0.02,
        faults.SLOW: 0.05,
        faults.EXITS: 0.002,
        faults.EXITS_AFTER: 0.003,
    },
    held=(1.2, SETTLE - 0.5),
    delay=(0.1, SETTLE - 0.5),
)


@pytest.fixture
def mis() -> Generator[WriteMisProcess]:
    with data_folder() as folder, write_mis(Path(folder), pupils=PUPILS) as running:
        yield running


@pytest.fixture
def store(writes_per_class: int, request: pytest.FixtureRequest) -> tuple[str, str, ReplicaSet | None]:
    """Return the URI and the database of the store, and the replica set where it is one of three."""
    if writes_per_class > FEW:
        nodes: ReplicaSet = request.getfixturevalue("replica_set")
        return nodes.uri, request.getfixturevalue("new_database"), nodes
    return request.getfixturevalue("mongo_uri"), request.getfixturevalue("mongo_database"), None


@pytest.fixture
def maker(store: tuple[str, str, ReplicaSet | None], tmp_path: Path) -> Generator[ServerMaker]:
    key = tmp_path / "vault.key"
    key.write_bytes(b"\x07" * 96)
    uri, database, _ = store
    settings = {
        "SCHOOLGATE_MONGO__URI": uri,
        "SCHOOLGATE_MONGO__DATABASE": database,
        "SCHOOLGATE_VAULT__KEY_FILE": str(key),
        "SCHOOLGATE_LISTEN__PORT": "0",
        "SCHOOLGATE_CONNECTORS": "ledgermis",
        "SCHOOLGATE_WRITEBACK__SETTLE_S": str(SETTLE),
        "SCHOOLGATE_WRITEBACK__SCHOOLS_AT_WORK": "200",
        "SCHOOLGATE_WRITEBACK__CONCURRENCY": "8",
        "SCHOOLGATE_SYNC__CONCURRENCY": "4",
        # The MIS is spared nothing, and one that was away is asked again soon.
        "SCHOOLGATE_TRAFFIC__HOST_RATE": "10000",
        "SCHOOLGATE_TRAFFIC__HOST_BURST": "10000",
        "SCHOOLGATE_TRAFFIC__HOST_CONCURRENCY": "100",
        "SCHOOLGATE_TRAFFIC__SCHOOL_RATE": "10000",
        "SCHOOLGATE_TRAFFIC__SCHOOL_BURST": "10000",
        "SCHOOLGATE_TRAFFIC__SCHOOL_CONCURRENCY": "8",
        "SCHOOLGATE_TRAFFIC__CIRCUIT_FAILURES": "1000",
    }
    making = ServerMaker(settings, install_plugin(tmp_path / "plugin"), tmp_path / "servers.log")
    yield making
    making.close()


@pytest.mark.timeout(1800)
async def test_g11_no_write_takes_effect_twice_and_none_is_lost(
    maker: ServerMaker,
    mis: WriteMisProcess,
    store: tuple[str, str, ReplicaSet | None],
    writes_per_class: int,
    record_property: Callable[[str, object], None],
) -> None:
    is_whole = writes_per_class > FEW
    async with campaign(maker, mis, seed=1) as running:
        stepped = [
            (step, asked(f"step-{safety.value.replace('_', '-')}-{step}", safety, 1, PUPILS))
            for number, safety in enumerate(WriteSafety)
            for step in (
                range(1, MOST_STEPS + 1) if is_whole else range(number + 1, MOST_STEPS + 1, FEW_STEPS)
            )
        ]
        first = await running.start()
        await running.register([*SCHOOLS, *(each.school for _, each in stepped)])
        await running.kill(first)
        killed = await _kill_at_every_step(running, stepped)
        many = [
            asked(SCHOOLS[number % len(SCHOOLS)], safety, number, PUPILS)
            for safety in WriteSafety
            for number in range(writes_per_class)
        ]
        await _work(running, many, store[2])
        everything = [*killed, *many]
        schools = [*SCHOOLS, *(each.school for each in killed)]
        await running.settle(schools, 60)
        ledger = await running.ledger(schools)
        running.events["restarts of the MIS"] = mis.restarts
        verdict = judge(everything, ledger, mis.effects(), mis.noted())
        verdict.wrong += running.problems
        verdict.events.update(running.events)
        verdict.record()
        record_property("writes", verdict.lines())
        assert not verdict.wrong, "\n".join([*verdict.lines(), *verdict.wrong[:40]])
        if is_whole:
            _assert_all_steps(killed)


async def _kill_at_every_step(running: Campaign, stepped: list[tuple[int, Asked]]) -> list[Asked]:
    """Have one server after the other die at one step more of a write; return the writes."""
    killed: list[Asked] = []
    over: set[WriteSafety] = set()
    for step, each in stepped:
        if each.safety in over:
            continue
        up = await running.start(each.school, step)
        await running.try_to_submit(each, up)
        at = await asyncio.to_thread(running.maker.wait, up.serving, 6.0)
        if at is None:
            over.add(each.safety)
            await running.kill(up)
        else:
            each.at = at
            running.gone.append(up)
            running.events["servers killed at a step"] += 1
            running.events[f"killed {at} ({each.safety.value})"] += 1
        killed.append(each)
    return killed


async def _work(running: Campaign, many: list[Asked], nodes: ReplicaSet | None) -> None:
    """Submit all while servers are killed, the MIS misbehaves, and whatever else is to happen happens."""
    await asyncio.gather(running.start(), running.start())
    await asyncio.to_thread(running.mis.set_odds, ODDS)
    killing = asyncio.create_task(running.kill_now_and_then((2.0, 6.0)))
    half = len(many) // 2
    try:
        failing = [] if nodes is None else [_fail_over(running, nodes)]
        await asyncio.gather(running.submit_all(many[::2], at_once=24, again=0.1), *failing)
        switching = asyncio.create_task(running.throw_the_switch(SCHOOLS, 3.0))
        await running.submit_all(many[1::2], at_once=24, again=0.1)
        await switching
        await running.submit_all(running.rng.sample(many, half // 8), at_once=24, again=0.0)
    finally:
        killing.cancel()
        [ended] = await asyncio.gather(killing, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended


async def _fail_over(running: Campaign, nodes: ReplicaSet) -> None:
    """End the primary while writes are under way, and bring the member back."""
    await asyncio.sleep(3.0)
    lost = await asyncio.to_thread(nodes.wait_for_primary)
    await asyncio.to_thread(nodes.kill, lost)
    await asyncio.to_thread(nodes.wait_for_primary, lost)
    await asyncio.to_thread(nodes.restart, lost)
    running.events["failovers"] += 1


def _assert_all_steps(killed: list[Asked]) -> None:
    """A server was killed around each step, for each class."""
    for safety in WriteSafety:
        steps = {each.at for each in killed if each.safety is safety}
        around = {f"{when} {what}" for when in ("before", "after") for what in _STEPS}
        assert around | {"after answer"} <= steps, f"{safety}: no server was killed {sorted(around - steps)}"
