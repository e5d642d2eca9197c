"""The simulated MIS of the demo: what it announces when it is ready, and how it is edited."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from schoolgate.v1.school_service_pb2 import AcademicYearSpan
from schoolgate_server.cli.failures import CommandFailed

_TIMEOUT = 30.0
"""Seconds that one edit may take."""


@dataclass(frozen=True, slots=True)
class SimulatedSchool:
    """One school of the simulator: its number at the MIS, its name and year, and what opens it."""

    number: int
    name: str
    year: AcademicYearSpan
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator that listens at ``url``, with a control interface under /_simulator/."""

    url: str
    schools: tuple[SimulatedSchool, ...]

    def edit(self, school: int, operation: str, **values: str | int) -> Mapping[str, Any]:
        """Change the world of ``school``, as somebody at the school would; returns what the simulator answers.

        Raises:
            CommandFailed: the simulator refused.
        """
        return self._post("/_simulator/edit", {"school": school, "op": operation, **values})

    def _post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_TIMEOUT)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        except OSError as error:
            raise CommandFailed(f"the simulator at {self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise CommandFailed(f"the simulator refused {path}: {response.status} {text[:200]}")
        answer: Mapping[str, Any] = json.loads(text)
        return answer


def announced(stdout: Path) -> Simulator | None:
    """Return the simulator as its ready line in ``stdout`` describes it; ``None`` before there is one."""
    for line in stdout.read_text().splitlines():
        if line.startswith("{") and line.endswith("}"):
            ready = json.loads(line)
            return Simulator(ready["url"].rstrip("/"), tuple(_school(entry) for entry in ready["schools"]))
    return None


def _school(entry: Mapping[str, Any]) -> SimulatedSchool:
    credentials = {name: entry[name] for name in ("application_id", "application_secret")}
    details = {name: value for name, value in entry.items() if name not in credentials}
    return SimulatedSchool(int(entry["number"]), str(entry["name"]), details, credentials)
