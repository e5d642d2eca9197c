"""Lies about the rows and the pages of a read, and what may be raised instead of one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from schoolgate_sdk import errors
from schoolgate_sdk.reading import Page
from schoolgate_sdk.testing.lying import (
    ENTITY,
    SECRET,
    Lie,
    Pages,
    Rows,
    hang,
    hang_on,
    others,
    raising,
    stranger,
)


def _shifting(rows: Rows, look: int) -> Rows:
    shift = 3 * look % len(rows)
    return rows[shift:] + rows[:shift]


def _conflicting(rows: Rows, _: int) -> Rows:
    return [*rows, *({**row, "surname": "Somebody Else"} for row in rows[:5])]


def _none(*_: object) -> Rows:
    return []


def _numbers(*_: object) -> Any:  # noqa: ANN401 - lies are of any type
    return [1, 2, 3]


_ROWS = (
    Lie(name="duplicate_rows", says="Every row comes twice.", rows=lambda rows, _: [*rows, *rows]),
    Lie(name="conflicting_rows", says="Five rows come again, and differ.", rows=_conflicting),
    Lie(
        name="page_changes",
        says="The rows move on by three between any two pages: some come twice, others never.",
        rows=_shifting,
    ),
    Lie(name="other_school", says="All rows are another school's.", rows=lambda rows, _: others(rows)),
    Lie(
        name="other_schools_rows_mixed_in",
        says="Eight rows of another school come with the others.",
        rows=lambda rows, _: [*rows, *others(rows[:8])],
    ),
    Lie(name="no_rows", says="There are no rows at all.", rows=_none),
    Lie(name="truncated", says="The last rows are missing, and the end is proven.", rows=lambda r, _: r[:-3]),
    Lie(
        name="hole",
        says="A page in the middle is missing, and nothing is said of it.",
        rows=lambda rows, _: rows[:10] + rows[20:],
    ),
    Lie(name="rows_are_numbers", says="Rows are numbers.", rows=_numbers),
    Lie(
        name="rows_are_no_json",
        says="A row holds what JSON cannot say.",
        rows=lambda rows, _: [{**rows[0], "taken": object()}, *rows[1:]],
    ),
    Lie(
        name="large_row",
        says="A name has 50 MB.",
        rows=lambda rows, _: [{**rows[0], "surname": "x" * 50_000_000}, *rows[1:]],
    ),
    Lie(
        name="large_random_row",
        says="A row has 50 MB that cannot be compressed.",
        rows=lambda rows, _: [{**rows[0], "photo": random.Random(1).randbytes(25_000_000).hex()}, *rows[1:]],
    ),
)


# What is told of the pages.


def ended(**changes: Any) -> Callable[[Pages], Pages]:  # noqa: ANN401 - lies are of any type
    """Return what changes the end of a snapshot."""

    async def pages(honest: Pages) -> AsyncGenerator[Page]:
        async for page in honest:
            yield page if page.end is None else replace(page, end=replace(page.end, **changes))

    return pages


def _paged(**changes: Any) -> Callable[[Pages], Pages]:  # noqa: ANN401 - lies are of any type
    """Return what changes every page."""

    async def pages(honest: Pages) -> AsyncGenerator[Page]:
        async for page in honest:
            yield replace(page, **changes)

    return pages


def _yielding(*values: object) -> Callable[[Pages], Any]:
    async def pages(_: Pages) -> AsyncGenerator[Any]:
        for value in values:
            yield value

    return pages


def _after_one_page(act: Callable[..., Awaitable[Any]]) -> Callable[[Pages], Pages]:
    async def pages(honest: Pages) -> AsyncGenerator[Page]:
        yield replace(await anext(honest), end=None)
        await act()

    return pages


def _first_page_for_ever(*, new_cursors: bool) -> Callable[[Pages], Pages]:
    async def pages(honest: Pages) -> AsyncGenerator[Page]:
        page, count = replace(await anext(honest), end=None), 0
        while True:
            yield replace(page, cursor=f"{count}") if new_cursors else page
            count += 1

    return pages


async def _endless(_: Pages) -> AsyncGenerator[Page]:
    count = 0
    while True:
        yield Page([stranger(count + number) for number in range(50)], str(count))
        count += 50


async def _empty_for_ever(_: Pages) -> AsyncGenerator[Page]:
    count = 0
    while True:
        yield Page((), str(count))
        count += 1


async def _trickling(honest: Pages) -> AsyncGenerator[Page]:
    page, count = replace(await anext(honest), rows=(), end=None), 0
    while True:
        await asyncio.sleep(0.02)
        yield replace(page, rows=[stranger(count)], cursor=str(count))
        count += 1


async def _to_and_fro(honest: Pages) -> AsyncGenerator[Page]:
    count = 0
    async for page in honest:
        yield replace(page, cursor=str(count % 2))
        count += 1


async def _not_closing(honest: Pages) -> AsyncGenerator[Page]:
    try:
        yield replace(await anext(honest), cursor="1", end=None)
        yield Page([stranger(1)], "1")
        yield Page([stranger(2)], "1")
    finally:
        await hang()


_PAGES = (
    Lie(
        name="same_page_for_ever",
        says="The first page comes again and again.",
        pages=_first_page_for_ever(new_cursors=False),
    ),
    Lie(
        name="same_page_under_new_cursors",
        says="The first page comes again and again, each time under another cursor.",
        pages=_first_page_for_ever(new_cursors=True),
    ),
    Lie(name="endless_rows", says="New rows come for ever.", pages=_endless),
    Lie(name="empty_pages_for_ever", says="Pages without rows come for ever.", pages=_empty_for_ever),
    Lie(name="trickle", says="A row comes now and then, for ever.", pages=_trickling),
    Lie(name="cursor_goes_back", says="Two cursors take turns.", pages=_to_and_fro),
    Lie(name="no_end", says="The last page does not say that it is the last.", pages=_paged(end=None)),
    Lie(name="no_pages", says="There is no page at all.", pages=_yielding()),
    Lie(name="end_unproven", says="Nothing shows the end.", pages=ended(terminator_proven=False)),
    Lie(name="proof_is_text", says="The proof is a word.", pages=ended(terminator_proven="yes")),
    Lie(
        name="expects_more_rows", says="The MIS is said to have more rows.", pages=ended(expected_rows=9_999)
    ),
    Lie(name="expects_fewer_rows", says="The MIS is said to have one row.", pages=ended(expected_rows=1)),
    Lie(name="expects_text", says="The number of rows is a text.", pages=ended(expected_rows="many")),
    Lie(name="expects_less_than_none", says="The number of rows is negative.", pages=ended(expected_rows=-1)),
    Lie(name="expects_2_to_the_70", says="The number of rows is huge.", pages=ended(expected_rows=1 << 70)),
    Lie(
        name="contradiction_with_secret",
        says="What speaks against completeness quotes a secret, and is long.",
        pages=ended(contradiction=SECRET + "x" * 1_000_000),
    ),
    Lie(name="contradiction_is_no_text", says="A contradiction is a list.", pages=ended(contradiction=[1])),
    Lie(name="end_is_text", says="The end is a word.", pages=_paged(end="end")),
    Lie(name="page_is_a_dict", says="A page is a dictionary.", pages=_yielding({"rows": []})),
    Lie(name="page_is_a_number", says="A page is a number.", pages=_yielding(1)),
    Lie(name="rows_are_none", says="The rows of a page are None.", pages=_yielding(Page(None))),  # type: ignore[arg-type]
    Lie(
        name="rows_are_a_generator",
        says="The rows of a page never end.",
        pages=_yielding(Page(iter(dict, None))),  # type: ignore[arg-type]
    ),
    Lie(name="cursor_is_a_number", says="The cursor is a number.", pages=_paged(cursor=7)),
    Lie(name="read_gives_none", says="A read is None.", pages=lambda _: None),
    Lie(name="read_gives_a_list", says="A read is a list of pages.", pages=lambda _: [Page()]),
    Lie(name="read_hangs", says="The next page never comes.", pages=_after_one_page(hang)),
    Lie(
        name="read_hangs_on",
        says="… and the read ignores that it is cancelled.",
        pages=_after_one_page(hang_on),
    ),
    Lie(name="read_does_not_close", says="The read does not let itself be closed.", pages=_not_closing),
)


# What is raised.

_RAISED: dict[str, Callable[[], BaseException]] = {
    "transient": lambda: errors.Transient("HTTP 502"),
    "rate_limited": lambda: errors.RateLimited("slow down"),
    "rate_limited_naively": lambda: errors.RateLimited("slow down", until=datetime(2026, 1, 1)),  # noqa: DTZ001
    "rate_limited_until_text": lambda: errors.RateLimited("x", until="noon"),  # type: ignore[arg-type]
    "auth_expired": lambda: errors.AuthExpired("expired"),
    "auth_invalid": lambda: errors.AuthInvalid("refused"),
    "denied": lambda: errors.EntityDenied("not granted", entity=ENTITY),
    "schema_changed": lambda: errors.SchemaChanged("not what it was"),
    "incomplete": lambda: errors.Incomplete("cut off"),
    "cursor_expired": lambda: errors.CursorExpired("forgotten"),
    "unsupported": lambda: errors.Unsupported("not offered"),
    "error_without_type": lambda: errors.ConnectorError("of no type"),
    "error_without_text": lambda: errors.Transient(None),  # type: ignore[arg-type]
    "error_with_number": lambda: errors.EntityDenied(7, entity=7),  # type: ignore[arg-type]
    "secret": lambda: errors.Transient(f"refused for {SECRET}", entity=SECRET),
    "megabytes": lambda: errors.Transient("<html>" * 1_000_000, entity="x" * 1_000_000),
    "runtime_error": lambda: RuntimeError(SECRET),
    "recursion_error": lambda: RecursionError(SECRET),
    "memory_error": MemoryError,
    "timeout": TimeoutError,
    "stop": StopAsyncIteration,
    "exit": lambda: SystemExit(1),
    "interrupt": KeyboardInterrupt,
    "generator_exit": GeneratorExit,
    "cancellation": asyncio.CancelledError,
    "base_exception": lambda: BaseException(SECRET),
}

_RAISING = tuple(
    Lie(
        name=f"read_raises_{name}",
        says=f"The read ends with {name.replace('_', ' ')}.",
        pages=_after_one_page(raising(make)),
    )
    for name, make in _RAISED.items()
)

READING: tuple[Lie, ...] = (*_ROWS, *_PAGES, *_RAISING)
"""Lies about rows and pages, and what is raised instead of a page."""
