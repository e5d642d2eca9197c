"""Gathers a connector's pages into segments, the units of retention and resumption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from schoolgate_sdk import ConnectorError, EndOfSnapshot, Incomplete, Page, Row
from schoolgate_server.mis.asking import listed, require, row_count
from schoolgate_server.mis.blame import ConnectorDefect, ContractBroken, ask, connector_at_work, let_go
from schoolgate_server.sync.json_rows import JsonRows, encode_row
from schoolgate_server.sync.options import ReadLimits


class SegmentRows(NamedTuple):
    """Rows read together, and the same as JSON; ``pages`` counts their pages, ``end`` is set on the last."""

    rows: list[Row]
    as_json: JsonRows
    cursor: str
    pages: int
    end: EndOfSnapshot | None


async def read_segments(
    pages: AsyncIterator[Page],
    rows_per_segment: int,
    page_timeout: timedelta,
    limits: ReadLimits = ReadLimits(),  # noqa: B008 - frozen
) -> AsyncGenerator[SegmentRows]:
    """Yield segments of at least ``rows_per_segment`` rows, or as many bytes as ``limits`` say.

    The next page is fetched meanwhile.

    Raises:
        Transient: a page did not come within ``page_timeout``.
        Incomplete: the read goes round in circles, or beyond ``limits``.
        ConnectorError: as the connector raised it; ``ContractBroken`` where a page is out of shape.
        ConnectorDefect: the connector raised anything else.
    """
    watch = _Watch(limits)
    rows: list[Row] = []
    as_json = JsonRows()
    count = 0
    cursor = ""
    upcoming = asyncio.create_task(_next(pages, page_timeout), name="next page")
    try:
        while (page := await upcoming) is not None:
            if page.end is None:
                upcoming = asyncio.create_task(_next(pages, page_timeout), name="next page")
            some, encoded = watch.see(page)
            rows += some
            as_json.absorb(encoded)
            del some, encoded  # or they stay while the next page is looked at
            count += 1
            cursor = page.cursor
            if page.end is not None or len(rows) >= rows_per_segment or as_json.size >= limits.segment_bytes:
                yield SegmentRows(rows, as_json, cursor, count, page.end)
                rows, as_json, count = [], JsonRows(), 0
            if page.end is not None:
                return
        if rows:
            yield SegmentRows(rows, as_json, cursor, count, None)
    finally:
        await let_go(upcoming)
        await _close(pages, limits.closing)


class _Watch:
    """Looks at every page of a read, and breaks off what would never end."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._ends_at = asyncio.get_running_loop().time() + limits.duration.total_seconds()
        self._rows = 0
        self._empty = 0
        self._cursors: set[int] = set()

    def see(self, page: Page) -> tuple[Sequence[Row], JsonRows]:
        """Return the rows of ``page`` as they are retained, and the same as JSON.

        Raises:
            Incomplete: the read goes round in circles, or beyond the limits.
            ContractBroken: none of the rows is what JSON has words for.
        """
        limits = self._limits
        self._rows += len(page.rows)
        self._empty = 0 if page.rows else self._empty + 1
        if self._rows > limits.rows:
            raise Incomplete(f"more than {limits.rows:,} rows came, and no end")
        if self._empty > limits.empty_pages:
            raise Incomplete(f"more than {limits.empty_pages:,} pages without rows came, and no end")
        if asyncio.get_running_loop().time() > self._ends_at:
            raise Incomplete(f"the read did not end within {limits.duration}")
        if page.rows and page.end is None and page.cursor:
            # An integer instead of the text: there may be a cursor per row.
            place = hash(page.cursor)
            if place in self._cursors:
                raise Incomplete("the connector named the same position twice; it reads in circles")
            self._cursors.add(place)
        return self._weigh(page)

    def _weigh(self, page: Page) -> tuple[Sequence[Row], JsonRows]:
        rows: Sequence[Row] = page.rows
        try:
            as_json = JsonRows(rows)
        except TypeError as error:
            sayable = [_is_sayable(row) for row in rows]
            if not any(sayable) and not any(_is_of_json(row) for row in rows):
                raise ContractBroken("rows are what JSON can say") from error
            rows = [row if is_sayable else {} for row, is_sayable in zip(rows, sayable, strict=True)]
            as_json = JsonRows(rows)
        size, most = as_json.size, self._limits.page_bytes
        if size > most:
            raise Incomplete(f"a page has {size:,} bytes, and more than {most:,} are none")
        return rows, as_json


def _is_sayable(row: Row) -> bool:
    """Say whether JSON can say the row, as it cannot half a surrogate pair, or what nests very deep.

    One that it cannot becomes a row without columns, as those of ``rows_among`` do: the parser refuses it,
    which leaves a decision, instead of costing all the other rows.
    """
    try:
        encode_row(row)
    except TypeError:
        return False
    return True


def _is_of_json(row: object) -> bool:
    """Say whether a row that JSON cannot say is of JSON's own types, and so may be the MIS's doing.

    A page of nothing but others is a connector's, which gave something else than rows.
    """
    try:
        json.dumps(row)
    except TypeError:
        return False
    except (ValueError, RecursionError):
        return isinstance(row, dict)
    return isinstance(row, dict)


async def _next(pages: AsyncIterator[Page], page_timeout: timedelta) -> Page | None:
    require(pages, AsyncIterator, "a read is an asynchronous iterator of pages")
    with connector_at_work():
        asked = anext(pages, None)
    page = await ask(asked, page_timeout, "the next page")
    if page is not None:
        _check_shape(page)
    return page


def _check_shape(page: Page) -> None:
    """Raise where a page is not what a read is to yield."""
    require(page, Page, "a read yields pages")
    listed(page.rows)
    require(page.cursor, str, "a cursor is text")
    if page.end is None:
        return
    require(page.end, EndOfSnapshot, "an end of a snapshot is described as one")
    require(page.end.terminator_proven, bool, "a proof is there or not")
    row_count(page.end.expected_rows)
    require(page.end.contradiction, (str, type(None)), "a contradiction is text")
    require(page.end.changes_cursor, str, "a position is text")


async def _close(pages: AsyncIterator[Page], limit: timedelta) -> None:
    """Let the connector end its read; how that goes matters no more."""
    if isinstance(pages, AsyncGenerator):
        closing = asyncio.create_task(_closed(pages.aclose()), name="close read")
        try:
            await asyncio.wait({closing}, timeout=limit.total_seconds())
        finally:
            await let_go(closing)


async def _closed(closing: Awaitable[None]) -> None:
    with suppress(ConnectorError, ConnectorDefect), connector_at_work():
        await closing
