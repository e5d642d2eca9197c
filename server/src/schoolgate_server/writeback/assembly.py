"""What accepts writes and what sends them, put together for one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.dispatcher import Dispatcher
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.school import Notify
from schoolgate_server.writeback.service import WriteService

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
    dispatcher = Dispatcher(
        store,
        connectors,
        clock,
        options,
        owner,
        new_id,
        notify=notify,
        traffic=traffic,
        partners=partners,
    )
    service = WriteService(store, connectors, clock, options, dispatcher.preview, dispatcher.wake)
    return WriteBack(service, dispatcher)
