"""A certificate that is kept beside a connector, and whether it still says what is so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.testing.conformance.certificate import certificate
from schoolgate_sdk.testing.conformance.outcome import Result

_OF_THE_CONNECTOR: Final = ("format", "world", "connector", "waivers")
"""Members that follow from the connector and the kit, before any check is run."""


@dataclass(frozen=True, slots=True)
class KeptCertificate:
    """``outcomes`` are by surface and id of the check.

    ``problem`` says how all of it is out of date, "" where it is not; ``again`` how it is issued again.
    """

    outcomes: Mapping[tuple[str, str], str]
    problem: str
    again: str

    def problem_with(self, surface: str, result: Result) -> str:
        """Return how the certificate says otherwise than what came out of a check; "" where it does not."""
        kept = self.outcomes.get((surface, result.id), "not there")
        if not self.problem and kept == result.outcome.value:
            return ""
        problem = self.problem or f"{result.id} is {kept} in it, and {result.outcome.value} now"
        return f"the certificate that is kept is out of date: {problem}\nNext: {self.again}"


def kept_certificate(path: Path, connector: Connector, checks: Iterable[tuple[str, str]]) -> KeptCertificate:
    """Return the certificate in a file, held against a connector and the checks, by surface and id."""
    again = f"python -m schoolgate_sdk.testing.conformance {connector.name} --out {path}"
    try:
        kept: Any = orjson.loads(path.read_bytes())
        outcomes = {(each["surface"], each["id"]): str(each["outcome"]) for each in kept["checks"]}
        found = {name: kept[name] for name in _OF_THE_CONNECTOR} | {"kit": kept["versions"]["kit"]}
        certified = bool(kept["certified"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return KeptCertificate({}, f"it cannot be read ({type(error).__name__})", again)
    epoch = datetime.fromtimestamp(0, UTC)
    now: Any = orjson.loads(orjson.dumps(certificate(connector, {}, epoch, complete=True)))
    expected = {name: now[name] for name in _OF_THE_CONNECTOR} | {"kit": now["versions"]["kit"]}
    others = [name for name, value in expected.items() if found[name] != value]
    if set(outcomes) != set(checks):
        others.append("checks")
    problem = f"others are {', '.join(others)}" if others else ""
    return KeptCertificate(outcomes, problem or ("" if certified else "nothing is certified by it"), again)
