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
FIRST_STEPPED = 50_000
"""Number of the first write at whose steps a server dies: one MIS has all schools, and none are alike."""
SCHOOLS = [f"school-{number}" for number in range(6)]
STEPS = (
    *(("before insert", 1), ("after insert", 1), ("before lease", 1), ("after lease", 1)),
    *(("before save sending", 1), ("after save sending", 1), ("before gate", 1), ("after gate", 1)),
    *(("after answer", 1), ("before save sent", 1), ("after save sent", 1)),
    *(("before save sent", 2), ("after save sent", 2)),
    *(("before save confirmed", 1), ("after save confirmed", 1)),
    *(("before lease", 2), ("after lease", 2)),
)
"""Every step of a write that goes well, with the how manieth of its name; the latest of all are those of the
re-read that confirms, which a note has none of."""
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
    async with campaign(maker, mis, seed=1) as running:
        stepped = _stepped(is_whole=writes_per_class > FEW)
        first = await running.start()
        await running.register([*SCHOOLS, *(each.school for each, _, _ in stepped)])
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


def _stepped(*, is_whole: bool) -> list[tuple[Asked, str, int]]:
    """Return a write of a school of its own for each class and step; or all steps once."""
    stepped: list[tuple[Asked, str, int]] = []
    for number, safety in enumerate(WriteSafety):
        steps = STEPS if safety is not WriteSafety.NONE else STEPS[:-2]
        for place, (step, time) in enumerate(steps):
            if is_whole or place % len(WriteSafety) == number:
                school = f"step-{safety.value.replace('_', '-')}-{place}"
                stepped.append((asked(school, safety, FIRST_STEPPED + place, PUPILS), step, time))
    return stepped


async def _kill_at_every_step(running: Campaign, stepped: list[tuple[Asked, str, int]]) -> list[Asked]:
    """Have one server after the other die at a step of a write; return the writes."""
    for each, step, time in stepped:
        up = await running.start(each.school, step, time)
        running.gone.append(up)
        await running.try_to_submit(each, up)
        at = await asyncio.to_thread(running.maker.wait, up.serving, 90.0)
        assert at == step, f"{each.key}: a server was to die {step}, and did {at!r}"
        running.events["servers killed at a step"] += 1
    return [each for each, _, _ in stepped]


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
