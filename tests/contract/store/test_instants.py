"""Points in time as seqs: every published commit, and what was answered stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step
from tests.support.store_samples import SettableClock, commit, leased, student


async def test_every_time_has_the_seq_that_was_the_latest_then(store: Store, clock: SettableClock) -> None:
    begun = clock.now
    assert await store.instants.seq_at("oak", begun) == 0
    lease = await leased(store)
    times = [begun]
    for number in range(6):
        clock.advance(seconds=3)
        times.append(clock.now)
        await commit(store, lease, student(number, "Ash"))
        lease = await store.leases.renew(lease)
    clock.advance(seconds=3)
    for seq, time in enumerate(times):
        assert await store.instants.seq_at("oak", time) == seq
        assert await store.instants.seq_at("oak", time + timedelta(seconds=2.9)) == seq
    assert await store.instants.seq_at("oak", begun - timedelta(days=400)) == 0
    assert await store.instants.seq_at("elm", clock.now) == 0


async def test_what_has_not_come_yet_is_refused(store: Store, clock: SettableClock) -> None:
    with pytest.raises(ServiceError) as refusal:
        await store.instants.seq_at("oak", clock.now + timedelta(milliseconds=1))
    assert [violation.field for violation in refusal.value.violations] == ["known_at"]


async def test_g12_a_commit_takes_no_time_that_was_asked_about(store: Store, clock: SettableClock) -> None:
    """Seen to fail with commit_time not looking at ``known_until``."""
    lease = await leased(store)
    random = Random(5)
    answers: dict[datetime, int] = {}
    for number in range(20):
        for _ in range(random.randrange(3)):
            time = clock.now - timedelta(milliseconds=random.randrange(4))
            answers.setdefault(time, await store.instants.seq_at("oak", time))
        await commit(store, lease, student(number, "Ash"))
        clock.advance(milliseconds=random.randrange(2))
    clock.advance(seconds=1)
    assert {time: await store.instants.seq_at("oak", time) for time in answers} == answers


async def test_g12_a_commit_on_its_way_takes_no_time_that_was_asked_about(
    opened: OpenStore, clock: SettableClock
) -> None:
    """Asked between the reading of the head and the announcement.

    Seen to fail without the condition on ``known_until`` in the announcement.
    """
    reader = opened()
    await reader.prepare()
    answers: list[int] = []

    async def ask(step: Step) -> None:
        if (step.moment, step.collection, step.operation) == ("before", "heads", "update_one"):
            answers.append(await reader.instants.seq_at("oak", clock.now))

    lease = await leased(reader)
    await commit(opened(ask), lease, student(1, "Ash"))
    assert len(answers) >= 2
    assert set(answers) == {0}
    assert await reader.instants.seq_at("oak", clock.now) == 0
    clock.advance(seconds=1)
    assert await reader.instants.seq_at("oak", clock.now) == 1


async def test_a_commit_that_is_under_way_is_waited_for(opened: OpenStore, clock: SettableClock) -> None:
    reader = opened()
    await reader.prepare()
    refused: list[str] = []

    async def ask(step: Step) -> None:
        if (step.moment, step.collection, step.operation) == ("before", "records", "insert_many"):
            with pytest.raises(ServiceError) as refusal:
                await reader.instants.seq_at("oak", clock.now)
            refused.append(refusal.value.message)
            assert await reader.instants.seq_at("oak", clock.now - timedelta(milliseconds=1)) == 0

    lease = await leased(reader)
    await commit(opened(ask), lease, student(1, "Ash"))
    assert refused == ["a commit of that time is under way"]
    assert await reader.instants.seq_at("oak", clock.now) == 1
