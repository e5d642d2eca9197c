"""G14 with a real server: its primary is stalled, and the next one killed, in the middle of one sync."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymongo import MongoClient

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import KINDS
from schoolgate_sdk.testing.world import World
from tests.e2e.conftest import service
from tests.support.bromcom_truth import shown_at_bromcom
from tests.support.live import CLOSED_YEAR, READ_KINDS, Live
from tests.support.lives import lives_of
from tests.support.looks import Look, assert_equals_the_world, key_of
from tests.support.processes import wait_until
from tests.support.replica_set import ReplicaSet, new_database, replica_set, three_nodes
from tests.support.served import new_request_id
from tests.support.simulator import start_simulator

__all__ = ["new_database", "replica_set", "three_nodes"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("replica set")]

SCHOOL = "failover"
SEED, PUPILS, BEGINS, MARKS_UNTIL = 7, 60, date(2024, 9, 1), date(2024, 9, 14)


def test_g14_a_server_outlives_two_losses_of_its_primary_in_one_run(
    replica_set: ReplicaSet, new_database: str, tmp_path: Path
) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(b"\x07" * 96)
    settings = {
        "SCHOOLGATE_MONGO__URI": replica_set.uri,
        "SCHOOLGATE_MONGO__DATABASE": new_database,
        "SCHOOLGATE_SYNC__COMMIT_BATCH": "20",
        "SCHOOLGATE_VAULT__KEY_FILE": str(key),
    }
    world = ("--seed", str(SEED), "--pupils", str(PUPILS), "--academic-year-start", str(BEGINS))
    client: MongoClient[dict[str, Any]] = MongoClient(replica_set.uri, tz_aware=True)
    with (
        client,
        start_simulator(*world, "--marks-until", str(MARKS_UNTIL)) as simulator,
        service(tmp_path, settings) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        server = Live(channel, client[new_database])
        profile = [f"{KINDS[kind].name}.*" for kind in READ_KINDS]
        server.register(SCHOOL, simulator, academic_year=CLOSED_YEAR, data_profile=profile)
        request = pb.StartSyncRequest(school_id=SCHOOL, request_id=new_request_id())
        for page in (0, 1):  # so that the run is still at work when the primary is lost, and lost again
            simulator.faults({"kind": "slow", "seconds": 6.0, "entity": "BasicAttendance", "page": page})
        run = server.runs.StartSync(request).run
        wait_until(lambda: _published(server) >= 2, "the run has committed something")
        stalled = replica_set.primary()
        replica_set.pause(stalled)
        replica_set.wait_for_primary(other_than=stalled)
        replica_set.resume(stalled)
        replica_set.heal()
        assert "unfinished" in _stored(server, run), "the run was over before its primary was lost again"
        replica_set.kill(replica_set.primary())
        replica_set.heal()
        wait_until(lambda: "unfinished" not in _stored(server, run), "the run has ended")
        done = server.runs.GetRun(pb.GetRunRequest(school_id=SCHOOL, run_id=run.run_id)).run
        assert done.state == pb.RUN_STATE_SUCCEEDED
        records = {key_of(record.source_keys[0]): record for record in server.everything(SCHOOL).values()}
        assert_equals_the_world(
            Look(shown_at_bromcom(World.build(SEED, PUPILS, BEGINS, MARKS_UNTIL)), records, 0)
        )
        stored = list(server.database["records"].find({}))
        lived = lives_of(stored, list(server.database["history"].find({})), _published(server))
        assert {len(states) for states in lived.values()} == {1}


def _published(server: Live) -> int:
    head = server.database["heads"].find_one({"_id": SCHOOL})
    return 0 if head is None else int(head["published"])


def _stored(server: Live, run: pb.Run) -> dict[str, Any]:
    found = server.database["runs"].find_one({"_id": run.run_id})
    assert found is not None
    return found
