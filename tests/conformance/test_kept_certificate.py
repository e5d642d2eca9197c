"""A certificate that is kept beside a connector cannot go out of date unseen, nor changes for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from schoolgate_sdk import Connector
from schoolgate_sdk.testing.conformance import certificate as issuing
from schoolgate_sdk.testing.conformance import command, conformance_tests, kit
from schoolgate_sdk.testing.conformance.checks import describing
from tests.conformance.toy_connector import toy_connector

CHECK = "description.fields"


@pytest.fixture(autouse=True)
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "CHECKS", describing.CHECKS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    issue(tmp_path / "certificate.json", 1)
    return tmp_path / "certificate.json"


def issue(path: Path, day: int, **changed: Any) -> None:
    connector = replace(toy_connector(), **changed)
    found = command.check_connector(connector, now=lambda: datetime(2026, 9, day, tzinfo=UTC))
    command.write_certificate(found, path)


def run_one(path: Path, connector: Connector | None = None) -> None:
    connector = connector or toy_connector()
    test = conformance_tests(connector, path)
    [bench] = kit.benches(connector)
    test(bench, kit.check_named(CHECK))


def test_one_that_says_what_is_so_is_no_matter(path: Path) -> None:
    run_one(path)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = orjson.loads(path.read_bytes())
    change(found)
    path.write_bytes(orjson.dumps(found))


CHANGES: tuple[tuple[Callable[[dict[str, Any]], object], str], ...] = (
    (lambda found: found["checks"][0].update(outcome="waived"), "is waived in it, and proven now"),
    (lambda found: found["checks"].pop(), "others are checks"),
    (lambda found: found["versions"].update(kit=1), "others are kit"),
    (lambda found: found["connector"].update(version="0.0.9"), "others are connector"),
    (lambda found: found["waivers"].append({}), "others are waivers"),
    (lambda found: found.update(certified=False), "nothing is certified by it"),
    (lambda found: found.pop("checks"), "it cannot be read"),
)


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_one_that_says_otherwise_fails_and_says_how_it_is_issued_again(
    path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    """Seen to fail where nobody looked at the file."""
    changed(path, change)
    with pytest.raises(pytest.fail.Exception, match=said) as failed:
        run_one(path)
    assert f"Next: python -m schoolgate_sdk.testing.conformance toy --out {path}" in str(failed.value)


def test_one_that_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="cannot be read"):
        run_one(tmp_path / "certificate.json")


def test_the_versions_of_what_else_is_installed_make_none_out_of_date(path: Path) -> None:
    changed(path, lambda found: found["versions"].update(python="3.99.0", protobuf="9"))
    run_one(path)


def test_a_check_that_failed_says_so_whatever_the_certificate_says(path: Path) -> None:
    connector = replace(toy_connector(), datasets=toy_connector().datasets[::-1])
    test = conformance_tests(connector, path)
    [bench] = kit.benches(connector)
    with pytest.raises(pytest.fail.Exception) as failed:
        test(bench, kit.check_named("description.order"))
    assert "certificate" not in str(failed.value)


def test_one_that_would_change_in_its_date_alone_stays_as_it_is(path: Path) -> None:
    """Seen to fail where each time made a difference."""
    before = path.read_bytes()
    issue(path, 2)
    assert path.read_bytes() == before
    issue(path, 3, display_name="Another toy")
    assert orjson.loads(path.read_bytes())["issued_at"] == "2026-09-03T00:00:00+00:00"


@pytest.mark.parametrize("text", ["", "[]", "{}", "\udcff"])
def test_whatever_else_is_in_the_place_is_written_over(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    issue(path, 2)
    assert orjson.loads(path.read_bytes())["format"] == issuing.FORMAT
