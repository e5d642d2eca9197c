"""Connectors come in through entry points; a broken one is reported and stops nobody."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.kind_pb2 import KIND_BEHAVIOUR_EVENT
from schoolgate_sdk import Connector, WriteOperation, WriteSafety, hookimpl
from schoolgate_server.mis.connectors import load_connectors
from schoolgate_server.model.errors import ServiceError
from tests.support.scripted import ScriptedMis, scripted_connector

Install = Callable[[str, Any], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make ``install(name, hook)`` behave as if a distribution with that entry point were installed."""
    points: list[importlib.metadata.EntryPoint] = []

    def add(name: str, hook: Any) -> None:
        module = types.ModuleType(f"installed_{name}")
        if hook is not None:
            module.schoolgate_connector = hook  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        points.append(importlib.metadata.EntryPoint(name, module.__name__, "schoolgate.connectors"))

    def installed(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(importlib.metadata, "entry_points", installed)
    return add


@hookimpl
def good() -> Connector:
    return scripted_connector(ScriptedMis())


@hookimpl
def raises() -> Connector:
    raise RuntimeError("boom")


@hookimpl
def not_a_connector() -> Any:
    return {"name": "scripted"}


@hookimpl
def exits() -> Connector:
    sys.exit("no licence \ud800")


@hookimpl
def unspeakable() -> Connector:
    return replace(scripted_connector(ScriptedMis()), name="unspeakable", display_name="\ud800")


@hookimpl
def numbered() -> Connector:
    return replace(scripted_connector(ScriptedMis()), name="numbered", version=5)  # type: ignore[arg-type]


def test_g18_a_connector_that_exits_or_cannot_be_described_stops_nobody(install: Install) -> None:
    """Seen to fail: the server ended with the first one, and nothing could be listed with the others."""
    install("scripted", good)
    for name, hook in (("exits", exits), ("unspeakable", unspeakable), ("numbered", numbered)):
        install(name, hook)
    host = load_connectors(["exits", "unspeakable", "numbered", "scripted"])
    assert list(host.loaded) == ["scripted"]
    assert [info.loaded for info in host.infos()] == [False, False, True, False]


def test_a_good_connector_is_loaded_and_described(install: Install) -> None:
    install("scripted", good)
    host = load_connectors(["scripted"])
    assert host.get("scripted").display_name == "Scripted MIS"
    [info] = host.infos()
    assert info.loaded
    assert [dataset.name for dataset in info.datasets] == ["students", "groups", "memberships", "marks"]


@pytest.mark.parametrize("safety", list(WriteSafety))
def test_what_a_connector_can_write_is_described(install: Install, safety: WriteSafety) -> None:
    """Each safety class, so that a new one needs a value in the API."""
    operation = WriteOperation(
        "deactivate_record",
        safety,
        required=("record_id",),
        optional=("comment",),
        natural_key=("record_id",),
        entities=("Events",),
        kinds=(KIND_BEHAVIOUR_EVENT,),
        announces=True,
    )

    @hookimpl
    def writing() -> Connector:
        return replace(scripted_connector(ScriptedMis()), writes=(operation,))

    install("scripted", writing)
    [info] = load_connectors(["scripted"]).infos()
    assert list(info.writes) == [
        d.ConnectorOperation(
            name="deactivate_record",
            safety=d.WriteSafety.Value(f"WRITE_SAFETY_{safety.name}"),
            required=["record_id"],
            optional=["comment"],
            kinds=[KIND_BEHAVIOUR_EVENT],
            announces=True,
            entities=["Events"],
        )
    ]


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (raises, "RuntimeError"),
        (not_a_connector, "must implement schoolgate_connector once"),
        (None, "must implement schoolgate_connector once"),
        (good, "calls itself 'scripted'"),
    ],
)
def test_a_broken_connector_is_reported_beside_a_good_one(install: Install, hook: Any, says: str) -> None:
    install("scripted", good)
    install("broken", hook)
    host = load_connectors(["broken", "scripted"])
    assert set(host.loaded) == {"scripted"}
    assert says in host.errors["broken"]
    assert [(info.name, info.loaded) for info in host.infos()] == [("broken", False), ("scripted", True)]
    with pytest.raises(ServiceError) as raised:
        host.get("broken")
    assert raised.value.reason == reasons.ERROR_REASON_CONNECTOR_UNKNOWN
    assert says in raised.value.message


def test_only_configured_connectors_are_imported(install: Install) -> None:
    install("scripted", good)
    install("broken", raises)
    host = load_connectors(["scripted"])
    assert host.errors == {}


def test_a_connector_that_is_not_installed_is_reported(install: Install) -> None:
    host = load_connectors(["absent"])
    assert "no installed distribution" in host.errors["absent"]
