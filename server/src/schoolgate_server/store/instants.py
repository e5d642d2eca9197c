"""From points in time to seqs: which commit was the latest one then, answered once and for ever.

A commit has its time before it is published, and clocks of servers differ. So whoever asks about a time that
no commit is known to lie after leaves that time in the school's head (``known_until``), in the same write
that reads the head; the next commit takes a later time, whatever its clock says. A commit that was announced
before that is waited for, since it may be of that time and may be undone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError, Violation, invalid_request
from schoolgate_server.store.handles import Collection, Document, storable
from schoolgate_server.store.leases import new_head

LOOKS = 50
"""How often a commit that is under way is looked at before the caller is told to ask again."""

PAUSE_S = 0.1
"""Seconds between two looks."""

_TICK = timedelta(milliseconds=1)
"""The finest difference that MongoDB keeps."""


class Instants:
    """The times of published commits: the latest one in the school's head, all before it in ``commits``."""

    def __init__(
        self, heads: Collection, commits: Collection, clock: Clock, sleep: Callable[[float], Awaitable[Any]]
    ) -> None:
        self._heads = heads
        self._commits = commits
        self._clock = clock
        self._sleep = sleep

    async def seq_at(self, school_id: str, time: datetime) -> int:
        """Return the seq that was the latest at ``time``, 0 before the first commit; the same for ever.

        Raises:
            ServiceError: ``REQUEST_INVALID``, ``time`` has not come yet; ``KNOWN_AT_UNSETTLED``, a commit of
                that time is still under way.
        """
        if time > self._clock():
            raise invalid_request(Violation("known_at", "must not lie in the future"))
        time = storable(time)
        head = await self._head(school_id)
        if not _is_past(time, head):
            head = await self._settled(school_id, time)
        if not _is_past(time, head):
            published: int = head["published"]
            return published
        # Read after the head: what was published before the head's commit is all there.
        found = await self._commits.find_one(
            {"school": school_id, "at": {"$lte": time}}, {"seq": 1}, sort=[("at", -1), ("seq", -1)]
        )
        return 0 if found is None else int(found["seq"])

    async def note(self, school_id: str, head: Document) -> None:
        """Keep the time of the latest commit, before the next one takes its place in ``head``."""
        if head["published"]:
            commit_id = f"{school_id}:{head['published']}"
            noted: Document = {
                "_id": commit_id,
                "school": school_id,
                "seq": head["published"],
                "at": head["published_at"],
            }
            await self._commits.replace_one({"_id": commit_id, "school": school_id}, noted, upsert=True)

    async def asked_since(self, school_id: str, head: Document) -> bool:
        """Whether somebody asked about a later time since ``head`` was read."""
        now = await self._head(school_id)
        return bool(now.get("known_until") != head.get("known_until"))

    async def _head(self, school_id: str) -> Document:
        found = await self._heads.find_one({"_id": school_id})
        if found is None:
            await self._heads.insert_one(new_head(school_id))
            found = new_head(school_id)
        return found

    async def _settled(self, school_id: str, time: datetime) -> Document:
        """Return the head once no commit that comes can be of ``time`` or earlier."""
        for _ in range(LOOKS):
            head = await self._heads.find_one_and_update({"_id": school_id}, {"$max": {"known_until": time}})
            if head is not None and (head["pending"] is None or head["pending"]["at"] > time):
                return head
            await self._sleep(PAUSE_S)
        raise ServiceError(
            reasons.ERROR_REASON_KNOWN_AT_UNSETTLED, "a commit of that time is under way", retry_after=1.0
        )


def commit_time(now: datetime, head: Document, tries: int) -> datetime:
    """Return the time of a school's next commit.

    It never runs backwards, and lies after every time that somebody was told the latest seq of. At each
    further try it lies ahead a little more, so that those who ask about the present cannot keep a commit out.
    """
    time = storable(now) + tries * 20 * _TICK
    if head["published_at"] is not None:
        time = max(time, head["published_at"])
    if "known_until" in head:
        time = max(time, head["known_until"] + _TICK)
    return time


def _is_past(time: datetime, head: Document) -> bool:
    """Whether a commit lies after ``time`` that is published; none that comes is earlier than that one."""
    return head["published_at"] is not None and time < head["published_at"]
