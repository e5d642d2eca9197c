"""Datasets over the Partner API: pages, and what proves that there are no more of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from schoolgate_bromcom import filters
from schoolgate_bromcom.client import Answer, BromcomClient
from schoolgate_bromcom.datasets import BromcomDataset
from schoolgate_sdk import (
    EndOfSnapshot,
    EntityDenied,
    EntityGrantState,
    Incomplete,
    Page,
    Row,
    Scope,
    Unsupported,
)

_MOST_PAGES: Final = 1000
"""Pages of one read: a hundred million rows at Bromcom's page size, which no school has."""

_MOST_PAGES_OF_KEYS: Final = 20


@dataclass(frozen=True, slots=True)
class _Progress:
    """What is known after some pages; as text, it is the cursor.

    ``rows`` is the number of rows of the last page, which alone decides what the next one means.
    """

    next_page: int = 0
    rows: int = 0
    contradiction: str | None = None

    def cursor(self) -> str:
        return orjson.dumps([self.next_page, self.rows, self.contradiction]).decode()

    @classmethod
    def from_cursor(cls, cursor: str) -> _Progress:
        if not cursor:
            return cls()
        try:
            match orjson.loads(cursor):
                case [int(next_page), int(rows), None | str() as contradiction] if next_page > 0:
                    return cls(next_page, rows, contradiction)
                case _:
                    pass
        except orjson.JSONDecodeError as error:
            raise Incomplete("the cursor is none of this connector's") from error
        raise Incomplete("the cursor is none of this connector's")


class PartnerReader:
    """Reads datasets with the application's credentials."""

    keys_per_request = 40
    """Keeps the address of a request under 2,048 characters, beyond which IIS by default refuses it."""

    def __init__(self, client: BromcomClient, settings: Mapping[str, str], page_size: int) -> None:
        self._client = client
        self._settings = settings
        self._page_size = page_size

    async def read(self, dataset: BromcomDataset, scope: Scope, cursor: str = "") -> AsyncGenerator[Page]:
        """Yield the pages of a snapshot.

        A short page proves nothing, for a truncated page looks just the same. The end is proven by the
        empty page after the last one, and by reading the page on which that rests once more.

        Raises:
            Incomplete: more pages came than any school has, or the cursor is malformed.
            ConnectorError: as :meth:`BromcomClient.page` raises.
        """
        predicate = dataset.predicate(scope.date_from, scope.date_to)
        progress = _Progress.from_cursor(cursor)
        first_seen: dict[str, int] = {}
        while progress.next_page < _MOST_PAGES:
            number = progress.next_page
            answer = await self._page(dataset, predicate, number)
            if not answer.rows:
                contradiction = progress.contradiction or await self._reread(dataset, predicate, progress)
                yield Page(cursor=progress.cursor(), end=EndOfSnapshot(True, contradiction=contradiction))
                return
            repeated = first_seen.setdefault(answer.digest, number)
            if repeated != number:
                contradiction = f"page {number} repeats page {repeated}"
                yield Page(cursor=progress.cursor(), end=EndOfSnapshot(False, contradiction=contradiction))
                return
            progress = self._advance(progress, answer)
            yield Page(rows=answer.rows, cursor=progress.cursor())
            del answer  # a page may hold 100,000 rows: not two at once
        raise Incomplete(f"Bromcom gave more than {_MOST_PAGES} pages", entity=dataset.entity)

    def _advance(self, progress: _Progress, answer: Answer) -> _Progress:
        number, rows = progress.next_page, len(answer.rows)
        contradiction = progress.contradiction
        if contradiction is None and number and progress.rows < self._page_size:
            contradiction = f"page {number - 1} is short, but page {number} has rows (is page_size right?)"
        if contradiction is None and rows > self._page_size:
            contradiction = f"page {number} has more rows than page_size"
        return replace(progress, next_page=number + 1, rows=rows, contradiction=contradiction)

    async def _reread(self, dataset: BromcomDataset, predicate: str, progress: _Progress) -> str | None:
        """Read the page on which the end rests once more; return what speaks against it.

        That is the last page with rows, where it was short. Where it was full (or there was none) the empty
        page came as a surprise, and it is the one to doubt.
        """
        short = progress.next_page > 0 and progress.rows < self._page_size
        number, expected = (progress.next_page - 1, progress.rows) if short else (progress.next_page, 0)
        found = len((await self._page(dataset, predicate, number)).rows)
        if found != expected:
            return f"page {number} had {expected} rows and, read again, {found}"
        return None

    async def _page(self, dataset: BromcomDataset, predicate: str, number: int) -> Answer:
        answer = await self._client.page(dataset.entity, predicate, number)
        if answer.rows and not number:  # a later page may have nothing but one odd row
            dataset.check_columns(answer.rows, self._settings, dataset.entity)
        return answer

    async def found(self, dataset: BromcomDataset, predicate: str) -> AsyncGenerator[Row]:
        """Yield the rows under a predicate of keys."""
        for number in range(_MOST_PAGES_OF_KEYS):
            answer = await self._page(dataset, predicate, number)
            if not answer.rows:
                return
            for row in answer.rows:
                yield row
        raise Incomplete("Bromcom gave more rows than the keys can have", entity=dataset.entity)

    def entity_of(self, dataset: BromcomDataset) -> str:
        """Return the usual name of the dataset's entity."""
        return dataset.entity

    async def grant(self, dataset: BromcomDataset) -> EntityGrantState:
        """Ask for no row of the dataset's entity, and return what Bromcom made of that."""
        try:
            await self._client.page(dataset.entity, filters.NOTHING, 0)
        except EntityDenied:
            return EntityGrantState.DENIED
        except Unsupported:
            return EntityGrantState.UNKNOWN_ENTITY
        return EntityGrantState.GRANTED

    async def discover(self) -> None:
        """Return nothing: the Partner API has not been seen to say which entities there are."""
