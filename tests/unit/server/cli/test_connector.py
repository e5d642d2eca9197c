"""`schoolgate connector check` and `new`: the kit's own commands, as the server offers them."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from schoolgate_sdk import Connector
from schoolgate_sdk.testing.conformance import command, kit, loading
from schoolgate_sdk.testing.conformance.checks import describing
from tests.conformance.toy_connector import toy_connector
from tests.unit.server.cli.conftest import Run


def installed(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    def load(_name: str) -> Connector:
        return replace(toy_connector(), **changed)

    monkeypatch.setattr(loading, "load", load)


def test_checks_are_shown_and_a_certificate_is_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch)
    file = tmp_path / "certificate.json"
    outcome = run("connector", "check", "toy", "--only", "description.*", "--out", str(file))
    assert outcome.status == 0
    assert "proven          description.fields" in outcome.out
    assert "4 proven, 0 waived, 0 not applicable, 0 failed" in outcome.out
    certificate = json.loads(file.read_text())
    assert certificate["connector"]["name"] == "toy"
    assert not certificate["certified"], "not every check was run"


def test_a_certificate_has_a_place_of_its_own_where_nobody_names_one_and_every_check_was_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Seen to fail where a certificate was written only to a file that was named."""
    installed(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kit, "CHECKS", describing.CHECKS)
    some = run("connector", "check", "toy", "--only", "description.fields")
    assert "certificate" not in some.out
    assert not list(tmp_path.iterdir())
    every = run("connector", "check", "toy")
    assert every.out.endswith("certificate: toy-certificate.json\n")
    assert json.loads((tmp_path / "toy-certificate.json").read_text())["certified"]


def test_a_failed_check_is_the_exit_status(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, version="unreleased")
    outcome = run("connector", "check", "toy", "--only", "description.versions")
    assert outcome.status == 1
    assert "failed" in outcome.out
    assert "Next: " in outcome.out


def test_what_cannot_be_checked_is_an_error_that_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = run("connector", "check", "nobody")
    assert unknown.status == 1
    assert "no connector 'nobody' is installed" in unknown.err
    installed(monkeypatch, conformance=None)
    without = run("connector", "check", "toy")
    assert without.status == 1
    assert "has no conformance target; give it one" in without.err
    installed(monkeypatch)
    assert "no check is called 'x.*'" in run("connector", "check", "toy", "--only", "x.*").err


class Broken(StringIO):
    """A standard output whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_what_cannot_be_written_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Seen to fail where a table that broke was told as a certificate that cannot be written."""
    installed(monkeypatch)
    monkeypatch.chdir(tmp_path)
    check = ("connector", "check", "toy", "--only", "description.fields")
    refused = run(*check, "--out", "nowhere/a.json")
    assert refused.status == 1
    assert "the certificate nowhere/a.json cannot be written: No such file" in " ".join(refused.err.split())
    monkeypatch.setattr("sys.stdout", Broken())
    broken = run(*check, "--out", "a.json")
    assert broken.status == 1
    assert "the table cannot be written: Broken pipe" in " ".join(broken.err.split())
    assert "certificate" not in broken.err


def test_the_kits_own_command_does_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(monkeypatch)
    check = ["toy", "--only", "description.fields", "--out"]
    file = tmp_path / "certificate.json"
    assert command.main([*check, str(file)]) == 0
    assert capsys.readouterr().out.endswith(f"certificate: {file}\n")
    assert command.main([*check, str(tmp_path)]) == 1
    assert "cannot be written: Is a directory" in capsys.readouterr().err
    assert command.main(["toy", "--only", "x.*"]) == 1
    assert "no check is called 'x.*'" in capsys.readouterr().err


def test_a_new_package_is_made_once(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    outcome = run("connector", "new", "zeta", "--folder", str(folder))
    assert outcome.status == 0
    assert "python -m schoolgate_sdk.testing.conformance zeta" in outcome.out
    assert (folder / "src" / "schoolgate_zeta" / "plugin.py").exists()
    again = run("connector", "new", "zeta", "--folder", str(folder))
    assert (again.status, "not an empty folder" in " ".join(again.err.split())) == (1, True)
    assert "schoolgate's own" in run("connector", "new", "sdk", "--folder", str(tmp_path / "x")).err
    assert "no name for a connector" in run("connector", "new", "Zeta!", "--folder", str(tmp_path / "x")).err
