"""Segments know where to go on, and a read that would never end is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from schoolgate_sdk import EndOfSnapshot, Incomplete, Page
from schoolgate_server.mis.blame import ContractBroken
from schoolgate_server.sync.options import ReadLimits
from schoolgate_server.sync.segments import SegmentRows, read_segments

LONG = timedelta(seconds=60)
END = EndOfSnapshot(True)


async def endless(count: int) -> AsyncIterator[Page]:
    for number in range(count):
        yield Page([{"id": number}], str(number + 1))


async def given(pages: Iterable[Any]) -> AsyncIterator[Any]:
    for page in pages:
        yield page


async def read(pages: Iterable[Any], limits: ReadLimits, rows: int = 2) -> list[SegmentRows]:
    return [segment async for segment in read_segments(given(pages), rows, LONG, limits)]


async def test_g10_rows_behind_the_last_full_segment_are_not_read_again() -> None:
    """An empty cursor would begin the snapshot anew, and count every row twice."""
    segments = [segment async for segment in read_segments(endless(5), 2, timedelta(seconds=5))]
    assert [(len(segment.rows), segment.cursor, segment.end) for segment in segments] == [
        (2, "2", None),
        (2, "4", None),
        (1, "5", None),
    ]


def page(number: int, cursor: str | None = None, **more: Any) -> Page:
    return Page([{"id": number}], f"{number}" if cursor is None else cursor, **more)


CIRCLES = {
    "a position twice": [page(1, "a"), page(2, "b"), page(3, "a")],
    "rows": [page(number) for number in range(11)],
    "empty pages": [Page((), str(number)) for number in range(5)],
    "bytes": [Page([{"name": "x" * 2_000}], "1")],
}


@pytest.mark.parametrize("what", CIRCLES)
async def test_g18_a_read_that_would_never_end_is_broken_off(what: str) -> None:
    """Seen to fail without each of the four looks at a page."""
    with pytest.raises(Incomplete):
        await read(CIRCLES[what], ReadLimits(empty_pages=4, rows=10, page_bytes=1_000))


HARMLESS = {
    "the last page is where the one before was": [page(1, "a"), page(2, "a", end=END)],
    "a page without rows stays where it is": [page(1, "a"), Page((), "a"), page(2, "b", end=END)],
    "no cursors at all": [page(1, ""), page(2, ""), page(3, "", end=END)],
    "as many rows as there may be": [*(page(number) for number in range(9)), page(9, end=END)],
    "some empty pages": [*[Page((), "a")] * 4, page(1), *[Page((), "b")] * 4, page(2, end=END)],
}


@pytest.mark.parametrize("what", HARMLESS)
async def test_what_only_looks_like_a_circle_is_read_to_its_end(what: str) -> None:
    segments = await read(HARMLESS[what], ReadLimits(empty_pages=4, rows=10))
    assert segments[-1].end is END
    assert sum(len(segment.rows) for segment in segments) == sum(len(each.rows) for each in HARMLESS[what])


async def test_g18_a_read_that_only_trickles_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the look at the clock. A page takes an hour."""
    loop = asyncio.get_running_loop()
    now, hours = loop.time, 0.0

    async def trickle() -> AsyncIterator[Page]:
        nonlocal hours
        for number in range(100):
            hours += 1
            yield page(number)

    monkeypatch.setattr(loop, "time", lambda: now() + 3_600 * hours)
    with pytest.raises(Incomplete, match="did not end within 12:00:00"):
        async for _ in read_segments(trickle(), 1_000, timedelta(days=10), ReadLimits()):
            pass
    assert hours < 15


async def test_g18_few_large_rows_are_a_segment_too() -> None:
    """Seen to fail, with all rows in memory at once, where only rows are counted."""
    pages = [Page([{"name": "x" * 600}], str(number)) for number in range(9)]
    segments = await read([*pages, Page(end=END)], replace(ReadLimits(), segment_bytes=1_000), rows=100)
    assert [len(segment.rows) for segment in segments] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("value", ["\ud800", 1 << 64, object()])
async def test_g09_a_row_that_json_cannot_say_costs_that_row_alone(value: Any) -> None:
    """Seen to fail where the page was refused for it."""
    [segment] = await read([Page([{"id": 1}, {"id": value}, {"id": 3}], end=END)], ReadLimits())
    assert segment.rows == [{"id": 1}, {}, {"id": 3}]


def nested(depth: int) -> Any:
    row: Any = {}
    for _ in range(depth):
        row = {"id": row}
    return row


@pytest.mark.parametrize(
    "rows",
    [
        [{"id": "\ud800"}],
        [{"id": 1 << 64}, {"id": 10**5_000}],
        [nested(2_000)],
        [{"id": object()}, {"id": -(1 << 64)}],
        [{}, {"id": "\ud800"}],
    ],
    ids=["half a character", "numbers", "nested", "one of them a connector's own", "beside nothing"],
)
async def test_g09_a_page_of_rows_that_json_cannot_say_alone_costs_them_alone(rows: list[Any]) -> None:
    """Seen to fail where such a page was the connector's fault: a MIS may have one row more than a page."""
    segments = await read([Page([{"id": 1}], "1"), Page(rows, "2"), Page([{"id": 3}], end=END)], ReadLimits())
    assert [row for segment in segments for row in segment.rows] == [
        {"id": 1},
        *({} for _ in rows),
        {"id": 3},
    ]


SHAPES: dict[str, Any] = {
    "no page": {"rows": []},
    "rows": Page(None),  # type: ignore[arg-type]
    "a row of what JSON has no words for": Page([{"id": object()}]),
    "rows that are none": Page(["\ud800", 1 << 64]),  # type: ignore[list-item]
    "cursor": Page(cursor=7),  # type: ignore[arg-type]
    "end": Page(end="end"),  # type: ignore[arg-type]
    "proof": Page(end=EndOfSnapshot("yes")),  # type: ignore[arg-type]
    "expected rows": Page(end=EndOfSnapshot(True, expected_rows=-1)),
    "contradiction": Page(end=EndOfSnapshot(True, contradiction=[1])),  # type: ignore[arg-type]
    "position": Page(end=EndOfSnapshot(True, changes_cursor=None)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", SHAPES)
async def test_g18_a_page_out_of_shape_breaks_the_contract(what: str) -> None:
    """Seen to fail without each of the looks: the server was blamed, or nobody."""
    with pytest.raises(ContractBroken):
        await read([SHAPES[what]], ReadLimits())


@pytest.mark.parametrize("pages", [None, [Page()], Page()])
async def test_g18_what_is_no_read_breaks_the_contract(pages: Any) -> None:
    with pytest.raises(ContractBroken, match="a read is an asynchronous iterator"):
        async for _ in read_segments(pages, 1, LONG):
            pass
