"""One write whose first request is held back for a time that is measured in settling times."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, TypeVar

from schoolgate.v1 import writeback_service_pb2 as pb
from tests.simulation.writing import judging
from tests.simulation.writing.asked import new_asked
from tests.simulation.writing.history import History
from tests.simulation.writing.mis import HELD
from tests.simulation.writing.server import OPTIONS, SETTLE

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

_T = TypeVar("_T")


class _Late(Random):
    """Draws the end of every span, so that what is held back is so for as long as it can be, and no wait."""

    def uniform(self, a: float, b: float) -> float:
        return b

    def choice(self, seq: SupportsLenAndGetItem[_T]) -> _T:
        return seq[0]


async def beyond(operation: str, late: float) -> int:
    """Return how often a write took effect whose first request came so many settling times late.

    They are counted from the end of the attempt's own time; nothing else befalls anybody.
    """
    history = History(0, late=OPTIONS.attempt.total_seconds() + late * SETTLE.total_seconds())
    await history.begin()
    history.mis.rng = _Late(0)
    held = [HELD]
    history.mis.strike = lambda: held.pop() if held else ""  # type: ignore[method-assign]
    number = 0
    asked = new_asked(history.rng, number, history.mis.students, history.now)
    while asked.operation != operation:
        number += 1
        asked = new_asked(history.rng, number, history.mis.students, history.now)
    history.asked.append(asked)
    await history.submit(asked, 1)
    await asyncio.sleep(10 * SETTLE.total_seconds())
    entries = await judging.entries_of(history)
    resting = {pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_NEEDS_ATTENTION}
    assert {entry.write.state for entry in entries} <= resting
    for server in [*history.servers]:
        await history.stop(server)
    return history.mis.effects[asked.key]
