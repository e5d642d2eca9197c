"""Every hook of schoolgate. There is one: a connector describes itself."""

from __future__ import annotations

import pluggy

from schoolgate_sdk.connector import Connector

HOOK_NAMESPACE = "schoolgate"
"""Project name of the hooks, shared by :data:`hookspec` and :data:`hookimpl`."""

ENTRY_POINT_GROUP = "schoolgate.connectors"
"""Entry point group under which a distribution names its connector modules."""

hookspec = pluggy.HookspecMarker(HOOK_NAMESPACE)
hookimpl = pluggy.HookimplMarker(HOOK_NAMESPACE)


class ConnectorHooks:
    """The hook specification that the host registers."""

    @hookspec
    def schoolgate_connector(self) -> Connector:
        """Return the frozen description of the connector. Called once, synchronously, without I/O."""
        raise NotImplementedError  # a specification is never called itself
