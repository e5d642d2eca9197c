"""The MIS for writes as a child process that comes back on its port when a fault has ended it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import kept_ports
from tests.support.processes import kill, launch
from tests.support.write_mis.book import EFFECTS, ROWS
from tests.support.write_mis.connector import NAME
from tests.support.write_mis.disk import Line, lines_of
from tests.support.write_mis.faults import Odds

ROOT = Path(__file__).parents[3]


@dataclass
class WriteMisProcess:
    """A running MIS at ``url``, whose disk is ``folder``; ``restarts`` counts how often it came back."""

    folder: Path
    port: int
    pupils: int
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set_odds(self, odds: Odds) -> None:
        """Let other faults befall the requests to come."""
        request = urllib.request.Request(
            f"{self.url}/_control/odds",
            method="POST",
            data=json.dumps(odds.as_json()).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30):
            pass

    def effects(self) -> Counter[str]:
        """Return how often the write of each key took effect, counted on the MIS's disk."""
        rows = [line for line in lines_of(self.folder / ROWS) if line["what"] == "row"]
        return Counter(line["judged"] for line in rows)

    def noted(self) -> list[Line]:
        """Return what was noted of the key ``judged``: each ``request`` (a time), ``effect``, ``fault``."""
        return lines_of(self.folder / EFFECTS)

    def faults(self) -> list[Line]:
        """Return the faults that befell writes: ``fault``, ``entity`` and ``judged``."""
        return [line for line in self.noted() if "fault" in line]

    def start(self) -> None:
        """Start the process, and return once it listens."""
        place = ["--folder", str(self.folder), "--port", str(self.port), "--pupils", str(self.pupils)]
        command = [sys.executable, "-m", "tests.support.write_mis.server", *place]
        self.process = launch(command, stdout=subprocess.PIPE, environment=environment())
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), "the MIS ended before it was ready"

    def keep_alive(self) -> None:
        """Start it again whenever it has ended, until :meth:`stop`."""
        while not self._ending.is_set():
            assert self.process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
                if not self._ending.is_set():
                    self._close()
                    self.restarts += 1
                    self.start()

    def stop(self) -> None:
        """End it for good."""
        self._ending.set()

    def end(self) -> None:
        """End the process."""
        assert self.process is not None
        kill(self.process)
        self._close()

    def _close(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def write_mis(folder: Path, *, pupils: int = 40, odds: Odds | None = None) -> Generator[WriteMisProcess]:
    """Run the MIS with its disk in ``folder`` until the block is left."""
    folder.mkdir(parents=True, exist_ok=True)
    with kept_ports(1) as [port]:
        mis = WriteMisProcess(folder, port, pupils)
        mis.start()
        keeper = threading.Thread(target=mis.keep_alive)
        keeper.start()
        try:
            if odds is not None:
                mis.set_odds(odds)
            yield mis
        finally:
            mis.stop()
            keeper.join()
            mis.end()


def environment() -> dict[str, str]:
    """Return the environment of a child that imports what this process does."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    return {**os.environ, "PYTHONPATH": path}


def install_plugin(folder: Path) -> Path:
    """Make ``folder`` one that, on a process's path, has it find the connector as an installed distribution.

    That is what an entry point asks for: metadata; the module is importable anyway.
    """
    metadata = folder / f"schoolgate_{NAME}-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: schoolgate-{NAME}\nVersion: 1\n")
    point = f"[schoolgate.connectors]\n{NAME} = tests.support.write_mis.connector\n"
    (metadata / "entry_points.txt").write_text(point)
    return folder
