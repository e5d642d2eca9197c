"""Every read of the ledger is by an index of its own, and reads little more than what it returns.

Seen to fail without each of the indexes by itself, which is what the last test does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.clock import system_clock
from schoolgate_server.model.writes import OPEN, WriteConditions
from schoolgate_server.store.indexes import INDEXES
from schoolgate_server.store.store import Store
from schoolgate_server.store.together import together
from tests.support.mongo import mongo_uri
from tests.support.plans import Captured, stages_of, within
from tests.support.writes import BEHAVIOUR, MARK, START, ShiftSeal, behaviour, mark, new_write

__all__ = ["mongo_uri"]

pytestmark = [
    pytest.mark.mongod,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("plans"),
]

SCHOOL, ELSEWHERE = "oak", "elm"
MANY = 1200
"""Writes of each school."""
PAGE = 10
SLACK = 30
"""Keys and documents that a read may look at beside what it returns: to seek, and where it stops."""
DONE = pb.WRITE_STATE_CONFIRMED
UNDER_WAY = (pb.WRITE_STATE_PENDING, pb.WRITE_STATE_SENT, pb.WRITE_STATE_NEEDS_ATTENTION)


class Ledger:
    """Two schools' writes: most of them done, some under way, a few of each kind that is looked for."""

    def __init__(self, store: Store, captured: Captured) -> None:
        self.store = store
        self.captured = captured

    async def fill(self) -> None:
        for number in range(MANY):
            for school in (SCHOOL, ELSEWHERE):
                is_open = number % 20 == 0
                entry = new_write(
                    f"key-{number}",
                    school=school,
                    minute=number,
                    operation=mark("stu_9") if number % 2 else behaviour(f"stu_{number}"),
                    state=UNDER_WAY[number // 20 % 3] if is_open else DONE,
                    student_id="stu_9" if number % 2 else f"stu_{number}",
                    due_at=START + timedelta(minutes=number) if is_open else None,
                    keys=[f"k{number}"],
                )
                entry.write.mis_ids.append(str(number))
                entry.write.record_ids.append(f"rec_{number}")
                await self.store.writes.insert(entry)

    async def ask(self) -> None:
        """Send every read that the ledger has, one after the other."""
        writes, entry = self.store.writes, new_write("key-1101", minute=1101, operation=mark("stu_9"))
        half = START + timedelta(minutes=MANY // 2)
        needing = frozenset({pb.WRITE_STATE_NEEDS_ATTENTION})
        for conditions in (
            WriteConditions(),
            WriteConditions(states=needing),
            WriteConditions(states=OPEN),
            WriteConditions(student_id="stu_9"),
            WriteConditions(student_id="stu_40", states=needing),
            WriteConditions(record_id="rec_7"),
            WriteConditions(mis_id="7"),
            WriteConditions(mis_id="7", states=needing, student_id="stu_9"),
            WriteConditions(idempotency_key="key-7"),
        ):
            for after in (None, (half, entry.write_id)):
                self.captured.label = f"{conditions} after {after}"
                await writes.list(SCHOOL, conditions, after, PAGE)
        operations, late = [BEHAVIOUR, MARK], START + timedelta(minutes=MANY)
        reads: list[tuple[Callable[..., Awaitable[Any]], tuple[Any, ...]]] = [
            (writes.get, (SCHOOL, entry.write_id)),
            (writes.open_of, (SCHOOL, PAGE)),
            (writes.changed, (SCHOOL, half, PAGE)),
            (writes.due, ("live", late, PAGE)),
            (writes.due_of, (SCHOOL, "live", late, PAGE)),
            (writes.ahead, (entry,)),
            (writes.last_position, (SCHOOL, entry.slot)),
            (writes.queued, (SCHOOL, "live", operations, PAGE)),
            (writes.counts, (SCHOOL, "live", operations)),
            (writes.accepted_since, (SCHOOL, "live", MARK, half, PAGE)),
            (writes.claimed, (SCHOOL, MARK, ["7", "9"], entry.write_id)),
            (writes.made, (SCHOOL, ["rec_7", "rec_9"])),
            (writes.made_by_keys, (SCHOOL, ["k20", "k9"])),
            (writes.followed, (SCHOOL,)),
            (self.store.write_policies.get, (SCHOOL, "live")),
            (writes.requeue, (SCHOOL, "live", operations, START)),
        ]
        for read, asked in reads:
            self.captured.label = read.__name__
            await read(*asked)
        self.captured.label = "what a submission asks at once"
        async with together():
            await asyncio.gather(
                self.store.write_policies.get(SCHOOL, "live"),
                writes.find(SCHOOL, entry.write_id),
                writes.last_position(SCHOOL, entry.slot),
            )

    async def wrong(self) -> list[str]:
        """Return the reads that look at more than they return, and how."""
        database = self.store.database.driver
        found: list[str] = []
        for shape, command in list(self.captured.commands.items()):
            asked: dict[str, Any] = {**command, "cursor": {}} if "aggregate" in command else command
            answer = await database.command("explain", asked, verbosity="executionStats")
            stages = list(stages_of(answer))
            stats = list(_stats_of(answer))
            names = {stage["stage"] for stage in stages}
            read = sum(each["totalDocsExamined"] for each in stats)
            looked = max(sum(each["totalKeysExamined"] for each in stats), read)
            counted = "aggregate" in command and not read
            returned = sum(each["nReturned"] for each in stats)
            if names & {"COLLSCAN", "SORT"} or (looked > returned + SLACK and not counted):
                found.append(f"{self.captured.said[shape]}: {looked} looked at by {sorted(names)}: {command}")
        return found


def _stats_of(explained: Any) -> Iterator[dict[str, Any]]:
    """Yield what MongoDB counted for each collection that a command reads."""
    for name, part in within(explained):
        if name == "executionStats":
            yield part
        else:
            yield from _stats_of(part)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ledger(mongo_uri: str) -> AsyncGenerator[Ledger]:
    captured = Captured()
    handle: Any = AsyncMongoClient[Any](mongo_uri, serverMonitoringMode="poll", event_listeners=[captured])
    store = Store.open(handle, "write_plans", system_clock)
    store.row_seal = ShiftSeal()
    await store.prepare()
    filled = Ledger(store, captured)
    await filled.fill()
    captured.commands.clear()
    yield filled
    await handle.drop_database("write_plans")
    await store.close()


async def test_no_read_of_the_ledger_looks_at_more_than_it_returns(ledger: Ledger) -> None:
    ledger.captured.commands.clear()
    await ledger.ask()
    assert len(ledger.captured.commands) > 25
    assert await ledger.wrong() == []


@pytest.mark.parametrize("index", [model.document["name"] for model in INDEXES["writes"]])
async def test_each_index_is_needed(ledger: Ledger, index: str) -> None:
    """Reads are told which index to go by, and fail without it."""
    await ledger.store.database.driver["writes"].drop_index(index)
    try:
        with pytest.raises(OperationFailure):
            await ledger.ask()
    finally:
        await ledger.store.prepare()
