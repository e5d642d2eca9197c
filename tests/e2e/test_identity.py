"""Identity in docs/operations.md: a merge from start to end over the real service."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from typing import Any

import pytest

from tests.e2e.conftest import Service
from tests.e2e.test_reflection import Grpcurl
from tests.support.simulator import Simulator

SCHOOL = "twice"


@pytest.fixture(scope="module")
def grpcurl(grpcurl_path: str, open_service: Service, simulator: Simulator) -> Grpcurl:
    """A grpcurl against a service that has synced the school."""
    client = Grpcurl(grpcurl_path, open_service.target)
    school = {"school_id": SCHOOL, "connector": "bromcom", "settings": simulator.settings}
    asked = {"school": school, "credentials": simulator.credentials, "request_id": str(uuid.uuid4())}
    client.call("SchoolService/CreateSchool", asked)
    assert synced(client)["state"] == "RUN_STATE_SUCCEEDED"
    return client


def watched(grpcurl: Grpcurl, run: dict[str, Any]) -> dict[str, Any]:
    states = grpcurl.call("SyncService/WatchRun", {"school_id": SCHOOL, "run_id": run["run_id"]})
    last: dict[str, Any] = states[-1]["run"]
    return last


def synced(grpcurl: Grpcurl) -> dict[str, Any]:
    [started] = grpcurl.call("SyncService/StartSync", {"school_id": SCHOOL, "request_id": str(uuid.uuid4())})
    return watched(grpcurl, started["run"])


def records(grpcurl: Grpcurl, kind: str, **asked: Any) -> list[dict[str, Any]]:
    pages = grpcurl.call("QueryService/QueryRecords", {"school_id": SCHOOL, "kind": kind, **asked})
    return [record for page in pages for record in page.get("records", ())]


def of_pupil(record_id: str) -> list[dict[str, Any]]:
    return [{"field": "student_id", "operator": "FILTER_OPERATOR_EQUAL", "values": [record_id]}]


def schoolgate(service: Service, *arguments: str) -> str:
    command = [sys.executable, "-m", "schoolgate_server.cli", *arguments, "--server", service.target]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_merge_as_the_operations_page_tells_it(grpcurl: Grpcurl, open_service: Service) -> None:
    kept, gone = (record["id"] for record in records(grpcurl, "KIND_STUDENT")[:2])
    kind = "KIND_GROUP_MEMBERSHIP"
    before = [len(records(grpcurl, kind, filters=of_pupil(each))) for each in (kept, gone)]
    assert grpcurl.call("IdentityService/ListIdentityProposals", {"school_id": SCHOOL}) == [{}]
    asked = {"school_id": SCHOOL, "survivor_id": kept, "merged_id": gone, "request_id": str(uuid.uuid4())}
    [started] = grpcurl.call("IdentityService/MergeRecords", asked)
    run = watched(grpcurl, started["run"])
    assert (run["state"], run["layer"]) == ("RUN_STATE_SUCCEEDED", "SYNC_LAYER_IDENTITY")
    [answer] = grpcurl.call("QueryService/GetRecord", {"school_id": SCHOOL, "record_id": gone})
    assert (answer["record"]["id"], answer["redirected_from"]) == (kept, gone)
    for each in (kept, gone):
        memberships = records(grpcurl, kind, filters=of_pupil(each))
        assert len(memberships) == sum(before)
        assert {record["group_membership"]["student_id"] for record in memberships} == {kept}
    # Nothing changed in the MIS, so nothing changes here, though it has both rows still.
    quiet = synced(grpcurl)
    assert (quiet["state"], quiet["seq_after"]) == ("RUN_STATE_SUCCEEDED", run["seq_after"])
    told = schoolgate(open_service, "get", SCHOOL, gone)
    assert f"{gone} was merged into this record" in told
    itself = schoolgate(open_service, "get", SCHOOL, gone, "--merged")
    assert itself.split()[:2] == ["id", gone]
    assert kept in itself
