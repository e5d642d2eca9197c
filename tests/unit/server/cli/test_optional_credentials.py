"""Credentials of which a connector leaves open which it needs: they are asked for all the same."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import typer

from schoolgate.v1.diagnostics_service_pb2 import ConnectorField
from schoolgate_server.cli.failures import CommandFailed
from schoolgate_server.cli.secrets_input import gather

WANTED = [ConnectorField(name=name, description=name) for name in ("application_id", "soap_username")]


def test_nobody_can_be_asked() -> None:
    """Seen to fail, with no credentials in place of an error, where only required ones are asked for."""
    with pytest.raises(CommandFailed):
        gather(None, WANTED, required=True)
    assert gather(None, WANTED, required=False) == {}


def test_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHOOLGATE_CREDENTIAL_SOAP_USERNAME", "reader")
    assert gather(None, WANTED, required=True) == {"soap_username": "reader"}


def test_an_empty_answer_leaves_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(text: str, default: Any, **_options: Any) -> str:
        assert default == ""
        return "reader" if "soap" in text else ""

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "prompt", answer)
    assert gather(None, WANTED, required=True) == {"soap_username": "reader"}
