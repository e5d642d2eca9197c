"""Reading an answer page by page: the next page is fetched while the present one is on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from schoolgate.v1.query_service_pb2 import QueryRecordsResponse
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.questions import SerialisedRecord
from schoolgate_server.model.wire import Serialised, embedded, field_tag

MOST_BYTES = 3 * 1024 * 1024
"""Bytes of records in one response: clients refuse messages above 4 MiB unless told otherwise."""

Fetch: TypeAlias = Callable[[str, int], Awaitable[Sequence[SerialisedRecord]]]
"""``fetch(after_id, limit)`` returns the next records, those behind ``after_id``."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some records; ``more_left_out`` says, on the last page, that the limit left others out."""

    records: Sequence[SerialisedRecord]
    more_left_out: bool = False


class Pages:
    """The pages of one answer: at least one, so that an empty answer says of which instant it is.

    ``most`` is the limit of records in all, 0 for none.
    """

    def __init__(self, fetch: Fetch, after: str, size: int, most: int) -> None:
        self._fetch = fetch
        self._after = after
        self._size = size
        self._most = most

    async def __aiter__(self) -> AsyncIterator[Page]:
        left = self._most or None
        first = True
        upcoming = self._ask(self._after, left)
        try:
            while True:
                wanted = self._wanted(left)
                found = await upcoming
                records = found[:wanted]
                if left is not None:
                    left -= len(records)
                ended = len(found) < wanted or left == 0
                if not ended:
                    upcoming = self._ask(records[-1].id, left)
                if records or first:
                    yield Page(records, more_left_out=len(found) > wanted)
                if ended:
                    return
                first = False
        finally:
            upcoming.cancel()

    def _wanted(self, left: int | None) -> int:
        return self._size if left is None else min(self._size, left)

    def _ask(self, after: str, left: int | None) -> asyncio.Future[Sequence[SerialisedRecord]]:
        """Begin to fetch; one record more than wanted where that shows whether the limit leaves any out."""
        wanted = self._wanted(left)
        fetching = asyncio.ensure_future(self._fetch(after, wanted + (wanted == left)))
        # Nobody asks for the outcome where the caller has gone away.
        fetching.add_done_callback(lambda done: done.cancelled() or done.exception())
        return fetching


_RECORDS = field_tag(QueryRecordsResponse.RECORDS_FIELD_NUMBER)


def responses(records: Sequence[SerialisedRecord], seq: int) -> list[Serialised]:
    """Return ``records`` in as few ``QueryRecordsResponse`` as clients take; one for no records."""
    if len(records) > 1 and sum(len(record.wire) for record in records) > MOST_BYTES:
        middle = len(records) // 2
        return responses(records[:middle], seq) + responses(records[middle:], seq)
    parts = [embedded(_RECORDS, record.wire) for record in records]
    parts.append(QueryRecordsResponse(seq=seq).SerializeToString())
    return [Serialised(b"".join(parts))]


def with_token(response: Serialised, token: str) -> Serialised:
    """Return ``response`` with the token of the page after it."""
    return Serialised(response.wire + QueryRecordsResponse(next_page_token=token).SerializeToString())


def add_related(parts: list[QueryRecordsResponse], related: Sequence[Record]) -> None:
    """Put ``related`` into the last of the ``parts``, and into further ones where clients would refuse it."""
    size = parts[-1].ByteSize()
    for record in related:
        size += record.ByteSize()
        if size > MOST_BYTES and (parts[-1].records or parts[-1].related):
            parts.append(QueryRecordsResponse(seq=parts[-1].seq))
            size = record.ByteSize()
        parts[-1].related.append(record)
