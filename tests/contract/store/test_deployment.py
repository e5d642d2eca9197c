"""What the store asks of a deployment, and how it says that there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, ExecutionTimeout, NotPrimaryError, WTimeoutError

from schoolgate_server.store.errors import StoreMisconfigured, StoreUnavailable
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import Driver, OpenStore
from tests.support.faults import Step
from tests.support.store_samples import commit, leased, student


async def test_preparing_twice_is_harmless(store: Store) -> None:
    await store.prepare()
    await store.ping()


async def test_every_write_asks_for_a_majority(store: Store, driver: Driver) -> None:
    driver.requires("concerns")
    collection = store.database.collection("records").driver
    assert collection.write_concern.document == {"w": "majority"}
    assert collection.read_concern.document == {"level": "majority"}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"maxWireVersion": 21}, "replSet"),
        ({"setName": "x", "maxWireVersion": 17}, ""),
        ({"msg": "isdbgrid", "maxWireVersion": 21}, ""),
        ({"setName": "x", "maxWireVersion": 16}, r"older than 6\.0"),
        ({"setName": "x"}, r"older than 6\.0"),
    ],
)
async def test_a_standalone_or_old_server_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], wrong: str
) -> None:
    async def hello(command: str) -> dict[str, Any]:
        return answer

    monkeypatch.setattr(store.database, "command", hello)
    if not wrong:
        await store.prepare()
    else:
        with pytest.raises(StoreMisconfigured, match=wrong):
            await store.prepare()


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("gone"),
        NotPrimaryError("stepped down"),
        ExecutionTimeout("slow", code=50),
        WTimeoutError("slow", code=64),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "slow"}]}),
    ],
)
async def test_unavailability_has_one_name(opened: OpenStore, error: Exception) -> None:
    plain = opened()
    await plain.prepare()

    async def fail(step: Step) -> None:
        raise error

    lease = await leased(opened())
    store = opened(fail)
    with pytest.raises(StoreUnavailable):
        await store.leases.head("oak")
    with pytest.raises(StoreUnavailable):
        await store.raw_pages.put(lease, "students", b"1", b"rows")


async def test_g16_a_refused_write_does_not_quote_documents(opened: OpenStore) -> None:
    plain = opened()
    await plain.prepare()
    lease = await leased(plain)

    async def refuse(step: Step) -> None:
        if step.operation == "insert_many" and step.moment == "before":
            raise BulkWriteError(
                {"writeErrors": [{"code": 121, "errmsg": "no", "op": {"surname": "Secretname"}}]}
            )

    store = opened(refuse)
    with pytest.raises(Exception, match="refused 1 records") as raised:
        await commit(store, lease, student(1, "Secretname"))
    told: BaseException | None = raised.value
    while told is not None:
        assert "Secretname" not in str(told)
        told = told.__cause__


async def test_a_slow_operation_ends_with_the_lease(store: Store, driver: Driver, clock: Any) -> None:
    driver.requires("limits")
    lease = await leased(store)
    clock.advance(seconds=29.8)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StoreUnavailable), store.leases.holding(lease):
        await store.database.collection("heads").find({"$where": "sleep(5000) || true"})
    assert loop.time() - began < 3
