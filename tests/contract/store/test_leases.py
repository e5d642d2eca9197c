"""Leases: one owner per school, and what becomes of one that was too slow."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from schoolgate_server.store.errors import LeaseLost
from schoolgate_server.store.leases import GRACE
from schoolgate_server.store.store import Store
from tests.support.store_samples import TTL, SettableClock, commit, leased, states, student


async def test_a_school_has_one_owner(store: Store) -> None:
    lease = await leased(store)
    assert lease.owner == "server-1"
    assert await store.leases.acquire("oak", "server-2", TTL) is None
    assert await store.leases.acquire("oak", "server-1", TTL) is None
    assert await store.leases.acquire("elm", "server-2", TTL) is not None


async def test_g15_of_many_that_ask_at_once_one_gets_it(store: Store) -> None:
    asked = [store.leases.acquire("oak", f"server-{number}", TTL) for number in range(10)]
    assert sum(lease is not None for lease in await asyncio.gather(*asked)) == 1


async def test_a_released_school_is_free_at_once(store: Store) -> None:
    lease = await leased(store)
    await store.leases.release(lease)
    assert (await leased(store, owner="server-2")).epoch == lease.epoch + 1


async def test_an_expired_lease_is_waited_out(store: Store, clock: SettableClock) -> None:
    await leased(store)
    clock.advance(seconds=TTL.total_seconds())
    assert await store.leases.acquire("oak", "server-2", TTL) is None
    clock.advance(seconds=GRACE.total_seconds())
    assert await store.leases.acquire("oak", "server-2", TTL) is not None


async def test_a_renewed_lease_lasts_longer(store: Store, clock: SettableClock) -> None:
    lease = await leased(store)
    clock.advance(seconds=20)
    renewed = await store.leases.renew(lease)
    assert renewed.expires_at == clock.now + TTL
    assert renewed.epoch == lease.epoch
    clock.advance(seconds=20)
    assert await store.leases.acquire("oak", "server-2", TTL) is None
    assert await commit(store, renewed, student(1, "Ash")) == 1


async def test_a_holder_hears_of_runs_that_are_to_stop_as_it_renews_its_lease(store: Store) -> None:
    await store.leases.cancel("oak", "run_0001")  # there is no such school yet
    lease = await store.leases.renew(await leased(store))
    assert lease.cancelled == frozenset()
    for run_id in ("run_0001", "run_0002", "run_0001"):
        await store.leases.cancel("oak", run_id)
    await store.leases.cancel("elm", "run_0003")
    lease = await store.leases.renew(lease)
    assert lease.cancelled == {"run_0001", "run_0002"}
    await store.leases.release(lease)
    await store.leases.cancel("oak", "run_0004")  # nobody holds it
    assert (await store.leases.renew(await leased(store))).cancelled == frozenset()


async def test_a_lease_that_expired_is_lost_without_asking_anybody(
    store: Store, clock: SettableClock
) -> None:
    lease = await leased(store)
    clock.advance(seconds=TTL.total_seconds())
    with pytest.raises(LeaseLost):
        await store.leases.renew(lease)
    with pytest.raises(LeaseLost):
        await commit(store, lease, student(1, "Ash"))
    with pytest.raises(LeaseLost):
        await store.commits.recover(lease)
    assert await states(store, "students") == []


async def test_g15_the_epoch_of_another_owner_refuses_a_lease_whose_clock_runs_slow(
    store: Store, clock: SettableClock
) -> None:
    lease = await leased(store)
    clock.advance(seconds=(TTL + GRACE).total_seconds())
    successor = await leased(store, owner="server-2")
    clock.advance(seconds=-30)  # as the old owner sees it
    with pytest.raises(LeaseLost):
        await store.leases.renew(lease)
    with pytest.raises(LeaseLost):
        await commit(store, lease, student(1, "Ash"))
    with pytest.raises(LeaseLost):
        await store.commits.recover(lease)
    await store.leases.release(lease)
    assert await store.leases.acquire("oak", "server-3", timedelta(seconds=1)) is None
    assert await commit(store, successor, student(1, "Ash")) == 1


async def test_the_head_of_a_school_without_commits_is_zero(store: Store) -> None:
    assert (await store.leases.head("oak")).published == 0
    await leased(store)
    head = await store.leases.head("oak")
    assert (head.published, head.published_at, head.totals) == (0, None, {})
