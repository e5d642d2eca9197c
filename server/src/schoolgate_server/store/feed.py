"""The change feed: each changed record's latest state, in order of seq.

A page is read as of the seq that is published when it is read: ``records`` first and then ``history``, as
:mod:`schoolgate_server.store.reading` explains, so that nothing of a commit in the making shows, and what it
covers up is there all the same, should it be undone. A record that changes between two pages moves on to a
higher seq, beyond every position there is, so it is told then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Collection as Container
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.feed import Changed, FeedPage, Position
from schoolgate_server.store.documents import READ_FIELDS, record_of
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.leases import Lease, Leases, lost
from schoolgate_server.store.places import id_of
from schoolgate_server.store.publications import News, Publications

_HEAD_FIELDS = {"published": 1, "published_at": 1, "oldest": 1}
_TOLD = {**READ_FIELDS, "seq": 1, "version": 1}
_EVERY_KIND = [info.name for info in KINDS.values()]
"""Named, so that the index of ``history`` by kind and end is of use."""


class Feed:
    """Changes of all schools, for any number of followers."""

    def __init__(self, heads: Collection, records: Collection, history: Collection, leases: Leases) -> None:
        self._heads = heads
        self._records = records
        self._history = history
        self._leases = leases
        self._publications = Publications(heads)

    @asynccontextmanager
    async def news(self, school_id: str) -> AsyncGenerator[News]:
        """Give what tells whether something may have been published for a school since it was looked at."""
        async with self._publications.of(school_id) as news:
            yield news

    async def now(self, school_id: str) -> Position:
        """Return the position after everything that is published."""
        head = await self._head(school_id)
        return Position.complete(head["published"], _published_ms(head))

    async def snapshot(self, school_id: str) -> Position:
        """Return the position before every live record."""
        head = await self._head(school_id)
        published = head["published"]
        return Position(0, 0, snapshot=published, as_of=published, as_of_ms=_published_ms(head))

    async def after(self, school_id: str, seq: int) -> Position:
        """Return the position after everything that was published at ``seq``.

        Raises:
            ServiceError: CURSOR_TOO_OLD; CURSOR_FROM_FUTURE, it is not published yet.
        """
        position = Position(seq, seq + 1, as_of=seq)
        _check(school_id, position, await self._head(school_id))
        return position

    async def resume(self, school_id: str, position: Position) -> Position:
        """Return ``position``, from which changes can be told.

        Raises:
            ServiceError: CURSOR_TOO_OLD; CURSOR_FROM_FUTURE, also where the school's store was restored from
                before that position and has got as far again with other commits.
        """
        head = await self._head(school_id)
        _check(school_id, position, head)
        if position.as_of_ms and await self._last_ms(school_id, position.as_of, head) > position.as_of_ms:
            raise _from_future(school_id, head)
        return position

    async def page(
        self, school_id: str, kinds: Container[Kind.ValueType], position: Position, limit: int
    ) -> FeedPage:
        """Return up to ``limit`` changes of ``kinds`` (of all where there are none) after ``position``.

        Raises:
            ServiceError: CURSOR_TOO_OLD; CURSOR_FROM_FUTURE.
        """
        head = await self._head(school_id)
        _check(school_id, position, head)
        published, at_ms = head["published"], _published_ms(head)
        found: list[Document] = []
        if position.seq <= published:
            found = await self._states(school_id, kinds, position, published, limit + 1)
        told = found[:limit]
        known = await self._known(school_id, position.base, told)
        changes = [Changed(record_of(document), known.get(id_of(document))) for document in told]
        is_last = len(found) <= limit
        reached = (
            Position.complete(published, at_ms)
            if is_last
            else position.passed(changes[-1].record, published, at_ms)
        )
        return FeedPage(changes, reached, published, at_ms, is_last, head.get("oldest", 0))

    async def forget(self, lease: Lease, seq: int) -> None:
        """Let nobody follow from before ``seq``: for whoever is about to remove tombstones of up to there.

        Raises:
            LeaseLost: the school has another owner by now, or may have.
        """
        with self._leases.holding(lease):
            known = await self._heads.update_one(
                {"_id": lease.school_id, "lease.epoch": lease.epoch, "published": {"$gte": seq}},
                {"$max": {"oldest": seq}},
            )
        if not known:
            raise lost(lease)

    async def close(self) -> None:
        """End what listens to MongoDB."""
        await self._publications.close()

    async def _head(self, school_id: str) -> Document:
        found = await self._heads.find_one({"_id": school_id}, _HEAD_FIELDS)
        return found or {"published": 0, "published_at": None}

    async def _states(
        self,
        school_id: str,
        kinds: Container[Kind.ValueType],
        position: Position,
        published: int,
        limit: int,
    ) -> list[Document]:
        """Return the first states as of ``published`` that lie after ``position``."""
        names = [KINDS[kind].name for kind in kinds]
        matching: Document = {"school": school_id}
        if names:
            matching["kind"] = {"$in": names}
        if position.snapshot:
            matching["$or"] = [{"live": True}, {"seq": {"$gt": position.snapshot}}]
        found: dict[str, Document] = {}
        # One range after the other: each is read in the order of the index.
        for beyond in _ranges("_id", position, published):
            if len(found) < limit:
                more = await self._records.find(
                    {**matching, **beyond},
                    _TOLD,
                    sort=[("seq", 1), ("_id", 1)],
                    limit=limit - len(found),
                    hint="feed",
                )
                found.update((document["_id"], document) for document in more)
        ended: Document = {**matching, "kind": {"$in": names or _EVERY_KIND}, "until": {"$gt": published}}
        for beyond in _ranges("id", position, published):
            past = await self._history.find(
                {**ended, **beyond}, _TOLD, sort=[("seq", 1), ("id", 1)], limit=limit
            )
            for document in past:
                found.setdefault(document["id"], document)
        return sorted(found.values(), key=_order)[:limit]

    async def _known(self, school_id: str, base: int, told: Sequence[Document]) -> dict[str, Any]:
        """Return the records of ``told`` as they were as of ``base``, by id."""
        ids = [id_of(document) for document in told if document["version"] > 1]
        if not base or not ids:
            return {}
        before = await self._history.find(
            {"school": school_id, "id": {"$in": ids}, "seq": {"$lte": base}, "until": {"$gt": base}},
            READ_FIELDS,
        )
        return {document["id"]: record_of(document) for document in before}

    async def _last_ms(self, school_id: str, seq: int, head: Document) -> int:
        """Return when the last commit of up to ``seq`` was made, 0 where nobody can tell.

        Whatever it wrote either stands in ``records``, or was superseded, by a later one in the end.
        """
        if head["published"] == seq:
            return _published_ms(head)
        until: Document = {"school": school_id, "seq": {"$lte": seq}}
        ended: Document = {**until, "kind": {"$in": _EVERY_KIND}, "until": {"$gt": seq}}
        last = await self._records.find(until, {"seq": 1, "at": 1}, sort=[("seq", -1), ("_id", -1)], limit=1)
        last += await self._history.find(ended, {"seq": 1, "at": 1}, sort=[("seq", -1)], limit=1)
        return max((_ms(document["at"]) for document in last), default=0)


def _ranges(name: str, position: Position, published: int) -> list[Document]:
    """Return, in order, the conditions that together mean: after ``position``, up to ``published``."""
    if not position.after_id:
        return [{"seq": {"$gte": position.seq, "$lte": published}}]
    return [
        {"seq": position.seq, name: {"$gt": position.after_id}},
        {"seq": {"$gt": position.seq, "$lte": published}},
    ]


def _order(document: Document) -> tuple[int, str]:
    return document["seq"], id_of(document)


def _check(school_id: str, position: Position, head: Document) -> None:
    oldest: int = head.get("oldest", 0)
    # Of a cursor that somebody made up, each part may be anything.
    if max(position.as_of, position.snapshot, position.base, position.seq - 1) > head["published"]:
        raise _from_future(school_id, head)
    # Nothing but tombstones is ever removed, and those of before a snapshot are not told.
    if position.seq <= oldest and position.snapshot < oldest:
        raise ServiceError(
            reasons.ERROR_REASON_CURSOR_TOO_OLD,
            "",
            metadata={"school_id": school_id, "oldest_seq": str(oldest)},
        )


def _from_future(school_id: str, head: Document) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_CURSOR_FROM_FUTURE,
        "",
        metadata={"school_id": school_id, "published_seq": str(head["published"])},
    )


def _published_ms(head: Document) -> int:
    return 0 if head["published_at"] is None else _ms(head["published_at"])


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
