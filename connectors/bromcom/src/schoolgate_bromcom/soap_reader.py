"""Datasets over the SOAP services: one answer per dataset, whose end is its document's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from schoolgate_bromcom import filters
from schoolgate_bromcom.datasets import BromcomDataset
from schoolgate_bromcom.soap_client import SoapClient
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


class SoapReader:
    """Reads datasets with a school's account. ``entities`` are those datasets' that have other names here."""

    keys_per_request = 200
    """A filter in a body may be long."""

    def __init__(
        self,
        client: SoapClient,
        settings: Mapping[str, str],
        entities: Mapping[str, str],
        page_size: int,
    ) -> None:
        self._page_size = page_size
        self._client = client
        self._settings = settings
        self._entities = entities

    def entity_of(self, dataset: BromcomDataset) -> str:
        """Return what the dataset's entity is called here."""
        return self._entities.get(dataset.name, dataset.entity)

    async def read(self, dataset: BromcomDataset, scope: Scope, cursor: str = "") -> AsyncGenerator[Page]:
        """Yield the rows of a snapshot while they come in, no more than a page of the Partner API at once.

        There are no pages to ask for and so none to resume from: every page's cursor is empty. That
        nothing follows is shown by the end of the document: every element closed, and nothing after them.

        Raises:
            Incomplete: a cursor was given.
            ConnectorError: as :meth:`SoapClient.rows` raises.
        """
        if cursor:
            raise Incomplete("a read over SOAP has no cursor", entity=self.entity_of(dataset))
        predicate = dataset.predicate(scope.date_from, scope.date_to)
        async with aclosing(self._rows(dataset, predicate)) as lists:
            async for rows in lists:
                for start in range(0, len(rows), self._page_size):
                    yield Page(rows=rows[start : start + self._page_size])
        yield Page(end=EndOfSnapshot(terminator_proven=True))

    async def _rows(self, dataset: BromcomDataset, predicate: str) -> AsyncGenerator[list[Row]]:
        entity = self.entity_of(dataset)
        is_first = True
        async with aclosing(self._client.rows(entity, predicate)) as lists:
            async for rows in lists:
                if not rows:
                    continue
                if is_first:  # the rest may be nothing but one odd row
                    dataset.check_columns(rows, self._settings, entity)
                    is_first = False
                yield rows

    async def found(self, dataset: BromcomDataset, predicate: str) -> AsyncGenerator[Row]:
        """Yield the rows under a predicate of keys."""
        async with aclosing(self._rows(dataset, predicate)) as lists:
            async for rows in lists:
                for row in rows:
                    yield row

    async def grant(self, dataset: BromcomDataset) -> EntityGrantState:
        """Ask for no row of the dataset's entity, and return what Bromcom made of that."""
        try:
            async with aclosing(self._client.rows(self.entity_of(dataset), filters.NOTHING)) as lists:
                async for _ in lists:
                    pass
        except EntityDenied:
            return EntityGrantState.DENIED
        except Unsupported:
            return EntityGrantState.UNKNOWN_ENTITY
        return EntityGrantState.GRANTED

    async def discover(self) -> frozenset[str]:
        """Return the entities that the account may read."""
        return await self._client.entities()
