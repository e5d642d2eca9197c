"""The host of connectors: a typed face over pluggy and entry points."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pluggy
from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.diagnostics_service_pb2 import (
    ConnectorDataset,
    ConnectorField,
    ConnectorInfo,
    ConnectorOperation,
    WriteSafety,
)
from schoolgate_sdk import HOOK_NAMESPACE, Connector, FieldSpec, WriteOperation
from schoolgate_sdk.hooks import ENTRY_POINT_GROUP, ConnectorHooks
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import party_of, place_of


class ConnectorLoadError(Exception):
    """A configured connector cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class ConnectorHost:
    """The configured connectors: those that loaded, and why the others did not."""

    loaded: Mapping[str, Connector]
    errors: Mapping[str, str]

    def get(self, name: str) -> Connector:
        """Return the connector called ``name``.

        Raises:
            ServiceError: ``CONNECTOR_UNKNOWN``; the text says why, and what there is.
        """
        connector = self.loaded.get(name)
        if connector is None:
            why = self.errors.get(name, "it is not among the configured ones")
            available = ", ".join(sorted(self.loaded)) or "none"
            raise ServiceError(
                reasons.ERROR_REASON_CONNECTOR_UNKNOWN,
                f"connector {name[:80]!r} cannot be used: {why}; loaded: {available}",
                metadata={"connector": name[:80]},
            )
        return connector

    def infos(self) -> list[ConnectorInfo]:
        """Return what the API says about every configured connector, by name."""
        infos = [_info(connector) for connector in self.loaded.values()]
        infos += [ConnectorInfo(name=name, load_error=error) for name, error in self.errors.items()]
        return sorted(infos, key=lambda info: info.name)


def load_connectors(names: Iterable[str]) -> ConnectorHost:
    """Load the connectors called ``names`` by their entry points; a broken one does not stop the others."""
    entry_points = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    loaded: dict[str, Connector] = {}
    errors: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            loaded[name] = _load(name, entry_points)
        except ConnectorLoadError as error:
            errors[name] = str(error)
            logger.warning("connector {} could not be loaded: {}", name, error)
    return ConnectorHost(loaded, errors)


def _load(name: str, entry_points: Mapping[str, importlib.metadata.EntryPoint]) -> Connector:
    point = entry_points.get(name)
    if point is None:
        raise ConnectorLoadError(
            f"no installed distribution has an entry point {name!r} in the group {ENTRY_POINT_GROUP}"
        )
    manager = pluggy.PluginManager(HOOK_NAMESPACE)
    manager.add_hookspecs(ConnectorHooks)
    try:
        manager.register(point.load(), name)
        manager.check_pending()
        described: list[object] = manager.hook.schoolgate_connector()
    except (Exception, SystemExit) as error:
        said = str(error).encode(errors="backslashreplace").decode()
        raise ConnectorLoadError(f"{place_of(error)}: {said}") from error
    if len(described) != 1 or not isinstance(described[0], Connector):
        raise ConnectorLoadError("its module must implement schoolgate_connector once and return a Connector")
    connector = described[0]
    if connector.name != name:
        raise ConnectorLoadError(f"its entry point is {name!r}, but it calls itself {connector.name!r}")
    try:
        _info(connector)
    except Exception as error:
        raise ConnectorLoadError("its description holds what the API cannot say") from error
    return connector


def _info(connector: Connector) -> ConnectorInfo:
    return ConnectorInfo(
        name=connector.name,
        loaded=True,
        display_name=connector.display_name,
        version=connector.version,
        settings=[_field(spec) for spec in connector.settings],
        credentials=[_field(spec) for spec in connector.credentials],
        datasets=[
            ConnectorDataset(
                name=dataset.name,
                kinds=[spec.kind for spec in dataset.kinds],
                entities=dataset.entities,
                parser_version=dataset.parser_version,
                parser_versions=dataset.parser_versions,
            )
            for dataset in connector.datasets
        ],
        capabilities=sorted(connector.capabilities),
        writes=[_operation(operation) for operation in connector.writes],
    )


def _field(spec: FieldSpec) -> ConnectorField:
    return ConnectorField(
        name=spec.name,
        description=spec.description,
        required=spec.required,
        default_value=spec.default,
        endpoint=spec.endpoint,
        party=party_of(spec.identity),
    )


def _operation(operation: WriteOperation) -> ConnectorOperation:
    return ConnectorOperation(
        name=operation.name,
        safety=WriteSafety.Value(f"WRITE_SAFETY_{operation.safety.name}"),
        required=operation.required,
        optional=operation.optional,
        kinds=operation.kinds,
        announces=operation.announces,
        entities=operation.entities,
    )
