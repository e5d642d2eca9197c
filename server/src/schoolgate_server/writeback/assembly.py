"""What accepts writes and what sends them, put together for one server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from schoolgate_sdk import Connector, WriteValue
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.dispatcher import Dispatcher
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.school import Notify
from schoolgate_server.writeback.service import WriteService
from schoolgate_server.writeback.values import ReferenceLost, dispatched_values

REQUESTED_BY = "writeback"
"""Who asks for the re-reads that confirm writes, as their runs name it."""


class WriteBack(NamedTuple):
    """Both parts: the dispatcher is to be started, and stopped."""

    service: WriteService
    dispatcher: Dispatcher


def write_back(  # noqa: PLR0913 - the parts of a server, each given by name where it is wired
    store: Store,
    connectors: ConnectorHost,
    clock: Clock,
    options: WriteOptions,
    *,
    owner: str,
    new_id: Callable[[], str],
    notify: Notify,
    traffic: Traffic | None = None,
    partners: Partners = NO_PARTNERS,
) -> WriteBack:
    """Return what serves writes; see :class:`Dispatcher` for what the arguments are."""

    async def values_of(connector: Connector, entry: WriteEntry) -> Mapping[str, WriteValue]:
        write = entry.write
        try:
            return await dispatched_values(store, connector, write.school_id, write.operation)
        except ReferenceLost as error:
            field = f"operation.{write.operation_name}.{error.field}"
            raise invalid_request(Violation(field, error.why)) from error

    dispatcher = Dispatcher(
        store,
        connectors,
        clock,
        options,
        owner,
        new_id,
        notify=notify,
        values_of=values_of,
        traffic=traffic,
        partners=partners,
    )
    service = WriteService(store, connectors, clock, options, dispatcher.preview, dispatcher.wake)
    return WriteBack(service, dispatcher)
