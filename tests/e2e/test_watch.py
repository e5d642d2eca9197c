"""The change feed of a real server: the examples of docs/watch.md, and a copy that follows a school."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_client import SqliteTable
from tests.e2e.conftest import ROOT, Service, service
from tests.support.live import Live, live
from tests.support.simulator import Simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

DOCUMENT = (ROOT / "docs" / "watch.md").read_text()
ADDRESS = "localhost:50551"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def lines(name: str) -> list[str]:
    found = [line for block in examples("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in found if line.startswith(f"{name} ")]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A service of its own: the README's examples, too, register a school called oak."""
    with service(tmp_path_factory.mktemp("watched"), {}) as running:
        yield running


@pytest.fixture(scope="module")
def oak(watched: Service, simulator: Simulator) -> Generator[Live]:
    with live(watched.target, watched.log.parent / "data") as followed:
        followed.register("oak", simulator)
        followed.sync("oak")
        yield followed


@pytest.mark.parametrize("example", lines("schoolgate"))
def test_examples_of_the_command(oak: Live, watched: Service, example: str) -> None:
    _, *arguments = shlex.split(example)
    done = subprocess.run(
        [sys.executable, "-m", "schoolgate_server.cli", *arguments],
        env={**os.environ, "SCHOOLGATE_SERVER": watched.target},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    written = [done.stdout.count(mark) for mark in ("created  student stu_", '"kind": "KIND_STUDENT"')]
    assert max(written) == oak.count("oak", kinds.KIND_STUDENT)


def test_examples_with_grpcurl(oak: Live, watched: Service, grpcurl_path: str) -> None:
    [example] = lines("grpcurl")
    _, *arguments = shlex.split(example.replace(ADDRESS, watched.target))
    done = subprocess.run([grpcurl_path, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.count('"CHANGE_TYPE_CREATED"') == oak.count("oak", kinds.KIND_STUDENT)
    assert "DeadlineExceeded" in done.stderr


def test_g13_the_copy_of_the_example_follows_the_school(
    oak: Live, watched: Service, simulator: Simulator, tmp_path: Path
) -> None:
    """Through syncs and a follower that is killed and started again."""
    [example] = examples("python")
    script = tmp_path / "follow.py"
    script.write_text(example.replace(ADDRESS, watched.target))
    for turn in range(2):
        process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
        try:
            if turn:
                simulator.edit({"op": "rename", "pupil": 3, "surname": "Okonkwo", "forename": "Ada"})
                oak.sync("oak")
            live_now = {i: r for i, r in oak.everything("oak").items() if not r.HasField("tombstone")}
            until = time.monotonic() + 150
            while (copy := _copy(tmp_path / "oak.db")) != live_now and time.monotonic() < until:
                time.sleep(0.2)
            assert copy == live_now
        finally:
            process.kill()
            process.wait()


def _copy(file: Path) -> object:
    table = SqliteTable(file)
    try:
        return table.records()
    finally:
        table.close()
