"""What accepting and deciding about writes needs, in one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store

Preview: TypeAlias = Callable[[School, WriteEntry], Awaitable[pb.WritePayload]]
"""Returns what would be sent, by the connector's own way up to its gate; only of operations that announce."""

Wake: TypeAlias = Callable[[str], None]
"""Is told a school that has a write to be sent."""


class Connectors(Protocol):
    """The connectors that are configured."""

    def get(self, name: str) -> Connector: ...


class AcceptOptions(Protocol):
    """Which server this is, and how long what it accepts may wait."""

    @property
    def environment(self) -> str: ...
    @property
    def expires_after(self) -> timedelta: ...
    @property
    def longest_expiry(self) -> timedelta: ...


@dataclass(frozen=True, slots=True)
class Backing:
    """The store, the connectors, and who sends."""

    store: Store
    connectors: Connectors
    clock: Clock
    options: AcceptOptions
    preview: Preview
    wake: Wake
