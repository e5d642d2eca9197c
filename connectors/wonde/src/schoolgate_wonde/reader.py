"""Reading one school: snapshots page by page with what speaks for their end, changes, and rows by key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import orjson

from schoolgate_sdk import (
    ChangedRows,
    CursorExpired,
    EndOfSnapshot,
    EntityDenied,
    EntityGrantState,
    Incomplete,
    Page,
    Row,
    Scope,
    SourceKey,
    Unsupported,
)
from schoolgate_wonde import deletions, pages
from schoolgate_wonde.client import WondeClient, WondePage
from schoolgate_wonde.datasets import BY_NAME, DATASETS, WondeDataset
from schoolgate_wonde.rows import DELETIONS

_OLDEST: Final = timedelta(days=90)
"""How far back changes are asked for; how long Wonde keeps deletions is not public."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """Where a read stands: the resource and the page to be asked for next, and what came so far."""

    resource: int = 0
    page: int = 1
    rows: int = 0
    digest: str = ""
    contradiction: str = ""
    position: str = ""

    def text(self) -> str:
        parts = (self.resource, self.page, self.rows, self.digest, self.contradiction, self.position)
        return orjson.dumps(parts).decode()

    @classmethod
    def parse(cls, cursor: str, resources: int) -> _Progress:
        try:
            match orjson.loads(cursor):
                case [
                    int(resource),
                    int(page),
                    int(rows),
                    str(digest),
                    str(contradiction),
                    str(position),
                ] if 0 <= resource < resources and page > 0 and rows >= 0:
                    return cls(resource, page, rows, digest, contradiction, position)
                case _:
                    pass
        except orjson.JSONDecodeError:
            pass
        raise Incomplete("the cursor is none of this connector's")


class WondeReader:
    """Reads one school. ``settings`` are the registration's, defaults filled in."""

    def __init__(self, client: WondeClient, settings: Mapping[str, str], now: Callable[[], datetime]) -> None:
        self._client = client
        self._settings = settings
        self._now = now

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        """See ``ReadRows``.

        That ``more`` is false says that nothing follows; since a page may be cut short, the last page is
        asked for once more, and the whole is compared with ``counts`` where they know it. A dataset without
        any row is believed only of a school that has pupils: the wrong region answers, and has no data. A
        page that came before ends the resource: those that go round in circles would be asked for in
        thousands.
        """
        dataset = _dataset(scope)
        at = (
            _Progress.parse(cursor, len(dataset.resources))
            if cursor
            else _Progress(position=_position(self._now()))
        )
        seen = {at.digest}
        while True:
            resource = dataset.resources[at.resource]
            page = await self._page(dataset, resource, at.page)
            digest = pages.digest(page)
            repeats = bool(page.rows) and digest in seen
            seen.add(digest)
            contradiction = at.contradiction or pages.contradiction(page, at.page, repeats=repeats)
            if not page.more:
                again = await self._page(dataset, resource, at.page)
                if pages.digest(again) != digest:
                    contradiction = contradiction or "the last page changed when it was read again"
            if at.page == 1:  # a later one may have nothing but one odd row
                dataset.check_nested(resource, page.rows)
            rows = [row for given in page.rows for row in dataset.rows(resource, given)]
            at = replace(
                at, page=at.page + 1, rows=at.rows + len(rows), digest=digest, contradiction=contradiction
            )
            if page.more and at.page <= pages.MOST and page.rows and not repeats:
                yield Page(rows, at.text())
                continue
            if page.more:
                at = replace(at, contradiction=contradiction or "pages say without end that more follow")
            if at.resource + 1 < len(dataset.resources):
                at = replace(at, resource=at.resource + 1, page=1, digest="")
                seen.clear()
                yield Page(rows, at.text())
                continue
            yield Page(rows, at.text(), await self._end(dataset, at))
            return

    async def _end(self, dataset: WondeDataset, at: _Progress) -> EndOfSnapshot:
        if not at.rows:
            await self._check_region(dataset)
        expected = await self._client.count(dataset.counted) if dataset.counted else None
        cursor = at.position if dataset.follows_changes else ""
        return EndOfSnapshot(not at.contradiction, expected, at.contradiction or None, cursor)

    async def _check_region(self, dataset: WondeDataset) -> None:
        if dataset.name != "students" and (await self._client.page("students", 1, per_page=1)).rows:
            return
        raise Incomplete(
            "Wonde has no pupils of this school: is base_url that of its region?",
            entity=dataset.resources[0],
        )

    async def _page(
        self, dataset: WondeDataset, resource: str, number: int, updated_after: datetime | None = None
    ) -> WondePage:
        include = dataset.includes(resource, self._settings)
        return await self._client.page(resource, number, include=include, updated_after=updated_after)

    async def count(self, scope: Scope) -> int | None:
        """See ``CountRows``: pupils and contacts are counted, nothing else is known to be."""
        dataset = _dataset(scope)
        return await self._client.count(dataset.counted) if dataset.counted else None

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        """See ``ReadBack``: each is asked for by its id."""
        dataset = _dataset(scope)
        wanted: dict[tuple[str, str], list[tuple[object, ...]]] = {}
        for key in keys:
            place = dataset.place(key.parts) if key.namespace == dataset.namespace else None
            if place is not None:
                wanted.setdefault(place, []).append(key.parts)
        found: list[Row] = []
        for (resource, number), parts in wanted.items():
            include = dataset.includes(resource, self._settings)
            row = await self._client.single(resource, number, include)
            if row is not None and str(row.get("id", "")).strip() == number:
                dataset.check_nested(resource, [row])
                found += (
                    each
                    for each in dataset.rows(resource, row)
                    if any(dataset.matches(each, key) for key in parts)
                )
        return found

    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        """See ``ReadChanges``: what was updated after the position, and then what was deleted since.

        What speaks against the end of a full read ends this one, before a new position is told. A deletion
        that cannot be read is a row to refuse, in every dataset that it may be of.

        Raises:
            Incomplete: a page is short though more follow, comes again, or is another than was asked for.
            CursorExpired: the position is none, or lies too far back; or the dataset's rows nest in others,
                of which no change is told.
        """
        dataset = _dataset(scope)
        since = _since(dataset, cursor, self._now())
        position, after = _position(self._now()), since - overlap
        for resource in dataset.resources:
            ask = partial(self._page, dataset, resource, updated_after=after)
            async for rows in pages.undoubted(ask, resource, pages.MOST):
                yield ChangedRows([row for given in rows for row in dataset.rows(resource, given)])
        deleted, unreadable = await self._deleted(dataset, after)
        yield ChangedRows(unreadable, deleted, position, end=True)

    async def _deleted(self, dataset: WondeDataset, after: datetime) -> tuple[list[SourceKey], list[Row]]:
        """Return what was deleted of a dataset, and a row to refuse for each deletion that cannot be read."""
        deleted: dict[SourceKey, None] = {}
        unreadable: list[Row] = []
        ask = partial(self._client.page, DELETIONS, updated_after=after)
        async for rows in pages.undoubted(ask, DELETIONS, pages.MOST):
            for row in rows:
                match deletions.of_dataset(dataset, row, self._settings):
                    case SourceKey() as key:
                        deleted[key] = None
                    case None:
                        pass
                    case refused:
                        unreadable.append(refused)
        return list(deleted), unreadable

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        """See ``Grants``: a row is asked for of each resource, and with it what nests there.

        Raises:
            AuthRevoked, AuthInvalid: the school has not approved at all.
        """
        return {name: await self._grant(name) for name in entities}

    async def _grant(self, name: str) -> EntityGrantState:
        nesting = [
            resource
            for dataset in DATASETS
            for resource in dataset.resources
            if name in dataset.includes(resource, self._settings) and name not in _RESOURCES
        ]
        if not nesting and name in _NESTED_BY_DEFAULT:
            return EntityGrantState.GRANTED  # the settings have nothing read there, so nothing is missing
        try:
            for resource in dict.fromkeys(nesting):
                await self._client.page(resource, 1, include=(name,), per_page=1)
            if not nesting:
                await self._client.page(name, 1, per_page=1)
        except EntityDenied:
            return EntityGrantState.DENIED
        except Unsupported:
            return EntityGrantState.UNKNOWN_ENTITY
        return EntityGrantState.GRANTED


_RESOURCES: Final = frozenset(resource for dataset in DATASETS for resource in dataset.resources)
_NESTED_BY_DEFAULT: Final = (
    frozenset(name for dataset in DATASETS for name in dataset.entities({})) - _RESOURCES
)


def _dataset(scope: Scope) -> WondeDataset:
    try:
        return BY_NAME[scope.dataset]
    except KeyError:
        raise Unsupported("there is no such dataset", entity=scope.dataset) from None


def _position(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="seconds")


def _since(dataset: WondeDataset, cursor: str, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(cursor)
    except ValueError:
        raise CursorExpired("the position is none of this connector's") from None
    if found.tzinfo is None or found > now or now - found > _OLDEST or not dataset.follows_changes:
        raise CursorExpired("the position cannot be gone on from")
    return found
