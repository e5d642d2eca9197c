"""What accepting and deciding about writes needs, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.options import WriteOptions

Preview: TypeAlias = Callable[[School, WriteEntry], Awaitable[pb.WritePayload]]
"""Returns what would be sent, by the connector's own way up to its gate; only of operations that announce."""

Wake: TypeAlias = Callable[[str], None]
"""Is told a school that has a write to be sent."""


@dataclass(frozen=True, slots=True)
class Backing:
    """The store, the connectors, and who sends."""

    store: Store
    connectors: ConnectorHost
    clock: Clock
    options: WriteOptions
    preview: Preview
    wake: Wake
