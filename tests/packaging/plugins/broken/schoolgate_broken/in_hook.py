"""Is imported, and fails when it is asked to describe itself."""

from schoolgate_sdk import Connector, hookimpl


@hookimpl
def schoolgate_connector() -> Connector:
    raise RuntimeError("the licence of this connector has expired")
