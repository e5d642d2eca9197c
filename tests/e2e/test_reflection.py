"""grpcurl and `buf curl` drive the service with nothing but themselves: reflection shows them the API."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from tests.e2e.conftest import Service
from tests.support.simulator import Simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "oak"
UUIDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(10)]


def documents(text: str) -> list[dict[str, Any]]:
    """Return the JSON documents that stand one after the other in ``text``."""
    decoder, found, text = json.JSONDecoder(), list[dict[str, Any]](), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


class Grpcurl:
    """grpcurl against one service, in plain text."""

    def __init__(self, path: str, target: str) -> None:
        self._command = [path, "-plaintext"]
        self._target = target

    def run(self, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *options, self._target, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def call(self, method: str, request: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Call a method and return its responses."""
        done = self.run(f"schoolgate.v1.{method}", options=("-d", json.dumps(request or {})))
        assert done.returncode == 0, done.stderr
        return documents(done.stdout)


@pytest.fixture(scope="session")
def grpcurl(grpcurl_path: str, open_service: Service) -> Grpcurl:
    return Grpcurl(grpcurl_path, open_service.target)


@pytest.fixture(scope="session")
def synced(grpcurl: Grpcurl, simulator: Simulator) -> Grpcurl:
    """Register and sync a school with grpcurl alone."""
    grpcurl.call(
        "SchoolService/CreateSchool",
        {
            "school": {"school_id": SCHOOL, "connector": "bromcom", "settings": simulator.settings},
            "credentials": simulator.credentials,
            "request_id": UUIDS[0],
        },
    )
    [started] = grpcurl.call("SyncService/StartSync", {"school_id": SCHOOL, "request_id": UUIDS[1]})
    states = grpcurl.call("SyncService/WatchRun", {"school_id": SCHOOL, "run_id": started["run"]["run_id"]})
    assert states[-1]["run"]["state"] == "RUN_STATE_SUCCEEDED"
    return grpcurl


def test_the_services_are_listed(grpcurl: Grpcurl) -> None:
    listed = grpcurl.run("list").stdout.split()
    assert {
        f"schoolgate.v1.{name}Service" for name in ("School", "Sync", "Query", "Writeback", "Diagnostics")
    } <= set(listed)
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(listed)


def test_methods_and_messages_are_described(grpcurl: Grpcurl) -> None:
    described = grpcurl.run("describe", "schoolgate.v1.QueryService")
    assert "rpc QueryRecords ( .schoolgate.v1.QueryRecordsRequest )" in described.stdout
    for name in ("schoolgate.v1.Record", "schoolgate.v1.ErrorReason", "google.rpc.ErrorInfo"):
        assert grpcurl.run("describe", name).returncode == 0, name


def test_health_is_asked_for(grpcurl: Grpcurl) -> None:
    done = grpcurl.run(
        "grpc.health.v1.Health/Check", options=("-d", '{"service": "schoolgate.v1.QueryService"}')
    )
    assert documents(done.stdout) == [{"status": "SERVING"}]


def test_a_unary_call(synced: Grpcurl) -> None:
    request = {"school_id": SCHOOL, "kind": "KIND_STUDENT"}
    [counted] = synced.call("QueryService/CountRecords", request)
    assert int(counted["count"]) == 40


def test_a_stream(synced: Grpcurl) -> None:
    request = {"school_id": SCHOOL, "kind": "KIND_STUDENT", "page_size": 15}
    pages = synced.call("QueryService/QueryRecords", request)
    assert [len(page["records"]) for page in pages] == [15, 15, 10]
    assert all(record["student"]["surname"] for page in pages for record in page["records"])


def test_an_error_is_shown_with_its_error_info(grpcurl: Grpcurl) -> None:
    request = json.dumps({"school_id": "never-registered"})
    done = grpcurl.run("schoolgate.v1.SchoolService/GetSchool", options=("-format-error", "-d", request))
    [error] = documents(done.stderr)
    assert error["code"] == 5
    [info] = error["details"]
    assert info == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SCHOOL_NOT_FOUND",
        "domain": "schoolgate",
        "metadata": {"school_id": "never-registered"},
    }


def test_every_wrong_field_is_shown(grpcurl: Grpcurl) -> None:
    request = json.dumps({"school_id": "?", "kind": "KIND_STUDENT", "filters": [{"field": "shoe_size"}]})
    done = grpcurl.run("schoolgate.v1.QueryService/CountRecords", options=("-format-error", "-d", request))
    [error] = documents(done.stderr)
    violations = error["details"][1]["field_violations"]
    assert [violation["field"] for violation in violations] == ["school_id", "filters[0].field"]


def buf_curl(
    buf: str, service: Service, method: str, request: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    url = f"http://{service.target}/schoolgate.v1.{method}"
    command = [
        buf,
        "curl",
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        "--data",
        json.dumps(request),
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_buf_curl_lists_describes_and_calls(buf_path: str, open_service: Service, synced: Grpcurl) -> None:
    base = [buf_path, "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    listed = subprocess.run(
        [*base, "--list-methods", f"http://{open_service.target}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "schoolgate.v1.QueryService/QueryRecords" in listed.stdout.split()

    counted = buf_curl(
        buf_path, open_service, "QueryService/CountRecords", {"schoolId": SCHOOL, "kind": "KIND_STUDENT"}
    )
    assert int(documents(counted.stdout)[0]["count"]) == 40
    streamed = buf_curl(
        buf_path,
        open_service,
        "QueryService/QueryRecords",
        {"schoolId": SCHOOL, "kind": "KIND_STUDENT", "pageSize": 15},
    )
    assert [len(page["records"]) for page in documents(streamed.stdout)] == [15, 15, 10]


def test_buf_curl_shows_error_info(buf_path: str, open_service: Service) -> None:
    done = buf_curl(buf_path, open_service, "SchoolService/GetSchool", {"schoolId": "never-registered"})
    [error] = documents(done.stderr)
    assert error["code"] == "not_found"
    [info] = error["details"]
    assert info["type"] == "google.rpc.ErrorInfo"
    value = info["value"]
    assert (
        ErrorInfo.FromString(base64.b64decode(value + "=" * (-len(value) % 4))).reason == "SCHOOL_NOT_FOUND"
    )
