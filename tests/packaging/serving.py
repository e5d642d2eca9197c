"""`schoolgate serve` out of a clean environment, with its embedded MongoDB."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from schoolgate_server.cli.operate import READY_PREFIX
from tests.packaging.installing import Environment

needs_embedded_mongod = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="the extra [embedded] brings a mongod for Linux on x86-64 only",
)

_STOP_SECONDS = 40


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True)
class Serving:
    """A server and how to ask it; ``log`` takes its standard error."""

    environment: Environment
    process: subprocess.Popen[str]
    target: str
    mongod: int
    log: Path

    def ask(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `schoolgate` with ``arguments`` as a client of this server."""
        return self.environment.run("schoolgate", *arguments, settings=self._with(settings))

    def told(self, *arguments: str, **settings: str) -> str:
        """Return what a `schoolgate` command that must succeed prints."""
        return self.environment.output("schoolgate", *arguments, settings=self._with(settings))

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def _with(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {"SCHOOLGATE_SERVER": self.target, **settings}


@contextmanager
def serving(
    environment: Environment, folder: Path, config: str = "", settings: Mapping[str, str] | None = None
) -> Generator[Serving]:
    """Serve with the TOML text ``config`` on a free port, data in ``folder``, until the block is left."""
    data, log, file = folder / "data", folder / "server.log", folder / "schoolgate.toml"
    file.write_text(f"{config}\n[listen]\nport = 0\n[embedded]\ndata_dir = '{data}'\n")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [environment.folder / "bin" / "schoolgate", "serve", "--config", str(file)],
            cwd=environment.cwd,
            env=environment.variables(settings),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(READY_PREFIX), f"the server did not start:\n{log.read_text()[-3000:]}"
        mongod = int((data / "mongod" / "db" / "mongod.lock").read_text())
        yield Serving(environment, process, line.removeprefix(READY_PREFIX).strip(), mongod, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
