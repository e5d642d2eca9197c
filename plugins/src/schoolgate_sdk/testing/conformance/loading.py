"""Finding an installed connector by its name."""

from __future__ import annotations

from importlib.metadata import entry_points

import pluggy

from schoolgate_sdk.connector import Connector
from schoolgate_sdk.hooks import ENTRY_POINT_GROUP, HOOK_NAMESPACE, ConnectorHooks


class NoSuchConnector(LookupError):
    """There is no such connector, or it cannot be loaded; the text says why, and what to do."""


def installed() -> list[str]:
    """Return the names of the connectors that are installed."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def load(name: str) -> Connector:
    """Return the description of the installed connector called ``name``.

    Raises:
        NoSuchConnector: it is not installed, cannot be imported, or describes no connector of that name.
    """
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in points:
        there = ", ".join(sorted(points)) or "none"
        raise NoSuchConnector(
            f"no connector {name!r} is installed (there are: {there}); install its distribution, and see "
            f'that its pyproject.toml has [project.entry-points."{ENTRY_POINT_GROUP}"]'
        )
    manager = pluggy.PluginManager(HOOK_NAMESPACE)
    manager.add_hookspecs(ConnectorHooks)
    try:
        manager.register(points[name].load(), name)
        manager.check_pending()
        described: list[object] = manager.hook.schoolgate_connector()
    except (Exception, SystemExit) as error:  # whoever exits, be it with 0, is not certified by that
        raise NoSuchConnector(
            f"the connector {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    match described:
        case [Connector() as connector] if connector.name == name:
            return connector
        case [Connector() as connector]:
            raise NoSuchConnector(
                f"the entry point {name!r} leads to a connector called {connector.name!r}; "
                "let both have one name"
            )
        case _:
            raise NoSuchConnector(
                f"the module of {name!r} has no hook that returns a Connector: "
                "@hookimpl def schoolgate_connector() -> Connector"
            )
