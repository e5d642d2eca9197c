from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from schoolgate_server.cli import app
from tests.unit.server.cli.fake import FakeServer


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SCHOOLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("NO_COLOR", "1")
    # pytest may run in a terminal that is narrower or wider than the next one.
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], bare_environment: None) -> Run:
    """Run the command with arguments, as from a shell, and return status and output."""

    def invoke(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["schoolgate", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        code = ended.value.code
        captured = capfd.readouterr()
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return invoke


@pytest.fixture
def ask(run: Run, fake: FakeServer) -> Run:
    """Run a client command against the fake server."""

    def invoke(*arguments: str) -> Outcome:
        return run(*arguments, "--server", fake.address)

    return invoke
