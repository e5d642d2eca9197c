from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.diagnostics_service_pb2 import ConnectorField, ConnectorInfo, ListConnectorsResponse
from schoolgate.v1.identity_service_pb2 import (
    ApplyMisChangeRequest,
    ApplyMisChangeResponse,
    GetMisChangePlanResponse,
    KindMatch,
    MisChangePlan,
    PlanMisChangeRequest,
    PlanMisChangeResponse,
)
from schoolgate.v1.sync_service_pb2 import RUN_STATE_FAILED, RUN_STATE_SUCCEEDED, Run, WatchRunResponse
from tests.unit.server.cli.conftest import Run as Invoke
from tests.unit.server.cli.fake import FakeServer, refusal

DIGEST = "0123456789abcdef" * 4
RECORD = "stu_" + "5" * 32


def prepared(fake: FakeServer, *, failed: bool = False) -> None:
    state = RUN_STATE_FAILED if failed else RUN_STATE_SUCCEEDED
    run = Run(run_id="run_7", school_id="oak", state=state)
    plan = MisChangePlan(
        school_id="oak",
        connector="second",
        digest=DIGEST,
        run_id="run_7",
        seq=1234,
        kinds=[
            KindMatch(
                kind=kinds.KIND_STUDENT,
                live=1500,
                found=1490,
                matched=1480,
                ambiguous=3,
                created=8,
                left_over=19,
                evidence="upn, else surname, forename and date_of_birth",
                examples=[RECORD],
            ),
            KindMatch(kind=kinds.KIND_ROOM, live=40, evidence="nothing"),
        ],
    )
    plan.created_at.FromJsonString("2026-09-01T06:00:00Z")
    field = ConnectorField(name="password", required=True)
    fake.on(
        "DiagnosticsService/ListConnectors",
        ListConnectorsResponse(connectors=[ConnectorInfo(name="second", credentials=[field])]),
    )
    fake.on("IdentityService/PlanMisChange", PlanMisChangeResponse(run=run))
    fake.on("IdentityService/GetMisChangePlan", GetMisChangePlanResponse(plan=plan))
    fake.on("IdentityService/ApplyMisChange", ApplyMisChangeResponse(run=run))
    fake.on("SyncService/WatchRun", [WatchRunResponse(run=run)])


@pytest.mark.parametrize("columns", ["80", "240"])
def test_a_plan_is_a_table_with_one_line_per_kind(
    ask: Invoke, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    prepared(fake)
    outcome = ask("mis-change", "show", "oak")
    assert outcome.status == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["digest", DIGEST] in lines
    assert ["kind", "live", "found", "matched", "ambiguous", "created", "left", "over"] in lines
    assert ["student", "1,500", "1,490", "1,480", "3", "8", "19"] in lines
    assert ["room", "40", "0", "0", "0", "0", "0"] in lines
    assert [RECORD, "fits", "nobody,", "or", "more", "than", "one"] in lines


def test_g16_planning_sends_the_secret_and_shows_it_nowhere(
    ask: Invoke, fake: FakeServer, tmp_path: Path
) -> None:
    prepared(fake)
    secrets = tmp_path / "new.toml"
    secrets.write_text('password = "correct horse"\n')
    secrets.chmod(0o600)
    outcome = ask(
        *("mis-change", "plan", "oak", "--connector", "second", "--setting", "url=https://x"),
        *("--credentials-file", str(secrets)),
    )
    assert outcome.status == 0
    sent = next(request for request in fake.requests if isinstance(request, PlanMisChangeRequest))
    assert dict(sent.settings) == {"url": "https://x"}
    assert dict(sent.credentials) == {"password": "correct horse"}
    assert "correct horse" not in outcome.out + outcome.err
    assert f"mis-change apply oak --digest {DIGEST}" in " ".join(outcome.err.split())


def test_a_plan_that_failed_is_not_shown_as_the_earlier_one(ask: Invoke, fake: FakeServer) -> None:
    prepared(fake, failed=True)
    outcome = ask("mis-change", "apply", "oak", "--digest", DIGEST, "--comment", "over Easter")
    assert outcome.status == 1
    sent = next(request for request in fake.requests if isinstance(request, ApplyMisChangeRequest))
    assert (sent.digest, sent.comment) == (DIGEST, "over Easter")
    assert "next" not in outcome.err


def test_a_stale_plan_says_what_to_do(ask: Invoke, fake: FakeServer) -> None:
    prepared(fake)

    def refuse(_: object) -> ApplyMisChangeResponse:
        raise refusal(grpc.StatusCode.ABORTED, "MIS_CHANGE_PLAN_STALE", "it is stale", school_id="oak")

    fake.on("IdentityService/ApplyMisChange", refuse)
    outcome = ask("mis-change", "apply", "oak", "--digest", DIGEST)
    assert outcome.status == 1
    assert "stale" in outcome.err
