"""A signal ends the demo also where what it raises is passed over: in a callback, or in a destructor."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from schoolgate_server.cli.demo import demo, invitation, stage, story
from schoolgate_server.cli.demo.narrator import Narrator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let the demo start no processes; return the list that its story adds to."""

    @contextlib.contextmanager
    def raised(*_: Any) -> Generator[None]:
        yield

    def show(*_: Any) -> None:
        pass

    monkeypatch.setattr(stage, "raised", raised)
    monkeypatch.setattr(invitation, "show", show)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return []


def tell_and_pass_over(
    monkeypatch: pytest.MonkeyPatch, told: list[str], number: signal.Signals, *, steps: int
) -> None:
    """Let the story pass over a signal, and begin ``steps`` steps afterwards."""

    def tell(narrator: Narrator, *_: Any) -> tuple[str, str]:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        for _step in range(steps):
            narrator.step("Nothing of this is told any more.")
            told.append("a step")
        told.append("the end")
        return "school", "record"

    monkeypatch.setattr(story, "tell", tell)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(("steps", "expected"), [(2, []), (0, ["the end"])])
def test_a_signal_that_was_passed_over_ends_the_demo_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: list[str],
    number: signal.Signals,
    steps: int,
    expected: list[str],
) -> None:
    """Seen to fail where only steps, or only the end, ask whether one came."""
    tell_and_pass_over(monkeypatch, told, number, steps=steps)
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as ended:
        demo(pupils=60)
    assert ended.value.code == 130
    assert told == expected
    assert "stopped; the demo's processes have ended" in capsys.readouterr().err
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.timeout(20)
def test_a_signal_that_was_passed_over_is_not_waited_for_again(
    monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    """Seen to fail where `demo --serve` does not ask before it waits."""
    tell_and_pass_over(monkeypatch, told, signal.SIGINT, steps=0)
    with pytest.raises(SystemExit) as ended:
        demo(serve=True)
    assert ended.value.code == 0
