"""What speaks against a page, and reading pages that have no second chance to be doubted.

A full read notes what speaks against it, and the server then takes nothing for gone. Changes, deletions and
what is looked for after a write have no such note: there a doubt ends the read.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

import orjson

from schoolgate_sdk import Incomplete, Row
from schoolgate_wonde.client import WondePage

MOST: Final = 20_000
"""Pages of a read: more than the largest school has."""
_LOOKS: Final = 4
"""How often the last page is looked at again until it is the same twice: something may change just then."""


def digest(page: WondePage) -> str:
    """Return what tells a page from another: the ids on it, for times of other fields may change.

    What has none counts as it is.
    """
    known = hashlib.blake2b(digest_size=12)
    for row in page.rows:
        known.update(_known_by(row.get("id") or row))
    return known.hexdigest()


def _known_by(value: object) -> bytes:
    try:
        return orjson.dumps(value) + b"\n"
    except TypeError:  # JSON may nest deeper than can be written again
        return b"\n"


def contradiction(page: WondePage, asked: int, *, repeats: bool) -> str:
    """Return what speaks against the page that was asked for by its number; nothing where all is well.

    ``repeats`` says that a page with the same ids came before.
    """
    if page.number != asked:
        return "another page came than was asked for"
    if page.rows and repeats:
        return "a page came again in place of the next one"
    if page.more and len(page.rows) < page.per_page:
        return "a page is short, and more follow"
    if len(page.rows) > page.per_page:
        return "a page has more rows than it says that pages have"
    return ""


async def undoubted(
    ask: Callable[[int], Awaitable[WondePage]], entity: str, most: int
) -> AsyncIterator[list[Row]]:
    """Yield the rows of page after page, from ``ask(1)`` to the last one of at most ``most``.

    The last page is asked for until it is the same twice, for one that was cut short looks like the end; what
    each look showed is yielded, the latest last.

    Raises:
        Incomplete: a page is short though more follow, comes again, or is another than was asked for; the
            last page is never the same twice; or ``most`` pages are not all.
    """
    seen: set[str] = set()
    for number in range(1, most + 1):
        page = await _asked(ask, number, entity, seen)
        yield page.rows
        looks = 0
        while not page.more:
            again = await _asked(ask, number, entity, seen)
            if not again.more and digest(again) == digest(page):
                return
            yield again.rows
            page, looks = again, looks + 1
            if looks == _LOOKS:
                raise Incomplete("the last page changed whenever it was read again", entity=entity)
        seen.add(digest(page))
    raise Incomplete("pages say without end that more follow", entity=entity)


async def _asked(
    ask: Callable[[int], Awaitable[WondePage]], number: int, entity: str, seen: Collection[str]
) -> WondePage:
    page = await ask(number)
    doubt = contradiction(page, number, repeats=digest(page) in seen)
    if doubt:
        raise Incomplete(doubt, entity=entity)
    return page
