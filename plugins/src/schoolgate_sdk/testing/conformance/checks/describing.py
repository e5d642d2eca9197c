"""What a connector says of itself: settings, credentials, versions, capabilities, order."""

from __future__ import annotations

import re
from typing import Final

from schoolgate_sdk.connector import FieldSpec
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.reading import CountRows, Grants, ReadBack, ReadChanges
from schoolgate_sdk.testing.conformance.bench import Bench
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed
from schoolgate_sdk.writing import FindWrite, WriteRows, WriteSafety

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_WHERE: Final = re.compile(r"(^|_)(url|uri|host|hostname|address|domain|server|port|endpoint)(_|$)")
_HOW_LONG: Final = re.compile(r"(^|_)(timeout|retry|retries|wait|attempts|seconds|page_size)(_|$)")
_CAPABILITIES: Final[dict[str, type]] = {
    "count": CountRows,
    "grants": Grants,
    "read_back": ReadBack,
    "changes": ReadChanges,
}


def _spec_problem(spec: FieldSpec, *, secret: bool) -> tuple[str, str] | None:
    if not _NAME.fullmatch(spec.name):
        return "has a malformed name", "use small letters, digits and underscores"
    if len(spec.description.split()) < 2:
        return "has no description", "say in a sentence what a person has to enter"
    if spec.required and spec.default:
        return "is required and has a default", "one of the two"
    if secret and (spec.default or spec.endpoint):
        return "is a credential with a default or endpoint=True", "credentials have neither"
    if not secret and _WHERE.search(spec.name) and not spec.endpoint:
        return (
            "looks like where requests are sent, and is not endpoint=True",
            "FieldSpec(endpoint=True): whoever changes it must not get the stored credentials",
        )
    if not secret and not spec.endpoint and _HOW_LONG.search(spec.name) and spec.scope:
        return (
            "looks like it does not decide which rows there are, and has scope=True",
            "FieldSpec(scope=False), else a change of it is taken for a change of what is read",
        )
    return None


async def _fields(bench: Bench) -> str:
    connector = bench.connector
    for specs, secret in ((connector.settings, False), (connector.credentials, True)):
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise CheckFailed("a setting or credential is described twice", "describe each once")
        for spec in specs:
            problem = _spec_problem(spec, secret=secret)
            if problem:
                raise CheckFailed(f"{spec.name} {problem[0]}", problem[1])
    async with bench.stage() as stage:
        for what, specs, given in (
            ("setting", connector.settings, stage.mis.settings),
            ("credential", connector.credentials, stage.mis.credentials),
        ):
            unknown = sorted(given.keys() - {spec.name for spec in specs})
            missing = sorted({spec.name for spec in specs if spec.required} - given.keys())
            if unknown:
                raise CheckFailed(
                    f"the target gives the {what} {unknown[0]}, which is not described", "add a FieldSpec"
                )
            if missing:
                raise CheckFailed(
                    f"the target does not give the {what} {missing[0]}, which is required",
                    "give it in SimulatedMis",
                )
    return f"{len(connector.settings)} settings, {len(connector.credentials)} credentials"


async def _versions(bench: Bench) -> str:
    connector = bench.connector
    if not re.match(r"\d", connector.version):
        raise CheckFailed(f"the version is {connector.version!r}", "use importlib.metadata.version(…)")
    said: list[str] = []
    for dataset in connector.datasets:
        if dataset.parser_version < 1:
            raise CheckFailed(f"the parser of {dataset.name} has no version", "begin with parser_version=1")
        said.append(f"{dataset.name} {'+'.join(map(str, dataset.parser_versions))}")
    return f"{connector.version}; parsers: {', '.join(said)}"


async def _order(bench: Bench) -> str:
    stage, arrival, _ = await bench.well()
    place = {
        spec.kind: number
        for number, dataset in enumerate(stage.bench.connector.datasets)
        for spec in dataset.kinds
    }
    for entity in arrival.all():
        for name, (kind, _key) in entity.refs.items():
            if place.get(kind, -1) > place[entity.kind]:
                raise CheckFailed(
                    f"{KINDS[entity.kind].name}.{name} refers to what is read later",
                    "order the datasets so that what is referred to comes first",
                )
    return " → ".join(dataset.name for dataset in bench.connector.datasets)


async def _capabilities(bench: Bench) -> str:
    connector = bench.connector
    async with bench.stage() as stage, stage.session() as session:
        for name, protocol in _CAPABILITIES.items():
            offered, named = isinstance(session, protocol), name in connector.capabilities
            if named and not offered:
                raise CheckFailed(
                    f"capabilities name {name}, and the session is no {protocol.__name__}",
                    "implement it, or take the name out",
                )
            if offered and not named:
                raise CheckFailed(
                    f"the session is a {protocol.__name__}, and capabilities do not name {name}",
                    f"add {name!r} to Connector.capabilities, for people look there",
                )
        if connector.writes and not isinstance(session, WriteRows):
            raise CheckFailed("writes are described, and the session is no WriteRows", "implement write()")
        findable = [write for write in connector.writes if write.safety is not WriteSafety.NONE]
        if findable and not isinstance(session, FindWrite):
            raise CheckFailed(
                "writes are described, and the session is no FindWrite",
                "implement find_write(): without it no lost answer can be made good",
            )
        if isinstance(session, WriteRows) and not connector.writes:
            raise CheckFailed("the session can write, and describes no writes", "add Connector.writes")
    return ", ".join(sorted(connector.capabilities)) or "whole datasets alone"


CHECKS: tuple[Check, ...] = (
    Check("description.fields", "Settings and credentials say what they are.", _fields),
    Check("description.versions", "Connector and parsers have versions.", _versions),
    Check("description.order", "What is referred to is read before what refers.", _order),
    Check("description.capabilities", "What the session can do is what is said of it.", _capabilities),
)
