"""The Bromcom simulator as a process of its own, for tests of whatever reads from it.

with start_simulator("--pupils", "60", "--marks-until", "2026-09-12") as simulator:
    simulator.edit({"op": "leave", "pupil": 3})
    simulator.faults({"kind": "truncate_page", "entity": "BasicAttendance", "page": 0})
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from schoolgate_bromcom.simulator.record_rows import SETTINGS


@dataclass(frozen=True)
class Simulator:
    """A running simulator. ``settings`` and ``credentials`` are those of its first school's registration.

    ``accounts`` are the schools' at the SOAP services, by number.
    """

    url: str
    schools: tuple[int, ...]
    application_id: str
    application_secret: str
    soap_url: str
    accounts: Mapping[str, Mapping[str, str]]
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        return f"{self.url}/v2"

    @property
    def settings(self) -> dict[str, str]:
        return self.settings_of(self.schools[0])

    def settings_of(self, school: int) -> dict[str, str]:
        return {
            **SETTINGS,
            "base_url": self.base_url,
            "school_number": str(school),
            "retry_wait_seconds": "0.01",
        }

    @property
    def credentials(self) -> dict[str, str]:
        return {"application_id": self.application_id, "application_secret": self.application_secret}

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control interface: ``control("POST", "edit", {…})``; returns the decoded answer."""
        request = urllib.request.Request(
            f"{self.url}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def edit(self, edit: Mapping[str, object]) -> dict[str, int]:
        """Edit a world and return the numbers concerned."""
        concerned: dict[str, int] = self.control("POST", "edit", edit)["concerned"]
        return concerned

    def faults(self, *faults: Mapping[str, object]) -> None:
        self.control("POST", "faults", {"faults": list(faults)})

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def log(self) -> dict[str, Any]:
        """Return ``{"requests": n, "entities": {name: {"requests": n, "rows": n}}, "latest": [...]}``."""
        log: dict[str, Any] = self.control("GET", "log")
        return log

    def clear_log(self) -> None:
        self.control("DELETE", "log")


@contextmanager
def start_simulator(*arguments: str) -> Generator[Simulator, None, None]:
    """Run ``python -m schoolgate_bromcom.simulator`` with ``arguments`` until the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "schoolgate_bromcom.simulator", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the simulator ended with status {process.wait(10)} before it was ready")
        ready = json.loads(line)
        yield Simulator(
            url=ready["url"],
            schools=tuple(ready["schools"]),
            application_id=ready["application_id"],
            application_secret=ready["application_secret"],
            soap_url=ready["soap_url"],
            accounts=ready["accounts"],
            process=process,
        )
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        process.stdout.close()
