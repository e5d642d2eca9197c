"""WatchChanges: what changed, page by page as the follower takes them, and then whatever changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.query_service_pb2_grpc import QueryServiceServicer
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.feed import FeedPage, Position
from schoolgate_server.rpc.calls import admit_again
from schoolgate_server.rpc.changes import change_of
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.cursors import Cursors
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.paging import MOST_BYTES
from schoolgate_server.rpc.ports import News, Store

_MOST_PER_PAGE = 5000
_USUAL_PER_PAGE = 500
_LONGEST_HEARTBEAT = 300
_USUAL_HEARTBEAT = 15

_LOOK_SECONDS = 5.0
"""Between two looks whether the follower is still admitted, and whether news was not told."""


class Watch(QueryServiceServicer):
    """Serves changes. ``closing`` is set when the server begins to stop."""

    def __init__(self, store: Store, closing: asyncio.Event) -> None:
        self._feed = store.feed
        self._schools = store.schools
        self._closing = closing

    async def WatchChanges(
        self, request: q.WatchChangesRequest, context: Context
    ) -> AsyncIterator[q.WatchChangesResponse]:
        size, heartbeat = _checked(request)
        school = await self._schools.get(request.school_id)
        cursors = Cursors(school, request.kinds)
        position = await self._begin(request, cursors)
        loop = asyncio.get_running_loop()
        due = loop.time()  # at once, so that the follower has a cursor
        behind = False
        async with self._feed.news(request.school_id) as news:
            while True:
                # A page is read when the one before was taken: how slow a follower is costs no memory.
                admit_again()
                news.clear()
                page = await self._feed.page(request.school_id, request.kinds, position, size)
                if page.changes or behind or loop.time() >= due:
                    for response in _responses(page, position, cursors):
                        yield response
                    due = loop.time() + heartbeat
                position, behind = page.position, not page.is_last
                if page.is_last:
                    await self._news(news, min(_LOOK_SECONDS, due - loop.time()))

    async def _begin(self, request: q.WatchChangesRequest, cursors: Cursors) -> Position:
        match request.WhichOneof("begin"):
            case "cursor":
                return await self._feed.resume(request.school_id, cursors.read(request.cursor))
            case "after_seq":
                return await self._feed.after(request.school_id, request.after_seq)
            case _ if request.start == q.WATCH_START_SNAPSHOT:
                return await self._feed.snapshot(request.school_id)
            case _:
                return await self._feed.now(request.school_id)

    async def _news(self, news: News, seconds: float) -> None:
        """Return when there may be news, or after some seconds; raises ``SHUTTING_DOWN``."""
        waits = [asyncio.ensure_future(told.wait()) for told in (news, self._closing)]
        try:
            await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._closing.is_set():
            raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "")


def _checked(request: q.WatchChangesRequest) -> tuple[int, int]:
    """Return how many changes a page has, and the seconds between heartbeats; raises what is wrong."""
    violations = Violations()
    violations.school_id(request.school_id)
    for index, kind in enumerate(request.kinds):
        violations.kind(kind, f"kinds[{index}]")
    if len(set(request.kinds)) < len(request.kinds):
        violations.add("kinds", "must name each kind once")
    if request.start not in q.WatchStart.values():
        violations.add("start", "must be WATCH_START_NOW or WATCH_START_SNAPSHOT")
    if request.after_seq < 0:
        violations.add("after_seq", "must be 0 or a published seq")
    size = violations.size(request.page_size, default=_USUAL_PER_PAGE, maximum=_MOST_PER_PAGE)
    if not 0 <= request.heartbeat_seconds <= _LONGEST_HEARTBEAT:
        violations.add(
            "heartbeat_seconds",
            f"must be between 1 and {_LONGEST_HEARTBEAT}; 0 means {_USUAL_HEARTBEAT}",
        )
    violations.raise_any()
    return size, request.heartbeat_seconds or _USUAL_HEARTBEAT


def _responses(page: FeedPage, before: Position, cursors: Cursors) -> Sequence[q.WatchChangesResponse]:
    """Return ``page`` in as few responses as clients take, each with the cursor of where it ends."""
    parts = _parts([change_of(*changed) for changed in page.changes])
    responses: list[q.WatchChangesResponse] = []
    for part in parts:
        response = q.WatchChangesResponse(changes=part, seq=page.seq, oldest_seq=page.oldest)
        if part:
            reached = before.passed(part[-1].record, page.seq, page.published_ms)
            response.cursor = cursors.make(reached)
        responses.append(response)
    responses[-1].cursor = cursors.make(page.position)
    responses[-1].up_to_date = page.is_last
    return responses


def _parts(changes: Sequence[q.Change]) -> list[Sequence[q.Change]]:
    if len(changes) > 1 and sum(change.ByteSize() for change in changes) > MOST_BYTES:
        middle = len(changes) // 2
        return _parts(changes[:middle]) + _parts(changes[middle:])
    return [changes]
