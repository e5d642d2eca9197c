"""What the parts that work on one school's writes share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import Connector, SourceKey, WriteRequest, WriteSafety, WriteValue
from schoolgate_sdk.writing import Leaving
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError, Violation, invalid_request
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.lease_holder import LeaseHolder
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.gate import PolicyWatch
from schoolgate_server.writeback.keeping import Keeper
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.reach import Reach, operation_of
from schoolgate_server.writeback.values import ReferenceLost, dispatched_values


class ValuesOf(Protocol):
    """Gives the values of a write as a connector takes them."""

    def __call__(
        self, connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False
    ) -> Awaitable[Mapping[str, WriteValue]]:
        """Return them; ``may_have_gone`` where it is to be found out what became of one that had left.

        Raises:
            ServiceError: REQUEST_INVALID where there are none, for good; another where there are none now.
        """
        ...


Notify: TypeAlias = Callable[[str, Kind.ValueType, Sequence[SourceKey], str], Awaitable[object]]
"""Asks for a re-read of what has keys of a school, once per request id; may raise ``ServiceError``."""


def ledger_values(store: Store) -> ValuesOf:
    """Return what gives the values of writes with the keys that a school's MIS knows now."""

    async def values(
        connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False
    ) -> Mapping[str, WriteValue]:
        operation = entry.write.operation
        try:
            return await dispatched_values(
                store, connector, entry.school_id, operation, may_have_gone=may_have_gone
            )
        except ReferenceLost as error:
            path = f"operation.{entry.write.operation_name}.{error.field}"
            raise invalid_request(Violation(path, error.why)) from error

    return values


@dataclass(slots=True)
class SchoolWrites:
    """One school's writes at work on this server.

    ``holder`` gives the lease; without one nothing may leave. ``claims`` lets one read-back at a time lay
    claim to what it found.
    """

    school_id: str
    store: Store
    clock: Clock
    options: WriteOptions
    keeper: Keeper
    reach: Reach
    policy: PolicyWatch
    values_of: ValuesOf
    notify: Notify
    new_id: Callable[[], str]
    connectors: ConnectorHost
    holder: LeaseHolder | None = None
    claims: asyncio.Lock = field(default_factory=asyncio.Lock)

    def lease(self) -> Lease | None:
        """Return the lease as renewed last, ``None`` where nothing may leave any more."""
        return None if self.holder is None else self.holder()

    async def safety(self, operation: str) -> WriteSafety:
        """Return how an operation is safe at the school's connector.

        Of one that it does not have no more is known than that a person has to look, which is found out when
        the MIS is to be asked.
        """
        try:
            school = await self.store.schools.get(self.school_id)
        except ServiceError:
            return WriteSafety.NATURAL_KEY_READBACK
        connector = self.connectors.loaded.get(school.connector)
        declared = None if connector is None else operation_of(connector, operation)
        return WriteSafety.NATURAL_KEY_READBACK if declared is None else declared.safety


def request_of(
    entry: WriteEntry, values: Mapping[str, WriteValue], leaving: Leaving | None = None
) -> WriteRequest:
    """Return the request to write, or to find, what ``entry`` says."""
    name, key = entry.write.operation_name, entry.write.idempotency_key
    if leaving is None:
        return WriteRequest(name, key, values, entry.first_left_at)
    return WriteRequest(name, key, values, entry.first_left_at, leaving)
