"""The service as a process with a MongoDB of its own, a simulated MIS, and other people's gRPC clients."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.simulator import Simulator, start_simulator

ROOT = Path(__file__).parents[2]
READY = "serving at "


def find_tool(name: str) -> str:
    """Return the path of a command, or skip the test and say how to get it."""
    places = [
        ROOT / ".tools" / "bin",
        ROOT / ".venv" / "bin",
        Path(sys.executable).parent,
        Path.home() / "go" / "bin",
    ]
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))
    if found is None:
        pytest.skip(
            f"{name} is not installed: not on PATH, nor in .tools/bin, .venv/bin or ~/go/bin "
            f"(grpcurl: GOBIN=$PWD/.tools/bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest)"
        )
    return found


@pytest.fixture(scope="session")
def grpcurl_path() -> str:
    return find_tool("grpcurl")


@pytest.fixture(scope="session")
def buf_path() -> str:
    return find_tool("buf")


@dataclass(frozen=True)
class Service:
    """A running `schoolgate serve`; ``log`` is the file that takes its standard error."""

    target: str
    log: Path
    process: subprocess.Popen[str]


@contextmanager
def service(folder: Path, settings: Mapping[str, str]) -> Generator[Service]:
    """Run `schoolgate serve` on a free port with ``settings`` until the block is left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    environment |= {
        "SCHOOLGATE_LISTEN__PORT": "0",
        "SCHOOLGATE_EMBEDDED__DATA_DIR": str(folder / "data"),
        # A simulated MIS need not be spared, and one that was away is asked again soon enough to be seen.
        "SCHOOLGATE_TRAFFIC__HOST_RATE": "1000",
        "SCHOOLGATE_TRAFFIC__SCHOOL_RATE": "1000",
        "SCHOOLGATE_TRAFFIC__CIRCUIT_OPEN_S": "0.2",
        "SCHOOLGATE_TRAFFIC__CIRCUIT_OPEN_LONGEST_S": "0.4",
        **settings,
    }
    log = folder / "server.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "schoolgate_server.cli", "serve"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(READY), f"the service did not start:\n{log.read_text()[-3000:]}"
        yield Service(line.removeprefix(READY).strip(), log, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="session")
def simulator() -> Generator[Simulator]:
    with start_simulator("--pupils", "40", "--marks-until", "2026-09-11") as running:
        yield running


@pytest.fixture(scope="session")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """A service without callers, as a newcomer has it."""
    with service(tmp_path_factory.mktemp("open"), {}) as running:
        yield running
