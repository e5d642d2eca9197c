"""A connector that exits, never ends or says what no file can hold is certified by none of that."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
import pytest

from schoolgate_sdk import Parsed, Parser, Row, SchoolConnection, Session
from schoolgate_sdk.testing.conformance import command, kit, loading
from schoolgate_sdk.testing.conformance.outcome import Outcome, Result
from tests.conformance.toy_connector import TARGET, toy_connector


def exiting() -> NoReturn:
    sys.exit(0)


class Point:
    """An entry point whose module exits."""

    name = "toy"

    def load(self) -> object:
        return exiting()


def checked(check: str, **changed: Any) -> Result:
    connector = replace(toy_connector(), **changed)
    return kit.run_check(kit.benches(connector)[0], kit.check_named(check))


def with_parser(parser: Parser) -> dict[str, Any]:
    return {"datasets": tuple(replace(each, parser=parser) for each in toy_connector().datasets)}


@asynccontextmanager
async def exits(connection: SchoolConnection) -> AsyncGenerator[Session]:
    if connection.school_id:
        exiting()
    yield cast("Session", None)


@asynccontextmanager
async def cancels(connection: SchoolConnection) -> AsyncGenerator[Session]:
    if connection.school_id:
        raise asyncio.CancelledError
    yield cast("Session", None)


def parses_and_exits(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    exiting()


@pytest.mark.parametrize(
    "changed",
    [{"open": exits}, {"open": cancels}, with_parser(parses_and_exits)],
    ids=["exit", "cancel", "parser"],
)
def test_whoever_exits_has_failed(changed: dict[str, Any]) -> None:
    """Seen to fail: the command ended with the status of success."""
    assert checked("arrives.student", **changed).outcome is Outcome.FAILED


def test_a_module_that_exits_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen to fail: the command ended with status 0."""

    def points(group: str) -> list[Point]:
        return [Point()]

    monkeypatch.setattr(loading, "entry_points", points)
    assert command.main(["toy"]) == 1
    assert "'toy' cannot be loaded: SystemExit" in capsys.readouterr().err


@pytest.mark.parametrize("conformance", [exiting, lambda: 1 / 0, lambda: None, lambda: (TARGET,)])
def test_a_target_that_is_none_is_said_to_be_none(conformance: Callable[[], Any]) -> None:
    """Seen to fail: with a traceback, with status 0, or with nothing checked and nothing failed."""
    with pytest.raises(ValueError, match=r"conformance.* of the connector toy"):
        kit.benches(replace(toy_connector(), conformance=conformance))


def test_a_parser_that_goes_on_and_on_has_failed() -> None:
    """Seen to fail, with no end and no bound of memory, where all that it yields was taken."""
    student = toy_connector().datasets[0].parser

    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        while True:
            yield from student(row, settings)

    result = checked("arrives.student", **with_parser(parser))
    assert result.outcome is Outcome.FAILED
    assert "more than 1000 messages" in result.detail


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="nothing else breaks a loop off")
@pytest.mark.timeout(0)
def test_a_loop_that_never_gives_way_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: it went on for ever. A timer of pytest's own would do the same."""
    monkeypatch.setattr(kit, "_LONGEST_CHECK", 0.5)
    monkeypatch.setattr(kit, "_GRACE", 0.5)

    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        while True:
            try:
                for _ in iter(int, 1):
                    pass
            except Exception:  # noqa: BLE001 - as authors do
                continue

    result = checked("arrives.student", **with_parser(parser))
    assert result.outcome is Outcome.FAILED
    assert "Hangs" in result.detail
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_no_file_can_hold_is_written_all_the_same(tmp_path: Path) -> None:
    """Seen to fail: the run ended at the first such text, without a certificate."""

    def parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
        raise ValueError("\ud800")

    connector = replace(toy_connector(), display_name="Toy \ud800", **with_parser(parser))
    with (tmp_path / "table").open("w", encoding="utf-8") as table:
        found = command.check_connector(connector, only="arrives.student", out=table)
    command.write_certificate(found, tmp_path / "certificate.json")
    assert "ValueError: \\ud800" in (tmp_path / "table").read_text(encoding="utf-8")
    written = orjson.loads((tmp_path / "certificate.json").read_bytes())
    assert (written["certified"], written["counts"]["failed"]) == (False, 1)
