"""What the store relies on of transactions, of each driver and of the one that is emulated."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import AutoReconnect

from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.limits import limited
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step


async def test_nobody_sees_a_transaction_before_it_commits_and_everybody_all_of_it_then(store: Store) -> None:
    fences = store.database.collection("fences")
    await fences.insert_one({"_id": "a", "n": 1})
    session = await store.database.session()
    inside = fences.within(session)
    async with session.transaction():
        await inside.update_one({"_id": "a"}, {"$set": {"n": 2}})
        await inside.insert_many([{"_id": "b", "n": 2}])
        assert await inside.count({"n": 2}) == 2
        assert await fences.find({}) == [{"_id": "a", "n": 1}]
        await session.commit()
    assert await fences.count({"n": 2}) == 2


async def test_what_was_not_committed_is_undone(store: Store) -> None:
    fences = store.database.collection("fences")
    session = await store.database.session()
    async with session.transaction():
        await fences.within(session).insert_many([{"_id": "a"}])
    assert await fences.count({}) == 0


async def test_of_two_transactions_that_write_one_document_the_later_one_fails(store: Store) -> None:
    fences = store.database.collection("fences")
    await fences.insert_one({"_id": "a", "n": 1})
    first, second = [await store.database.session() for _ in range(2)]
    async with first.transaction(), second.transaction():
        await fences.within(first).update_one({"_id": "a"}, {"$inc": {"n": 1}})
        with pytest.raises(StoreUnavailable):
            await fences.within(second).update_one({"_id": "a"}, {"$inc": {"n": 1}})
        await first.commit()
    assert await fences.find({}) == [{"_id": "a", "n": 2}]


async def test_a_transaction_fails_at_what_changed_since_it_began(store: Store) -> None:
    fences = store.database.collection("fences")
    await fences.insert_one({"_id": "a", "n": 1})
    session = await store.database.session()
    async with session.transaction():
        assert await fences.within(session).count({"n": 1}) == 1
        await fences.update_one({"_id": "a"}, {"$set": {"n": 2}})
        assert await fences.within(session).count({"n": 1}) == 1
        with pytest.raises(StoreUnavailable):
            await fences.within(session).update_one({"_id": "a"}, {"$inc": {"n": 1}})
    assert await fences.find({}) == [{"_id": "a", "n": 2}]


async def test_a_plain_write_waits_for_an_open_transaction_until_somebody_ends_that(store: Store) -> None:
    fences = store.database.collection("fences")
    session = await store.database.session()
    async with session.transaction():
        await fences.within(session).insert_many([{"_id": "a", "n": 1}])
        with pytest.raises(StoreUnavailable), limited(0.3):
            await fences.update_one({"_id": "a"}, {"$set": {"n": 7}}, upsert=True)
        waiting = asyncio.create_task(fences.update_one({"_id": "a"}, {"$set": {"n": 8}}, upsert=True))
        await store.database.end_sessions([session.number])
        await waiting
        with pytest.raises(StoreUnavailable):
            await session.commit()
    assert await fences.find({}) == [{"_id": "a", "n": 8}]
    async with session.transaction():  # the session itself goes on
        await fences.within(session).insert_many([{"_id": "b"}])
        await session.commit()


async def test_a_commit_whose_answer_is_lost_is_sent_again(opened: OpenStore) -> None:
    sent = 0

    async def lose(step: Step) -> None:
        nonlocal sent
        if (step.operation, step.moment) == ("commit_transaction", "after"):
            sent += 1
            if sent == 1:
                lost = AutoReconnect("the answer is lost")
                getattr(lost, "_add_error_label")("UnknownTransactionCommitResult")  # noqa: B009 - as drivers do
                raise lost

    store = opened(lose)
    await store.prepare()
    fences = store.database.collection("fences")
    session = await store.database.session()
    async with session.transaction():
        await fences.within(session).insert_many([{"_id": "a"}])
        await session.commit()
    assert sent == 2
    assert await fences.count({}) == 1
