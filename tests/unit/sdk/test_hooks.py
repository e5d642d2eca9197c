"""Every hook is documented, and works through pluggy under the project's name."""

from __future__ import annotations

import inspect

import pluggy

from schoolgate_sdk import Connector, hookimpl
from schoolgate_sdk.hooks import ENTRY_POINT_GROUP, HOOK_NAMESPACE, ConnectorHooks
from tests.unit.sdk.descriptions import connector

TESTED = {"schoolgate_connector"}


def _hooks() -> dict[str, object]:
    return {
        name: member
        for name, member in inspect.getmembers(ConnectorHooks, inspect.isfunction)
        if hasattr(member, f"{HOOK_NAMESPACE}_spec")
    }


def test_every_hook_is_documented_and_tested() -> None:
    assert set(_hooks()) == TESTED
    assert all(inspect.getdoc(hook) for hook in _hooks().values())


def test_a_plugin_describes_its_connector() -> None:
    described = connector()

    class Plugin:
        @hookimpl
        def schoolgate_connector(self) -> Connector:
            return described

    manager = pluggy.PluginManager(HOOK_NAMESPACE)
    manager.add_hookspecs(ConnectorHooks)
    manager.register(Plugin())
    manager.check_pending()
    assert manager.hook.schoolgate_connector() == [described]


def test_connectors_are_found_under_the_documented_entry_point() -> None:
    assert ENTRY_POINT_GROUP == "schoolgate.connectors"
