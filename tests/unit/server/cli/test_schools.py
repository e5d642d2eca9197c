from __future__ import annotations

from pathlib import Path

import pytest

from schoolgate.v1.diagnostics_service_pb2 import (
    DECISION_REASON_KEY_MISSING,
    WRITE_SAFETY_NATURAL_KEY_READBACK,
    ConnectorDataset,
    ConnectorField,
    ConnectorInfo,
    ConnectorOperation,
    Decision,
    ListConnectorsResponse,
    ListDecisionsResponse,
    WriteSafety,
)
from schoolgate.v1.failure_pb2 import AUDIENCE_OPERATOR, FAILURE_TYPE_AUTH_INVALID, Failure
from schoolgate.v1.kind_pb2 import KIND_BEHAVIOUR_EVENT, KIND_ENROLMENT, KIND_STUDENT
from schoolgate.v1.school_service_pb2 import (
    CheckConnectionResponse,
    CreateSchoolRequest,
    CreateSchoolResponse,
    EntityGrant,
    GetSchoolResponse,
    ListSchoolsRequest,
    ListSchoolsResponse,
    School,
    SetCredentialsRequest,
    SetCredentialsResponse,
)
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer

SECRET = "s3cr3t-of-the-school"


@pytest.fixture(autouse=True)
def connector(fake: FakeServer) -> None:
    info = ConnectorInfo(
        name="bromcom",
        loaded=True,
        display_name="Bromcom",
        version="0.1.0",
        settings=[
            ConnectorField(name="school_number", description="its number", required=True),
            ConnectorField(
                name="base_url", description="where it is", default_value="https://mis", endpoint=True
            ),
        ],
        credentials=[
            ConnectorField(name="application_id", description="id", required=True),
            ConnectorField(name="application_secret", description="secret", required=True),
        ],
        datasets=[
            ConnectorDataset(
                name="students",
                kinds=[KIND_STUDENT, KIND_ENROLMENT],
                entities=["StudentFlatView"],
                parser_version=3,
            )
        ],
    )
    broken = ConnectorInfo(name="acme", load_error="no module named acme")
    fake.on("DiagnosticsService/ListConnectors", ListConnectorsResponse(connectors=[info, broken]))

    def create(request: CreateSchoolRequest) -> CreateSchoolResponse:
        made = School()
        made.CopyFrom(request.school)
        made.has_credentials = bool(request.credentials)
        return CreateSchoolResponse(school=made)

    def set_credentials(request: SetCredentialsRequest) -> SetCredentialsResponse:
        return SetCredentialsResponse(school=School(school_id=request.school_id, has_credentials=True))

    fake.on("SchoolService/CreateSchool", create)
    fake.on("SchoolService/SetCredentials", set_credentials)
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=School(school_id="oak", connector="bromcom")))


def test_add_without_credentials_says_what_comes_next(ask: Run, fake: FakeServer) -> None:
    outcome = ask(
        *("school", "add", "oak", "--name", "Oak School", "--setting", "school_number=20001"),
        *("--setting", "base_url=http://127.0.0.1:1/v2?a=b", "--keep", "student.*"),
        *("--academic-year", "2026-09-01:2027-09-01"),
    )
    assert outcome.status == 0
    made = fake.requests[-1].school
    assert made.settings == {"school_number": "20001", "base_url": "http://127.0.0.1:1/v2?a=b"}
    assert (made.academic_year.name, made.academic_year.valid_to) == ("2026/27", "2027-09-01")
    assert list(made.data_profile) == ["student.*"]
    assert "schoolgate school set-credentials oak" in outcome.err


@pytest.mark.parametrize(
    "option", [("--setting", "school_number"), ("--academic-year", "2026"), ("--application-secret", SECRET)]
)
def test_malformed_options_end_with_2(ask: Run, option: tuple[str, str]) -> None:
    assert ask("school", "add", "oak", *option).status == 2


