"""The certificate: what was proven of a connector, what was waived and why, and with which versions."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.testing.conformance.bench import PUPILS, SEED
from schoolgate_sdk.testing.conformance.outcome import Outcome, Result
from schoolgate_sdk.testing.conformance.target import Waiver

FORMAT = 1
"""Raised when a member of the certificate changes its meaning."""

KIT_VERSION = 5
"""Raised when a check is added or asks for more: what an earlier kit proved may be less."""


def certificate(
    connector: Connector, results: Mapping[str, Iterable[Result]], issued_at: datetime, *, complete: bool
) -> dict[str, object]:
    """Return the certificate as JSON can say it; ``results`` are by surface ("" where there is one).

    ``complete`` says that every check was run; without it nothing is certified.
    """
    surfaces = {name: list(found) for name, found in results.items()}
    every = [result for found in surfaces.values() for result in found]
    counted = Counter(result.outcome for result in every)
    return {
        "format": FORMAT,
        "certified": complete and not counted[Outcome.FAILED],
        "complete": complete,
        "connector": {
            "name": connector.name,
            "display_name": connector.display_name,
            "version": connector.version,
            "parsers": {dataset.name: list(dataset.parser_versions) for dataset in connector.datasets},
            "capabilities": sorted(connector.capabilities),
            "writes": {operation.name: operation.safety.value for operation in connector.writes},
        },
        "issued_at": issued_at.isoformat(timespec="seconds"),
        "versions": {
            "kit": KIT_VERSION,
            "schoolgate-sdk": _version("schoolgate-sdk"),
            "schoolgate-proto": _version("schoolgate-proto"),
            "protobuf": _version("protobuf"),
            "python": platform.python_version(),
        },
        "world": {"seed": SEED, "pupils": PUPILS},
        "counts": {outcome.value: counted[outcome] for outcome in Outcome},
        "waivers": [
            {"surface": target.surface, **_waiver(waiver)}
            for target in (connector.conformance().surfaces if connector.conformance else ())
            for waiver in target.waivers
        ],
        "checks": [
            {"surface": surface, **_result(result)} for surface, found in surfaces.items() for result in found
        ],
    }


def _waiver(waiver: Waiver) -> dict[str, str]:
    about = {} if waiver.kind is None else {"kind": KINDS[waiver.kind].name}
    return {**about, "waived": waiver.says, "reason": waiver.reason}


def _result(result: Result) -> dict[str, str]:
    shown = {
        "id": result.id,
        "says": result.says,
        "outcome": result.outcome.value,
        "detail": result.detail,
    }
    return {**shown, "next_step": result.next_step} if result.next_step else shown


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
