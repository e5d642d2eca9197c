"""Wheels alone, in a clean environment, from an empty folder: the server runs and a school is synced."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.installing import Environment, Workshop, members, server_environment
from tests.packaging.serving import is_running, needs_embedded_mongod, serving

pytestmark = [
    needs_embedded_mongod,
    pytest.mark.mongod,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("packaging: installed server"),
]

APPLICATION = {"application_id": "wheels", "application_secret": "wheels-only"}


@pytest.fixture(scope="module")
def installed(workshop: Workshop) -> Environment:
    return server_environment(workshop)


def test_nothing_of_the_tools_comes_along(installed: Environment) -> None:
    names = set(installed.distributions())
    assert set(members()) - {"schoolgate-client"} <= names
    # The client is for those who call the server.
    assert not names & {
        "schoolgate-client",
        "pytest",
        "mongomock",
        "motor",
        "ruff",
        "mypy",
        "hypothesis",
        "schoolgate-workspace",
    }


def test_every_module_can_be_imported(installed: Environment) -> None:
    code = (
        "import importlib, pkgutil, schoolgate, schoolgate_bromcom as b, schoolgate_sdk as k\n"
        "import schoolgate_server as s, schoolgate_wonde as w\n"
        "for package in (schoolgate, k, b, w, s):\n"
        "    for m in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not m.name.endswith('__main__'): print(importlib.import_module(m.name).__file__)\n"
    )
    files = installed.output("python", "-W", "error", "-c", code).splitlines()
    assert len(files) > 100
    assert all(Path(file).is_relative_to(installed.folder) for file in files)


@contextmanager
def bromcom(installed: Environment) -> Generator[dict[str, Any]]:
    """Run the simulator of the installed wheel and yield its greeting."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in APPLICATION.items()]
    with subprocess.Popen(
        [
            *(installed.folder / "bin" / "schoolgate", "simulate", "bromcom"),
            *("--pupils=30", "--marks-until=2026-09-12", *options),
        ],
        cwd=installed.cwd,
        env=installed.variables(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def test_serves_syncs_and_stops(installed: Environment, tmp_path: Path) -> None:
    with serving(installed, tmp_path) as server:
        assert server.told("health").strip() == "serving"
        assert re.search(r"^bromcom +\S+ +loaded ", server.told("connectors"), re.MULTILINE)
        with bromcom(installed) as mis:
            server.told(
                *("school", "add", "oak", "--academic-year", "2026-09-01:2027-09-01"),
                *("--setting", f"base_url={mis['base_url']}"),
                *("--setting", f"school_number={mis['schools'][0]}"),
                **{f"SCHOOLGATE_CREDENTIAL_{name.upper()}": value for name, value in APPLICATION.items()},
            )
            server.told("sync", "oak")
        assert int(server.told("count", "oak", "student")) == 30
        assert int(server.told("count", "oak", "attendance_mark")) > 30
        assert is_running(server.mongod)
        assert server.stop() == 0
        assert not is_running(server.mongod)
    assert not list(installed.cwd.iterdir()), "it wrote where it was started"


def test_a_server_that_cannot_start_says_why(installed: Environment) -> None:
    done = installed.run("schoolgate", "serve", settings={"SCHOOLGATE_LISTEN__ADDRESS": "0.0.0.0"})
    assert done.returncode == 1
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
