"""Following: from the cursor that was stored, or from a snapshot; after every interruption again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.query_service_pb2 import WATCH_START_SNAPSHOT, WatchChangesRequest, WatchChangesResponse
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate_client.tables import Table

_BEGIN_ANEW = frozenset({"CURSOR_INVALID", "CURSOR_FOREIGN", "CURSOR_TOO_OLD", "CURSOR_FROM_FUTURE"})
_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)
"""What no waiting mends. Everything else may be the server, MongoDB or the network, which come back."""

_HEARTBEATS_MISSED = 3
"""After so many a connection counts as dead, whatever TCP says."""

_log = logging.getLogger(__name__)


class FollowFailed(Exception):
    """The server refuses to be followed: ``reason`` is that of its ErrorInfo, or the name of the status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True)
class Backoff:
    """How long to wait after a failure: ``first`` seconds, twice as long each time, up to ``longest``.

    Chance takes up to a half away, so that many followers of one server do not come back at once.
    """

    first: float = 0.5
    longest: float = 30.0
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    random: Random = field(default_factory=Random)

    async def wait(self, failures: int) -> None:
        """Wait after so many failures in a row that came before this one."""
        longest = min(self.longest, self.first * 2.0 ** min(failures, 30))
        await self.sleep(longest * self.random.uniform(0.5, 1.0))


class Follower:
    """Keeps ``table`` equal to what a server has of a school, for as long as :meth:`run` runs.

    ``kinds`` are the kinds to follow, all where there are none; another choice than that of the stored cursor
    begins with a snapshot. The table of another school is refused. ``token`` is asked for the caller's token
    at every connection. Changes go into the table before the next ones are asked for, so that a slow table
    costs neither side memory.

    Raises:
        ValueError: ``heartbeat_seconds`` is below 1.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        school_id: str,
        table: Table,
        *,
        kinds: Sequence[Kind.ValueType] = (),
        token: Callable[[], str] | None = None,
        page_size: int = 0,
        heartbeat_seconds: int = 15,
        backoff: Backoff | None = None,
    ) -> None:
        if heartbeat_seconds < 1:
            raise ValueError(f"heartbeat_seconds must be 1 or more, not {heartbeat_seconds}")
        self._stub = QueryServiceStub(channel)
        self._request = WatchChangesRequest(
            school_id=school_id, kinds=kinds, page_size=page_size, heartbeat_seconds=heartbeat_seconds
        )
        self._table = table
        self._token = token
        self._silence = heartbeat_seconds * _HEARTBEATS_MISSED
        self._backoff = backoff or Backoff()
        self._failures = 0
        self.seq = 0
        """The published seq as of which the table was complete last; 0 before."""
        self.up_to_date = asyncio.Event()
        """Set while the table is as complete as the last response said."""

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            FollowFailed: the server refuses, and would do so again.
        """
        anew = False
        while True:
            try:
                await self._follow(anew=anew)
            except grpc.aio.AioRpcError as error:
                reason, metadata = _reason(error)
                begins_anew = reason in _BEGIN_ANEW and metadata.get("same_school") != "false"
                if begins_anew and not anew:
                    _log.warning("school %s is read anew: %s", self._request.school_id, reason)
                    anew = True
                    continue
                if error.code() in _FINAL and not begins_anew:
                    raise FollowFailed(reason, error.details() or "") from error
                _log.info("following school %s was interrupted: %s", self._request.school_id, reason)
            else:
                _log.info("following school %s was interrupted: silence", self._request.school_id)
            anew = False
            self.up_to_date.clear()
            await self._backoff.wait(self._failures)
            self._failures += 1

    async def _follow(self, *, anew: bool) -> None:
        """Follow over one connection until it ends."""
        request = WatchChangesRequest()
        request.CopyFrom(self._request)
        cursor = "" if anew else await self._table.cursor()
        if cursor:
            request.cursor = cursor
        else:
            request.start = WATCH_START_SNAPSHOT
            anew = True
        metadata = (("authorization", f"Bearer {self._token()}"),) if self._token else ()
        call: Any = self._stub.WatchChanges(request, metadata=metadata)
        try:
            while True:
                response = await self._read(call)
                if response is None:
                    return
                self._failures = 0
                await self._table.apply(response.changes, response.cursor, anew=anew)
                anew = False
                if response.up_to_date:
                    self.seq = response.seq
                    self.up_to_date.set()
                else:
                    self.up_to_date.clear()
        finally:
            call.cancel()

    async def _read(self, call: Any) -> WatchChangesResponse | None:  # noqa: ANN401 - the stubs type another call
        """Return the next response; ``None`` where the stream ended or nothing comes any more."""
        try:
            async with asyncio.timeout(self._silence):
                response: Any = await call.read()
        except TimeoutError:
            return None
        return None if response is grpc.aio.EOF else response


def _reason(error: grpc.aio.AioRpcError) -> tuple[str, Mapping[str, str]]:
    """Return reason and metadata of the server's ErrorInfo; the status's name where there is none."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info) and info.domain == "schoolgate":
                    return info.reason, info.metadata
    return error.code().name, {}