def test_credentials_from_a_file(ask: Run, fake: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "oak.toml"
    file.write_text(f'application_id = "a"\napplication_secret = "{SECRET}"\n')
    file.chmod(0o644)
    outcome = ask("school", "set-credentials", "oak", "--credentials-file", str(file))
    assert outcome.status == 0
    assert fake.requests[-1].credentials == {"application_id": "a", "application_secret": SECRET}
    assert SECRET not in outcome.out + outcome.err
    assert "can be read by others" in " ".join(outcome.err.split())  # a long path wraps the line


def test_credentials_from_the_environment(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHOOLGATE_CREDENTIAL_APPLICATION_ID", "a")
    monkeypatch.setenv("SCHOOLGATE_CREDENTIAL_APPLICATION_SECRET", SECRET)
    outcome = ask("school", "add", "oak")
    assert outcome.status == 0
    assert fake.requests[-1].credentials["application_secret"] == SECRET
    assert SECRET not in outcome.out + outcome.err
    assert "schoolgate sync oak" in outcome.err


def test_set_credentials_says_first_where_they_will_go(ask: Run, fake: FakeServer) -> None:
    assert "go: base_url=https://mis\n" in ask("school", "set-credentials", "oak").err
    moved = School(school_id="oak", connector="bromcom", settings={"base_url": "https://evil.example"})
    fake.on("SchoolService/GetSchool", GetSchoolResponse(school=moved))
    told = ask("school", "set-credentials", "oak").err
    assert told.index("go: base_url=https://evil.example\n") < told.index("credentials are missing")
    assert "school_number=" not in told


def test_credentials_that_nobody_gives(ask: Run) -> None:
    outcome = ask("school", "set-credentials", "oak")
    assert outcome.status == 1
    assert "SCHOOLGATE_CREDENTIAL_APPLICATION_SECRET" in outcome.err


@pytest.mark.parametrize(
    "text", [f"application_secret = {SECRET}", f'application_secret = ["{SECRET}"]', f"{SECRET} = 1"]
)
def test_g16_a_malformed_credentials_file_is_not_quoted(ask: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "oak.toml"
    file.write_text(text)
    outcome = ask("school", "set-credentials", "oak", "--credentials-file", str(file))
    assert outcome.status == 1
    assert SECRET not in outcome.out + outcome.err


def test_list_reads_all_pages(ask: Run, fake: FakeServer) -> None:
    def answer(request: ListSchoolsRequest) -> ListSchoolsResponse:
        if not request.page_token:
            return ListSchoolsResponse(schools=[School(school_id="elm")], next_page_token="more")
        return ListSchoolsResponse(schools=[School(school_id="oak", has_credentials=True)])

    fake.on("SchoolService/ListSchools", answer)
    rows = [line.split() for line in ask("school", "list").out.splitlines()[2:]]
    assert rows == [["elm", "no"], ["oak", "yes"]]


def test_show(ask: Run, fake: FakeServer) -> None:
    outcome = ask("school", "show", "oak")
    assert outcome.status == 0
    assert ["credentials", "none"] in [line.split() for line in outcome.out.splitlines()]


def test_check_says_what_is_denied_and_ends_with_1(ask: Run, fake: FakeServer) -> None:
    granted = EntityGrant(entity="Staff", state=EntityGrant.STATE_GRANTED, datasets=["staff"])
    denied = EntityGrant(entity="Collections", state=EntityGrant.STATE_DENIED, datasets=["groups"])
    fake.on("SchoolService/CheckConnection", CheckConnectionResponse(ok=True, grants=[granted]))
    assert ask("school", "check", "oak").status == 0
    fake.on("SchoolService/CheckConnection", CheckConnectionResponse(ok=True, grants=[granted, denied]))
    outcome = ask("school", "check", "oak")
    assert outcome.status == 1
    assert ["Collections", "denied", "groups"] in [line.split() for line in outcome.out.splitlines()]
    failure = Failure(
        type=FAILURE_TYPE_AUTH_INVALID,
        message="not accepted",
        remediation="set others",
        audience=AUDIENCE_OPERATOR,
    )
    fake.on("SchoolService/CheckConnection", CheckConnectionResponse(failure=failure))
    outcome = ask("school", "check", "oak")
    assert outcome.status == 1
    assert "AUTH_INVALID: not accepted\n  next: set others (operator)\n" in outcome.out


def test_connectors(ask: Run) -> None:
    outcome = ask("connectors")
    assert "not loaded: no module named acme" in outcome.out
    detail = ask("connectors", "bromcom")
    assert ["school_number", "yes", "its", "number"] in [line.split() for line in detail.out.splitlines()]
    assert "student, enrolment" in detail.out
    assert "a change drops the stored credentials" in " ".join(detail.out.split())
    assert ask("connectors", "nothing").status == 1


def test_what_a_connector_can_write_is_shown(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    event = ConnectorOperation(
        name="record_behaviour_event",
        safety=WRITE_SAFETY_NATURAL_KEY_READBACK,
        required=["student_id", "points"],
        optional=["comment"],
        announces=True,
    )
    undo = ConnectorOperation(
        name="deactivate_record",
        safety=WriteSafety.ValueType(99),  # of a newer server
        required=["record_id"],
        kinds=[KIND_BEHAVIOUR_EVENT],
    )
    info = ConnectorInfo(name="acme", loaded=True, writes=[event, undo])
    fake.on("DiagnosticsService/ListConnectors", ListConnectorsResponse(connectors=[info]))
    outcome = ask("connectors", "acme")
    lines = [line.split() for line in outcome.out.splitlines()]
    safety = ["natural", "key", "readback"]
    values = ["student_id,", "points,", "[comment]"]
    assert ["record_behaviour_event", *safety, "yes", *values] in lines
    assert ["deactivate_record", "99", "no", "behaviour_event", "record_id"] in lines
    assert "values in brackets may be left out" in outcome.err


def test_decisions(ask: Run, fake: FakeServer) -> None:
    decision = Decision(
        dataset="students", reason=DECISION_REASON_KEY_MISSING, field="studentId", detail="is empty"
    )
    fake.on("DiagnosticsService/ListDecisions", ListDecisionsResponse(decisions=[decision] * 3))
    outcome = ask("decisions", "oak", "--limit", "2")
    assert outcome.out.count("studentId: is empty") == 2
    assert "the newest 2" in outcome.err
    fake.on("DiagnosticsService/ListDecisions", ListDecisionsResponse())
    assert "no decisions" in ask("decisions", "oak").err
