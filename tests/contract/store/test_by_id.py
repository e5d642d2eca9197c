"""Many records of a school are found by their ids at the same cost, however many commits there were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from schoolgate.v1.record_pb2 import CHANGE_CAUSE_REPROJECTION
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import Driver
from tests.support.store_samples import commit, leased, student, student_id

_COMMITS, _SIZE = 12, 120
"""As much as MongoDB keeps the profile of; each is enough for MongoDB to settle on a plan."""

_PARTS = [range(first, _COMMITS * _SIZE, _COMMITS) for first in range(_COMMITS)]
"""What was written together does not lie together, as of real ids, which are random."""

Look: TypeAlias = Callable[[Store, list[str]], Awaitable[int]]


async def test_what_a_commit_replaces(store: Store, driver: Driver) -> None:
    driver.requires("plans")
    lease = await leased(store)
    for part in _PARTS:
        await commit(store, lease, *(student(number, "Ash") for number in part))
    await _profile(store, on=True)
    for part in _PARTS:  # in the order of the first load, which is the MIS's
        await commit(store, lease, *(student(number, "Bly", 1) for number in part))
    seen = await _profile(store, on=False)
    assert len(seen) == 2 * _COMMITS
    assert max(one["keysExamined"] for one in seen) <= 2 * _SIZE


async def _states(store: Store, ids: list[str]) -> int:
    return sum([len(states.record_ids) async for states in store.records.states_of("oak", ids)])


async def _reread(store: Store, ids: list[str]) -> int:
    return sum([len(found) async for found in store.readings.reread("oak", ids, 0)])


async def _stored(store: Store, ids: list[str]) -> int:
    return len(await store.moves.stored("oak", ids))


async def _many(store: Store, ids: list[str]) -> int:
    return len(await store.records.many("oak", ids))


@pytest.mark.parametrize("look", [_states, _reread, _stored, _many])
async def test_what_is_asked_for(store: Store, driver: Driver, look: Look) -> None:
    driver.requires("plans")
    lease = await leased(store)
    for part in _PARTS:
        changes = (student(number, "Ash") for number in part)
        await commit(store, lease, *(each._replace(cause=CHANGE_CAUSE_REPROJECTION) for each in changes))
    await _profile(store, on=True)
    for part in _PARTS:
        assert await look(store, [student_id(number) for number in part]) == _SIZE
    seen = await _profile(store, on=False)
    assert len(seen) == _COMMITS
    assert max(one["keysExamined"] for one in seen) <= 2 * _SIZE


async def _profile(store: Store, *, on: bool) -> list[dict[str, Any]]:
    """Begin to note what is looked for in ``records``, or end it and return what was."""
    await store.database.driver.command({"profile": 2 if on else 0})
    profile = store.database.driver["system.profile"]
    wanted = {"op": {"$in": ["query", "remove"]}, "ns": {"$regex": "records$"}}
    seen: list[dict[str, Any]] = await profile.find(wanted).to_list(None)
    if not on:
        await profile.drop()
    return seen
