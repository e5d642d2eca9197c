"""What may be written: OFF unless somebody said otherwise, for one school, environment and operation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.errors import AutoReconnect

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.write_policies import OperationRule, Policies
from schoolgate_server.model.writes import OPERATIONS, WriteConditions
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step
from tests.support.writes import BEHAVIOUR, MARK, START, ShiftSeal, new_write

AT = datetime(2026, 9, 7, 9, 30, tzinfo=UTC)
ON = OperationRule(pb.WRITE_POLICY_ON, 20, "office", AT)


async def test_g19_what_nobody_has_allowed_is_off(store: Store) -> None:
    """Seen to fail where an operation that is not named is ON."""
    assert await store.write_policies.get("oak", "live") == Policies()
    await store.write_policies.set("oak", "live", [BEHAVIOUR], pb.WRITE_POLICY_ON, 20, "office", AT)
    kept = await store.write_policies.get("oak", "live")
    assert kept.of(BEHAVIOUR) == ON
    assert {kept.of(name) for name in OPERATIONS if name != BEHAVIOUR} == {OperationRule()}
    assert OperationRule().policy == pb.WRITE_POLICY_OFF


async def test_g17_a_policy_is_for_one_school_and_one_environment(store: Store) -> None:
    """Seen to fail where the document's id leaves the environment out."""
    await store.write_policies.set("oak", "live", [BEHAVIOUR], pb.WRITE_POLICY_ON, 20, "office", AT)
    for school, environment in (("oak", "trial"), ("elm", "live")):
        assert await store.write_policies.get(school, environment) == Policies()


async def test_several_operations_are_set_at_once_and_the_others_stay(store: Store) -> None:
    await store.write_policies.set("oak", "live", [BEHAVIOUR], pb.WRITE_POLICY_ON, 20, "office", AT)
    later = AT + timedelta(minutes=1)
    others = [name for name in OPERATIONS if name != BEHAVIOUR]
    answer = await store.write_policies.set("oak", "live", others, pb.WRITE_POLICY_APPROVAL, 0, "head", later)
    assert answer == await store.write_policies.get("oak", "live")
    assert answer.of(BEHAVIOUR) == ON
    expected = OperationRule(pb.WRITE_POLICY_APPROVAL, 0, "head", later)
    assert {answer.of(name) for name in others} == {expected}
    assert await store.write_policies.set("oak", "live", [], pb.WRITE_POLICY_OFF, 0, "x", AT) == answer


async def test_those_who_set_at_once_do_not_undo_each_other(opened: OpenStore) -> None:
    """Seen to fail where the whole document is replaced by what was read before."""
    stores = [opened() for _ in range(len(OPERATIONS))]
    await asyncio.gather(
        *(
            each.write_policies.set("oak", "live", [name], pb.WRITE_POLICY_ON, 0, name, AT)
            for each, name in zip(stores, OPERATIONS, strict=True)
        )
    )
    kept = await stores[0].write_policies.get("oak", "live")
    assert {name: kept.of(name).set_by for name in OPERATIONS} == {name: name for name in OPERATIONS}


async def test_where_mongodb_does_not_answer_the_error_says_so(opened: OpenStore) -> None:
    async def gone(step: Step) -> None:
        if step.collection in {"writes", "write_heads", "write_policies"}:
            raise AutoReconnect("connection closed")

    store = opened(gone)
    store.row_seal = ShiftSeal()
    writes, policies, entry = store.writes, store.write_policies, new_write()
    operations = [BEHAVIOUR, MARK]
    for attempt in (
        writes.insert(entry),
        writes.get("oak", entry.write_id),
        writes.find("oak", entry.write_id),
        writes.save(entry),
        writes.list("oak", WriteConditions(), None, 10),
        writes.open_of("oak", 10),
        writes.changed("oak", START, 10),
        writes.due("live", START, 10),
        writes.due_of("oak", "live", START, 10),
        writes.ahead(entry),
        writes.last_position("oak", entry.slot),
        writes.requeue("oak", "live", operations, START),
        writes.queued("oak", "live", operations, 10),
        writes.counts("oak", "live", operations),
        writes.accepted_since("oak", "live", BEHAVIOUR, START, 10),
        writes.claimed("oak", BEHAVIOUR, ["7"], entry.write_id),
        writes.made("oak", ["beh_1"]),
        writes.made_by_keys("oak", ["k1"]),
        writes.followed("oak"),
        writes.follow_to("oak", 1),
        policies.get("oak", "live"),
        policies.set("oak", "live", operations, pb.WRITE_POLICY_ON, 0, "office", AT),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert entry.write.revision == 1  # a save that failed leaves it
