"""The lying connector is honest until it is told to lie, and then every lie is one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest

from schoolgate_sdk import CountRows, Grants, ReadBack, SchoolConnection, Scope, source_key
from schoolgate_sdk.testing.lies import LIES, NO_COUNT, lie_named
from schoolgate_sdk.testing.lying import SECRET, STUDENTS, Lie, LyingMis, lying_connector

SCOPE = Scope(STUDENTS, "2026/27")
MOMENT = 0.02
"""Seconds after which an answer that is there at once counts as one that never comes."""


def connection() -> SchoolConnection:
    return SchoolConnection("oak", {}, lambda: datetime(2026, 11, 2, tzinfo=UTC), {"secret": SECRET})


async def spoken(what: Awaitable[Any]) -> Any:
    try:
        return await what
    except (KeyboardInterrupt, SystemExit) as error:  # which asyncio would pass on to the test run
        return type(error).__name__


async def told(what: Awaitable[Any]) -> Any:
    """Return an answer, or the type of what came instead of one, or "silence"."""
    task = asyncio.create_task(spoken(what))
    await asyncio.wait({task}, timeout=MOMENT)
    for _ in range(4):  # some go on after three
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=MOMENT)
    else:
        return "it never ends"
    if task.cancelled():
        return "silence"
    error = task.exception()
    return task.result() if error is None else type(error).__name__


async def pages(session: Any) -> list[Any]:
    read = session.read(SCOPE)
    if not hasattr(read, "__anext__"):
        return [read]
    found: list[Any] = []
    for _ in range(12):
        page = await told(anext(read, "no more"))
        found.append(page)
        if isinstance(page, str):
            break
    found.append(await told(read.aclose()) if len(found) > 2 else None)
    return found


def parsed(mis: LyingMis, row: Any) -> Any:
    try:
        found: list[Any] | None = lying_connector(mis).dataset(STUDENTS).parser(row, {})  # type: ignore[assignment]
        return None if found is None else list(islice(found, 5))
    except BaseException as error:  # noqa: BLE001 - lies raise whatever there is
        return type(error).__name__


async def transcript(mis: LyingMis) -> str:
    """Return everything that a session tells about the students."""
    context = lying_connector(mis).open(connection())
    session = await told(context.__aenter__())
    if not isinstance(session, ReadBack):
        return f"no session: {session!r}"
    assert isinstance(session, CountRows)
    assert isinstance(session, Grants)
    key = source_key("lying/students", 3)
    said = [
        await told(session.count(SCOPE)),
        await told(session.grants([STUDENTS])),
        await told(session.read_back(SCOPE, [key])),
        await pages(session),
        [parsed(mis, row) for row in mis.rows[STUDENTS][:6]],
        await told(context.__aexit__(None, None, None)),
    ]
    return repr(said)


def test_lies_have_names_of_their_own() -> None:
    names = [lie.name for lie in LIES]
    assert len(set(names)) == len(names) > 120
    assert all(lie.says.endswith(".") for lie in LIES)
    assert lie_named("truncated").name == "truncated"
    with pytest.raises(KeyError):
        lie_named("the truth")


async def test_without_lies_it_tells_the_truth_again_and_again() -> None:
    mis = LyingMis()
    assert await transcript(mis) == await transcript(mis)
    async with lying_connector(mis).open(connection()) as session:
        read = [page async for page in session.read(SCOPE)]
        resumed = [page async for page in session.read(SCOPE, read[1].cursor)]
    assert [row for page in read for row in page.rows] == mis.rows[STUDENTS]
    assert resumed == read[2:]
    assert [page.end is not None for page in read] == [False, False, False, True]


SMALL = [lie for lie in LIES if not lie.name.startswith("large_")]


@pytest.mark.parametrize("lie", SMALL, ids=lambda lie: lie.name)
async def test_every_lie_is_one(lie: Lie) -> None:
    honest = await transcript(LyingMis())
    assert await transcript(LyingMis(lies=(lie,))) != honest


async def test_a_lie_is_told_about_one_dataset() -> None:
    mis = LyingMis(lies=(lie_named("no_rows"), lie_named("key_is_a_float")), about="groups")
    assert await transcript(mis) == await transcript(LyingMis())


async def test_lies_are_told_together() -> None:
    mis = LyingMis(lies=(NO_COUNT, lie_named("truncated"), lie_named("duplicate_rows")))
    async with lying_connector(mis).open(connection()) as session:
        read = [page async for page in session.read(SCOPE)]
    assert isinstance(session, CountRows)
    assert await session.count(SCOPE) is None
    assert sum(len(page.rows) for page in read) == 2 * (len(mis.rows[STUDENTS]) - 3)
    assert read[-1].end is not None
    assert read[-1].end.expected_rows is None
