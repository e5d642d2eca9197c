"""A stranger's connector beside the server, and two that are broken: it is served, and they stop nobody."""

from __future__ import annotations

import json
from collections.abc import Generator

import grpc
import pytest

from schoolgate.v1.diagnostics_service_pb2 import ConnectorInfo, ListConnectorsRequest, ListDecisionsRequest
from schoolgate.v1.diagnostics_service_pb2_grpc import DiagnosticsServiceStub
from schoolgate.v1.kind_pb2 import KIND_GROUP_MEMBERSHIP, KIND_STUDENT, Kind
from schoolgate.v1.query_service_pb2 import GetRecordRequest, QueryRecordsRequest
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate.v1.record_pb2 import Record
from tests.packaging.installing import Workshop
from tests.packaging.serving import Serving, needs_embedded_mongod, serving

pytestmark = [
    needs_embedded_mongod,
    pytest.mark.mongod,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("packaging: plugins"),
]

CONFIG = 'connectors = ["broken_import", "broken_hook", "acme", "absent", "bromcom"]'


@pytest.fixture(scope="module")
def server(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Generator[Serving]:
    environment = workshop.environment(
        "plugins",
        *("schoolgate-server[embedded]", "schoolgate-bromcom"),
        *(str(workshop.plugin("acme")), str(workshop.plugin("broken"))),
    )
    with serving(environment, tmp_path_factory.mktemp("plugins"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Serving) -> Generator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as opened:
        yield opened


@pytest.fixture(scope="module")
def school(server: Serving) -> str:
    """Register a school at Acme, sync it, and return its id."""
    server.told(
        *("school", "add", "oak", "--connector", "acme", "--setting", "year_group=8"),
        SCHOOLGATE_CREDENTIAL_API_KEY="open sesame",
    )
    server.told("sync", "oak")
    return "oak"


def connectors(channel: grpc.Channel) -> dict[str, ConnectorInfo]:
    answer = DiagnosticsServiceStub(channel).ListConnectors(ListConnectorsRequest(), timeout=10)
    return {info.name: info for info in answer.connectors}


def records(channel: grpc.Channel, school: str, kind: Kind.ValueType) -> list[Record]:
    request = QueryRecordsRequest(school_id=school, kind=kind)
    return [
        record
        for page in QueryServiceStub(channel).QueryRecords(request, timeout=10)
        for record in page.records
    ]


def test_serves_in_spite_of_the_broken_ones(server: Serving) -> None:
    assert server.told("health").strip() == "serving"


def test_the_strangers_connector_is_loaded_and_described(channel: grpc.Channel) -> None:
    found = connectors(channel)
    assert set(found) == {"acme", "bromcom", "broken_import", "broken_hook", "absent"}
    assert {name for name, info in found.items() if info.loaded} == {"acme", "bromcom"}
    acme = found["acme"]
    assert (acme.display_name, acme.version) == ("Acme MIS", "2.1.0")
    assert [dataset.name for dataset in acme.datasets] == ["students", "forms"]
    assert [field.name for field in acme.credentials] == ["api_key"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken_import", "cannot import name 'Client' from 'acme_rpc'"),
        ("broken_hook", "the licence of this connector has expired"),
        ("absent", "no installed distribution has an entry point 'absent'"),
    ],
)
def test_a_broken_connector_says_why(server: Serving, channel: grpc.Channel, name: str, says: str) -> None:
    assert says in connectors(channel)[name].load_error
    [line] = [line for line in server.told("connectors").splitlines() if line.startswith(name)]
    assert f"not loaded: {connectors(channel)[name].load_error}" in line
    refused = server.ask("school", "add", "elm", "--connector", name)
    assert refused.returncode == 1
    assert "CONNECTOR_UNKNOWN" in refused.stderr
    assert says in " ".join(refused.stderr.split())


def test_its_school_can_be_read_through_grpc(channel: grpc.Channel, school: str) -> None:
    students = {record.student.surname: record for record in records(channel, school, KIND_STUDENT)}
    assert set(students) == {"Adeyemi", "Błaszczyk"}
    assert {record.student.year_group_code for record in students.values()} == {"8"}
    memberships = [r.group_membership for r in records(channel, school, KIND_GROUP_MEMBERSHIP)]
    assert {m.student_id for m in memberships} == {record.id for record in students.values()}
    [group_id] = {m.group_id for m in memberships}
    group = QueryServiceStub(channel).GetRecord(GetRecordRequest(school_id=school, record_id=group_id))
    assert group.record.group.name == "7A"


def test_what_it_rejected_is_a_decision(channel: grpc.Channel, school: str) -> None:
    request = ListDecisionsRequest(school_id=school)
    [decision] = DiagnosticsServiceStub(channel).ListDecisions(request, timeout=10).decisions
    assert (decision.field, decision.detail) == ("surname", "is empty")


def test_the_same_again_changes_nothing(server: Serving, channel: grpc.Channel, school: str) -> None:
    before = records(channel, school, KIND_STUDENT)
    server.told("sync", school)
    assert records(channel, school, KIND_STUDENT) == before


def test_a_wrong_key_fails_the_run_and_loses_nothing(server: Serving) -> None:
    server.told(*("school", "add", "ash", "--connector", "acme"), SCHOOLGATE_CREDENTIAL_API_KEY="open barley")
    failed = server.ask("sync", "ash")
    assert failed.returncode == 1
    assert "Acme does not accept the API key" in " ".join(failed.stdout.split())


def test_the_command_line_reads_it_too(server: Serving, school: str) -> None:
    shown = json.loads(server.told("get", school, "--key", "acme/pupil:2", "--kind", "student", "--json"))
    assert shown["student"]["forename"] == "Zofia"
