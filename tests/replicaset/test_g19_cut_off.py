"""G19: by what a primary says that has lost its set, nothing leaves: it may have been changed elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.clock import system_clock
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.limits import shortened
from schoolgate_server.store.store import Store
from tests.support.replica_set import ReplicaSet, new_database, replica_set, three_nodes
from tests.support.writes import BEHAVIOUR

__all__ = ["new_database", "replica_set", "three_nodes"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("replica set")]

AT = datetime(2026, 11, 2, 9, tzinfo=UTC)


async def test_g19_a_primary_without_its_set_says_nothing_of_what_is_in_force(
    replica_set: ReplicaSet, new_database: str
) -> None:
    """Its members are stalled, so that it cannot know whether there is another primary by now.

    Seen to fail where the policy is read like everything else: it was still ON.
    """
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(replica_set.uri)
    async with client:
        store = Store.open(client, new_database, system_clock)
        await store.write_policies.set("oak", "live", [BEHAVIOUR], pb.WRITE_POLICY_ON, 0, "office", AT)
        assert (await store.write_policies.in_force("oak", "live")).of(BEHAVIOUR).policy == pb.WRITE_POLICY_ON
        primary = replica_set.primary()
        others = [node for node in replica_set.nodes if node is not primary]
        for node in others:
            replica_set.pause(node)
        try:
            with shortened(3), pytest.raises(StoreUnavailable):
                await store.write_policies.in_force("oak", "live")
        finally:
            for node in others:
                replica_set.resume(node)
        await store.close()
