"""Segments know where to go on, also after a read that ended without its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from schoolgate_sdk import Page
from schoolgate_server.sync.segments import read_segments


async def endless(count: int) -> AsyncIterator[Page]:
    for number in range(count):
        yield Page([{"id": number}], str(number + 1))


async def test_g10_rows_behind_the_last_full_segment_are_not_read_again() -> None:
    """An empty cursor would begin the snapshot anew, and count every row twice."""
    segments = [segment async for segment in read_segments(endless(5), 2, timedelta(seconds=5))]
    assert [(len(segment.rows), segment.cursor, segment.end) for segment in segments] == [
        (2, "2", None),
        (2, "4", None),
        (1, "5", None),
    ]
