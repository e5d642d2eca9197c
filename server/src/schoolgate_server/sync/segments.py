"""Gathers a connector's pages into segments, the units of retention and resumption."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import orjson

from schoolgate_sdk import EndOfSnapshot, Page, Row, Transient
from schoolgate_server.sync.blame import connector_at_work
from schoolgate_server.tasks import end_tasks


class SegmentRows(NamedTuple):
    """Rows read together; ``pages`` counts their pages, ``end`` is set on the last segment."""

    rows: list[Row]
    cursor: str
    pages: int
    end: EndOfSnapshot | None


async def read_segments(
    pages: AsyncIterator[Page], rows_per_segment: int, page_timeout: timedelta
) -> AsyncGenerator[SegmentRows]:
    """Yield segments of at least ``rows_per_segment`` rows; the next page is fetched meanwhile.

    Raises:
        Transient: a page did not come within ``page_timeout``.
    """
    rows: list[Row] = []
    count = 0
    cursor = ""
    upcoming = asyncio.create_task(_next(pages, page_timeout))
    try:
        while (page := await upcoming) is not None:
            upcoming = asyncio.create_task(_next(pages, page_timeout))
            rows += page.rows
            count += 1
            cursor = page.cursor
            if page.end is not None or len(rows) >= rows_per_segment:
                yield SegmentRows(rows, cursor, count, page.end)
                rows, count = [], 0
            if page.end is not None:
                return
        if rows:
            yield SegmentRows(rows, cursor, count, None)
    finally:
        await end_tasks(upcoming)
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()


async def _next(pages: AsyncIterator[Page], page_timeout: timedelta) -> Page | None:
    try:
        async with asyncio.timeout(page_timeout.total_seconds()):
            with connector_at_work():
                return await anext(pages, None)
    except TimeoutError as error:
        raise Transient(f"no page came within {page_timeout.total_seconds():.0f} s") from error


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return rows as they are retained: compressed JSON, since school data repeats itself."""
    return zlib.compress(orjson.dumps(rows), 1)


def decode_rows(payload: bytes) -> list[Row]:
    """Return the rows that :func:`encode_rows` was given."""
    rows: list[Row] = orjson.loads(zlib.decompress(payload))
    return rows
