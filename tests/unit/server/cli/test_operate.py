from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from schoolgate_server.rpc.callers import parse_callers
from schoolgate_server.rpc.roles import Role
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer


@pytest.mark.parametrize(
    ("state", "status", "told"),
    [("SERVING", 0, "serving"), ("NOT_SERVING", 1, "not serving")],
)
def test_health(ask: Run, fake: FakeServer, state: str, status: int, told: str) -> None:
    fake.on(
        "/grpc.health.v1.Health/Check",
        HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Value(state)),
    )
    outcome = ask("health")
    assert (outcome.status, outcome.out) == (status, f"{told}\n")


def test_health_of_nobody(run: Run) -> None:
    assert run("health", "--server", "127.0.0.1:1").status == 1


def test_a_token_is_shown_once_and_the_stanza_holds_its_hash(run: Run) -> None:
    outcome = run("token", "new", "reports", "--role", "OPERATOR", "--school", "oak", "--school", "elm")
    token, stanza = outcome.err.splitlines()[1], outcome.out
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert token not in stanza
    caller = parse_callers(stanza)[digest]
    assert caller.name == "reports"
    assert caller.roles == {Role.OPERATOR, Role.READER}
    assert caller.schools == frozenset({"oak", "elm"})
    assert run("token", "new", "reports").err.splitlines()[1] != token


def test_a_token_file_is_private_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "token"
    outcome = run("token", "new", "reports", "--out", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (digest,) = parse_callers(outcome.out)
    assert digest == hashlib.sha256(file.read_text().strip().encode()).hexdigest()
    again = run("token", "new", "reports", "--out", str(file))
    assert again.status == 1
    assert "exists" in again.err


@pytest.mark.parametrize("arguments", [["a b"], ["x", "--school", "Oak School"], ["x", "--role", "KING"]])
def test_a_caller_that_the_server_would_refuse_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    assert run("token", "new", *arguments).status == 2


def test_simulate_passes_everything_on(run: Run) -> None:
    assert run("simulate", "--help").status == 0
    outcome = run("simulate", "bromcom", "--help")
    assert outcome.status == 0
    assert "--marks-until" in outcome.out
    assert run("simulate", "bromcom", "--pupils", "0").status == 2
    unknown = run("simulate", "acme")
    assert unknown.status == 1
    assert "connector 'acme' cannot be used" in unknown.err


def test_version_and_help(run: Run) -> None:
    assert run("version").out.startswith("schoolgate-server")
    helped = run("--help")
    assert helped.status == 0
    for command in ("serve", "demo", "simulate", "school", "sync", "query", "get", "count", "versions"):
        assert command in helped.out
    assert run().status == 2


def test_no_color(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[3" not in run("version").out
