"""Operations of the identity layer: what a run does that reads nothing for the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import orjson

from schoolgate.v1 import failure_pb2 as failures
from schoolgate_sdk import Connector, SchoolConnection, Session
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.connections import RunFailed
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.failures import failure
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions


@dataclass(frozen=True, slots=True)
class OperationEnv:
    """What an operation works with.

    ``lease`` returns the school's lease as it stands now. ``save`` stores the run and shows it to watchers;
    it raises ``RunCancelled`` where the run is to stop. ``sessions`` opens a session with a MIS, which need
    not be the one that the school is registered with; errors of the connector that leave its block end the
    run with their failure; ``traffic`` is for the connections. An operation that cannot go on raises
    :class:`~schoolgate_server.mis.connections.RunFailed`.
    """

    store: Store
    connectors: ConnectorHost
    clock: Clock
    options: SyncOptions
    lease: Callable[[], Lease]
    save: Callable[[], Awaitable[None]]
    sessions: Callable[[Connector, SchoolConnection], AbstractAsyncContextManager[Session]]
    traffic: Traffic = field(default_factory=Traffic)


Operation: TypeAlias = Callable[[OperationEnv, RunEntry, Mapping[str, Any]], Awaitable[None]]
"""Performs what the mapping says, for the school of the entry's run; done again after a crash."""


async def perform(env: OperationEnv, entry: RunEntry, operations: Mapping[str, Operation]) -> None:
    """Perform the entry's operation, a JSON object whose ``type`` names one of ``operations``.

    Raises:
        RunFailed: it names none, or could not be performed.
    """
    data = _read(entry.operation)
    operation = operations.get(str(data.get("type")))
    if operation is None:
        known = ", ".join(sorted(operations)) or "none"
        raise RunFailed(
            failure(
                failures.FAILURE_TYPE_INTERNAL,
                f"this server does not know the operation of this run; it knows: {known}",
                audience=failures.AUDIENCE_OPERATOR,
            )
        )
    await operation(env, entry, data)


def _read(operation: bytes) -> Mapping[str, Any]:
    try:
        read: Any = orjson.loads(operation)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", read) if isinstance(read, dict) else {}
