"""The end of a snapshot is proven, or the read says what speaks against it (guarantees G01 and G02)."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from schoolgate_bromcom import partner_reader
from schoolgate_sdk import Incomplete, RateLimited, Scope, Unsupported
from schoolgate_sdk.testing.world import World
from tests.contract.bromcom.conftest import PAGE, Mis, StartMis, read_all

MARKS = Scope("attendance_marks", "2026/27")


def pages_asked(mis: Mis, entity: str = "BasicAttendance") -> list[object]:
    latest: Any = mis.api.log.as_json()["latest"]
    return [entry["page"] for entry in latest if entry["entity"] == entity]


async def test_the_end_is_proven_by_an_empty_page_and_by_reading_the_last_one_again(mis: Mis) -> None:
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert len(rows) >= mis.world.count_marks()
    assert end.terminator_proven
    assert end.contradiction is None
    last = (len(rows) - 1) // PAGE
    assert len(rows) % PAGE != 0
    assert pages_asked(mis) == [*range(last + 2), last]


async def test_a_full_last_page_makes_the_empty_one_doubtful_instead(start_mis: StartMis) -> None:
    world = World.build(seed=2, pupils=20, marks_until=date(2026, 9, 12))
    total = world.count_marks()
    mis = await start_mis(world, page_size=total, tidy=True)
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert (len(rows), end.terminator_proven, end.contradiction) == (total, True, None)
    assert pages_asked(mis) == [0, 1, 1]


@pytest.mark.parametrize("page", [0, 2])
async def test_g01_a_truncated_page_in_the_middle_is_a_contradiction(mis: Mis, page: int) -> None:
    mis.fault(kind="truncate_page", entity="BasicAttendance", page=page)
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert end.contradiction is not None
    assert f"page {page} is short" in end.contradiction
    assert mis.world.count_marks() - len(rows) <= PAGE // 2


async def test_g01_a_truncated_last_page_is_a_contradiction(mis: Mis) -> None:
    total = len((await read_all(await mis.session(), "attendance_marks"))[0])
    last = total // PAGE
    mis.fault(kind="truncate_page", entity="BasicAttendance", page=last, keep=1)
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert len(rows) == last * PAGE + 1
    assert end.contradiction == f"page {last} had 1 rows and, read again, {total - last * PAGE}"


async def test_g01_an_empty_page_in_the_middle_is_a_contradiction(mis: Mis) -> None:
    mis.fault(kind="truncate_page", entity="BasicAttendance", page=1, keep=0)
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert len(rows) == PAGE
    assert end.contradiction == f"page 1 had 0 rows and, read again, {PAGE}"


async def test_g02_no_rows_once_is_no_empty_school(mis: Mis) -> None:
    mis.fault(kind="truncate_page", entity="StudentFlatView", page=0, keep=0)
    rows, end = await read_all(await mis.session(), "students")
    assert rows == []
    assert end.contradiction is not None


async def test_a_looping_mis_is_found_out(mis: Mis) -> None:
    mis.fault(kind="loop_page", entity="BasicAttendance", page=0)
    rows, end = await read_all(await mis.session(), "attendance_marks")
    assert len(rows) == PAGE
    assert end.terminator_proven is False
    assert end.contradiction == "page 1 repeats page 0"


async def test_a_mis_that_never_ends_is_given_up(mis: Mis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partner_reader, "_MOST_PAGES", 1)
    with pytest.raises(Incomplete, match="more than 1 pages"):
        await read_all(await mis.session(), "attendance_marks")


async def test_a_wrong_page_size_proves_nothing(mis: Mis) -> None:
    for size in ("100", "300"):
        _, end = await read_all(await mis.session(page_size=size), "attendance_marks")
        assert end.contradiction is not None
        assert "page_size" in end.contradiction


async def test_a_read_resumes_after_any_page_with_what_it_knew(mis: Mis) -> None:
    session = await mis.session()
    mis.fault(kind="truncate_page", entity="BasicAttendance", page=0)
    pages = [page async for page in session.read(MARKS)]
    ends = [pages[-1].end]
    for position, page in enumerate(pages[:-1]):
        resumed = [page async for page in session.read(MARKS, page.cursor)]
        assert [len(page.rows) for page in resumed] == [len(page.rows) for page in pages[position + 1 :]]
        ends.append(resumed[-1].end)
    assert len(ends) > 1
    told = "page 0 is short, but page 1 has rows (is page_size right?)"
    assert {end.contradiction for end in ends if end} == {told}


@pytest.mark.parametrize("cursor", ["nonsense", "[]", '{"next_page": 1}', "[0, 0, null]", "[1]"])
async def test_a_foreign_cursor_is_refused(mis: Mis, cursor: str) -> None:
    with pytest.raises(Incomplete, match="cursor"):
        await read_all(await mis.session(), "attendance_marks", cursor=cursor)


async def test_a_window_is_half_open(mis: Mis) -> None:
    day = date(2026, 9, 8)
    rows, end = await read_all(await mis.session(), "attendance_marks", day, date(2026, 9, 9))
    assert {row["calendarStartDate"] for row in rows} == {"2026-09-08T00:00:00"}
    assert end.contradiction is None


async def test_pages_come_as_they_are_read(mis: Mis) -> None:
    mis.fault(kind="rate_limit", entity="BasicAttendance", page=1, times=None, retry_after="3600")
    session = await mis.session()
    pages = session.read(MARKS)
    first = await anext(pages)
    assert len(first.rows) == PAGE
    with pytest.raises(RateLimited):
        await anext(pages)


async def test_an_unknown_dataset(mis: Mis) -> None:
    with pytest.raises(Unsupported, match="no dataset clubs"):
        await read_all(await mis.session(), "clubs")
