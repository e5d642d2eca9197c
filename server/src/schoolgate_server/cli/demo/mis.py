"""The simulated MIS of the demo: what it announces when it is ready, and how it is edited."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from schoolgate_server.cli.failures import CommandFailed

_TIMEOUT = 30.0
"""Seconds that the simulator may take for one edit."""


@dataclass(frozen=True, slots=True)
class SimulatedSchool:
    """One school of the simulator: its number at the MIS, and its name."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator at ``url``, with its API at ``base_url`` and a control interface under /_simulator/.

    ``settings`` are those that a registration of any of its schools needs besides.
    """

    url: str
    base_url: str
    settings: Mapping[str, str]
    credentials: Mapping[str, str] = field(repr=False)

    def schools(self) -> list[SimulatedSchool]:
        """Return the schools that it serves; raises CommandFailed."""
        state = self._request("GET", "/_simulator/")
        return [SimulatedSchool(entry["school"], entry["name"]) for entry in state["schools"]]

    def edit(self, school: int, operation: str, **values: str | int) -> None:
        """Change the world of ``school``, as somebody there would in the MIS; raises CommandFailed."""
        self._request("POST", "/_simulator/edit", {"school": school, "op": operation, **values})

    def _request(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Mapping[str, Any]:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_TIMEOUT)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
        except OSError as error:
            raise CommandFailed(f"the simulator at {self.url} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise CommandFailed(f"the simulator refused {method} {path}: {response.status} {text[:200]}")
        answer: Mapping[str, Any] = json.loads(text)
        return answer


def announced(stdout: str) -> Simulator | None:
    """Return the simulator as its ready line in ``stdout`` describes it; ``None`` before there is one."""
    line, newline, _ = stdout.partition("\n")
    if not newline:
        return None
    ready = json.loads(line)
    credentials = {name: ready[name] for name in ("application_id", "application_secret")}
    return Simulator(ready["url"], ready["base_url"], ready["settings"], credentials)
