"""What accepts writes and what sends them, put together for one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schoolgate_server.writeback.dispatcher import Dispatcher
from schoolgate_server.writeback.reach import Surroundings
from schoolgate_server.writeback.school import Notify
from schoolgate_server.writeback.service import WriteService

REQUESTED_BY = "writeback"
"""Who asks for the re-reads that confirm writes, as their runs name it."""


class WriteBack(NamedTuple):
    """Both parts: the dispatcher is to be started, and stopped."""

    service: WriteService
    dispatcher: Dispatcher


def write_back(around: Surroundings, owner: str, new_id: Callable[[], str], *, notify: Notify) -> WriteBack:
    """Return what serves writes; see :class:`Dispatcher` for what the arguments are."""
    dispatcher = Dispatcher(around, owner, new_id, notify=notify)
    service = WriteService(
        around.store, around.connectors, around.clock, around.options, dispatcher.preview, dispatcher.wake
    )
    return WriteBack(service, dispatcher)
