"""The demo's stage: a server with a MongoDB of its own and a simulated MIS, each in its own process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from schoolgate_server.cli.client import Client, Target, connect
from schoolgate_server.cli.demo import mis, processes
from schoolgate_server.cli.demo.narrator import Narrator
from schoolgate_server.cli.failures import CallFailed, CommandFailed
from schoolgate_server.cli.operate import READY_PREFIX

CONNECTOR = "bromcom"
"""The connector whose simulator plays the MIS."""
_READY_SECONDS = 60.0
"""How long server and simulator may take to begin; a cold disk reads a MongoDB of 100 MB first."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs: a client of the server, the simulated MIS, and the folder that holds all data and logs."""

    client: Client
    simulator: mis.Simulator
    folder: Path


@contextmanager
def folder(*, keep: bool) -> Generator[Path]:
    """Make the demo's folder; remove it at the end, unless it is to be kept or something failed."""
    made = Path(tempfile.mkdtemp(prefix="schoolgate-demo-"))
    try:
        yield made
    except (CallFailed, CommandFailed):
        keep = True  # the logs say more
        raise
    finally:
        if not keep:
            shutil.rmtree(made, ignore_errors=True)


def _server_settings(data: Path) -> dict[str, str]:
    return {"SCHOOLGATE_EMBEDDED__DATA_DIR": str(data), "SCHOOLGATE_LISTEN__PORT": "0"}


@contextmanager
def raised(narrator: Narrator, where: Path, simulator_arguments: Sequence[str]) -> Generator[Stage]:
    """Start both processes at once, wait for both, and stop them when the context ends.

    Raises:
        CommandFailed: one of them did not come up; the message has the end of its log.
    """
    simulate = ("simulate", CONNECTOR, "--host", "127.0.0.1", "--port", "0", *simulator_arguments)
    with ExitStack() as stack:
        server = stack.enter_context(
            processes.child("server", ["serve"], where, _server_settings(where / "data"))
        )
        simulator = stack.enter_context(processes.child("simulator", simulate, where, {}))
        with narrator.waiting("started"):
            announced = simulator.wait_for(mis.announced, _READY_SECONDS)
            address = server.wait_for(_address, _READY_SECONDS)
        client = stack.enter_context(connect(Target(address)))
        yield Stage(client, announced, where)


def _address(stdout: str) -> str | None:
    line, newline, _ = stdout.partition("\n")
    return line.removeprefix(READY_PREFIX) if newline else None
