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

    It stays primary all the while, so that only the read can refuse. Seen to fail where the policy is read
    like everything else: it was still ON.
    """
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(replica_set.uri)
    with replica_set.patient(20):
        async with client:
            store = Store.open(client, new_database, system_clock)
            policies = store.write_policies
            await policies.set("oak", "live", [BEHAVIOUR], pb.WRITE_POLICY_ON, 0, "office", AT)
            assert (await policies.in_force("oak", "live")).of(BEHAVIOUR).policy == pb.WRITE_POLICY_ON
            primary = replica_set.primary()
            for node in replica_set.nodes:
                if node is not primary:
                    replica_set.pause(node)
            with shortened(3), pytest.raises(StoreUnavailable):
                await policies.in_force("oak", "live")
            assert primary.ask("hello")["isWritablePrimary"]
            await store.close()
