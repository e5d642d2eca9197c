"""Follows what the MIS says of confirmed writes, record by record as a sync commits it: the MIS is right."""

from __future__ import annotations

from collections.abc import Sequence

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.feed import Position
from schoolgate_server.model.writes import OPERATIONS, operation_name
from schoolgate_server.writeback.confirming import Confirmer
from schoolgate_server.writeback.school import SchoolWrites

_KINDS = tuple(info.kind for info in OPERATIONS.values() if info.kind is not None)


class Follower:
    """Compares one school's confirmed writes with what is committed since."""

    def __init__(self, school: SchoolWrites, confirmer: Confirmer) -> None:
        self._school = school
        self._confirmer = confirmer

    async def follow(self) -> None:
        """Judge the writes behind all records that were committed since the last time.

        Raises:
            StoreUnavailable: what is left is judged next time.
        """
        store, school_id = self._school.store, self._school.school_id
        followed = await store.writes.followed(school_id)
        if not followed:
            return  # nothing was confirmed by a record yet
        position = await self._position(followed)
        while True:
            page = await store.feed.page(school_id, _KINDS, position, self._school.options.follow_page)
            await self._judge([change.record for change in page.changes], page.seq)
            position = page.position
            if page.is_last:
                break
        if page.seq > followed:
            await store.writes.follow_to(school_id, page.seq)

    async def _position(self, followed: int) -> Position:
        feed, school_id = self._school.store.feed, self._school.school_id
        try:
            return await feed.after(school_id, followed)
        except ServiceError as error:
            if error.reason not in (
                reasons.ERROR_REASON_CURSOR_TOO_OLD,
                reasons.ERROR_REASON_CURSOR_FROM_FUTURE,
            ):
                raise
            return await feed.snapshot(school_id)  # all there is: tombstones of then are gone

    async def _judge(self, records: Sequence[Record], seq: int) -> None:
        if not records:
            return
        store, school_id = self._school.store, self._school.school_id
        by_id = {record.id: record for record in records}
        made = await store.writes.made(school_id, list(by_id))
        if not made:
            return
        for entry in made:
            for record_id in entry.write.record_ids:
                is_judged = not entry.write.superseded_by and bool(operation_name(entry.write.operation))
                if record_id in by_id and is_judged:
                    await self._confirmer.judge(entry, by_id[record_id], seq)
                    break
