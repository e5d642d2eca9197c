"""Notifications: each is remembered once, and those that wait are collected in one run per school."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from schoolgate.v1.sync_service_pb2 import Run
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.requests import reused
from schoolgate_server.store.runs import collecting_slot, document_of, entry_of

REMEMBERED = timedelta(days=30)
"""How long a repeated notification is known for one: longer than anybody tries again."""

Merge: TypeAlias = Callable[[RunEntry | None], RunEntry]
"""Returns the run that collects (a new one, where there is none) with one more notification in it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification; ``digest`` tells it from another one under the same ``request_id``."""

    school_id: str
    request_id: str
    digest: bytes
    at: datetime


class Notices:
    """The ``notices`` collection, and the runs that collect what it names."""

    def __init__(self, notices: Collection, runs: Collection) -> None:
        self._notices = notices
        self._runs = runs

    async def find(self, notice: Notice) -> Run | None:
        """Return the run that took an earlier notification with this request id in, or ``None``.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that notification was a different one.
        """
        found = await self._notices.find_one({"_id": _id(notice)})
        if found is None:
            return None
        if found["digest"] != notice.digest:
            raise reused()
        run = await self._runs.find_one({"_id": found["run"]}) if found["run"] else None
        return None if run is None else entry_of(run).run

    async def add(self, notice: Notice, merge: Merge) -> RunEntry:
        """Put a notification into the run that collects and return that run; a repeated one gets the first's.

        It is in the run before it is remembered as being there. Where a crash or a repetition comes between,
        it may be read twice, which does no harm, and never not at all.

        Raises:
            ServiceError: as :meth:`find`.
        """
        document: Document = {
            "_id": _id(notice),
            "school": notice.school_id,
            "digest": notice.digest,
            "at": notice.at,
            "run": "",
        }
        await self._notices.insert_one(document)
        earlier = await self.find(notice)
        if earlier is None:
            collected = await self._collect(notice, merge)
            await self._notices.update_one(
                {"_id": _id(notice), "run": ""}, {"$set": {"run": collected.run.run_id}}
            )
            earlier = await self.find(notice)
        found = None if earlier is None else await self._runs.find_one({"_id": earlier.run_id})
        assert found is not None, "runs are not deleted"
        return entry_of(found)

    async def _collect(self, notice: Notice, merge: Merge) -> RunEntry:
        """Put the notification into the school's run that collects, and return that run.

        Where another server begins the run, or adds to it, between reading and writing it, it is done again.
        """
        while True:
            stored = await self._runs.find_one({"unfinished": collecting_slot(notice.school_id)})
            entry = merge(None if stored is None else entry_of(stored))
            if stored is None:
                await self._notices.delete_many(
                    {"school": notice.school_id, "at": {"$lt": notice.at - REMEMBERED}}
                )
                done = await self._runs.insert_one(document_of(entry) | {"edition": 1})
            else:
                unchanged = {field: stored[field] for field in ("_id", "unfinished", "edition")}
                changed = document_of(entry) | {"edition": stored["edition"] + 1}
                done = await self._runs.update_one(unchanged, {"$set": changed})
            if done:
                return entry


def _id(notice: Notice) -> str:
    return f"{notice.school_id}:{notice.request_id}"
