"""What a worker keeps in mind of who waits in a slot."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.writeback.school import SchoolWrites
from schoolgate_server.writeback.worker import Worker
from tests.support.writes import new_write


def write(key: str, state: pb.WriteState.ValueType, waits_for: str = "") -> WriteEntry:
    entry = new_write(key, state=state, slot="s")
    entry.write.waits_for = waits_for
    return entry


async def test_two_writes_of_one_slot_may_end_together() -> None:
    """The first one is still looking for who comes next. Seen to fail where it takes the slot for its own."""
    looks, goes_on = asyncio.Event(), asyncio.Event()

    async def find(school_id: str, write_id: str) -> None:
        looks.set()
        await goes_on.wait()

    school: Any = SimpleNamespace(school_id="oak", store=SimpleNamespace(writes=SimpleNamespace(find=find)))
    worker = Worker(cast("SchoolWrites", school), lambda: False)
    minds: Any = getattr(worker, "_mind_the_slot")  # noqa: B009 - what a step ends with, alone
    await minds(write("b", pb.WRITE_STATE_PENDING, "a"))
    first = asyncio.create_task(minds(write("a", pb.WRITE_STATE_CONFIRMED)))
    await looks.wait()
    await minds(write("b", pb.WRITE_STATE_CANCELLED))
    goes_on.set()
    await first
