from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest

from schoolgate.v1.error_reason_pb2 import ErrorReason
from schoolgate.v1.school_service_pb2 import ListSchoolsResponse
from schoolgate_server.cli.client import Target, connect
from schoolgate_server.cli.failures import NEXT_STEPS, CommandFailed
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, Refusal, refusal, violations


def test_every_reason_has_a_next_step() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper has no iterator
    assert set(NEXT_STEPS) == reasons


def test_reason_message_violations_and_next_step_are_shown(ask: Run, fake: FakeServer) -> None:
    def answer(_: object) -> ListSchoolsResponse:
        known = refusal(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_SIZE_INVALID", "too many", maximum="1000")
        raise Refusal(known.code, known.message, *known.details, violations(page_size="must be at most 1000"))

    fake.on("SchoolService/ListSchools", answer)
    outcome = ask("school", "list")
    assert outcome.status == 1
    assert outcome.err.splitlines() == [
        "error: PAGE_SIZE_INVALID: too many",
        "  page_size: must be at most 1000",
        "next:  ask for at most 1000",
    ]


def test_a_message_that_only_repeats_the_violations_is_left_out(ask: Run, fake: FakeServer) -> None:
    def answer(_: object) -> ListSchoolsResponse:
        known = refusal(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID", "page_size: must be less")
        raise Refusal(known.code, known.message, *known.details, violations(page_size="must be less"))

    fake.on("SchoolService/ListSchools", answer)
    first, second, _ = ask("school", "list").err.splitlines()
    assert (first, second) == ("error: REQUEST_INVALID", "  page_size: must be less")


def test_metadata_that_is_missing_leaves_a_placeholder(ask: Run, fake: FakeServer) -> None:
    def answer(_: object) -> ListSchoolsResponse:
        raise refusal(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING", "no")

    fake.on("SchoolService/ListSchools", answer)
    assert "the role <role>" in ask("school", "list").err


def test_a_strangers_error_is_shown_by_its_status(ask: Run, fake: FakeServer) -> None:
    def answer(_: object) -> ListSchoolsResponse:
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    fake.on("SchoolService/ListSchools", answer)
    outcome = ask("school", "list")
    assert (outcome.status, outcome.err) == (1, "error: RESOURCE_EXHAUSTED: slow down\n")


def test_nobody_listens(run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    outcome = run("school", "list", "--server", address)
    assert outcome.status == 1
    assert f"no schoolgate server answers at {address}" in outcome.err
    assert "start one with `schoolgate serve`" in outcome.err


def test_the_token_travels_as_metadata(
    ask: Run, fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.on("SchoolService/ListSchools", ListSchoolsResponse())
    (tmp_path / "token").write_text("from-the-file\n")
    ask("school", "list")
    monkeypatch.setenv("SCHOOLGATE_TOKEN", "from-the-environment")
    ask("school", "list")
    ask("school", "list", "--token-file", str(tmp_path / "token"))
    assert [metadata.get("authorization") for metadata in fake.metadata] == [
        None,
        "Bearer from-the-environment",
        "Bearer from-the-file",
    ]


def test_a_token_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    outcome = run("school", "list", "--token-file", str(tmp_path / "nothing"))
    assert outcome.status == 1
    assert "No such file or directory" in " ".join(outcome.err.split())


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("gate.example.org:50551", True),
        ("192.0.2.7:50551", True),
        ("127.0.0.1:50551", False),
        ("localhost:50551", False),
        ("[::1]:50551", False),
    ],
)
def test_a_token_never_leaves_the_machine_unencrypted(server: str, refused: bool) -> None:
    target = Target(server, token="secret")
    assert "secret" not in repr(target)
    if not refused:
        with connect(target):
            return
    with pytest.raises(CommandFailed, match="unencrypted"), connect(target):
        pass
