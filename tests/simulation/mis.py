"""The simulated MIS as the engine meets it: pages of the world's rows, with what goes wrong in one sync."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from schoolgate_sdk import (
    AuthExpired,
    AuthInvalid,
    ChangedRows,
    Connector,
    CursorExpired,
    EndOfSnapshot,
    EntityDenied,
    Incomplete,
    Page,
    Parsed,
    RateLimited,
    Row,
    SchemaChanged,
    SchoolConnection,
    Scope,
    SourceKey,
    Transient,
    Unsupported,
    source_key,
)
from tests.simulation.base import require
from tests.simulation.feed import OVERLAP, Feed, Told
from tests.simulation.meaning import YEAR, Days
from tests.simulation.world import World, key_parts
from tests.support.scripted import MARKS, STUDENTS, ScriptedMis, parse_student, scripted_connector

ERRORS: Mapping[str, Callable[[], Exception]] = {
    "Transient": lambda: Transient("HTTP 502"),
    "RateLimited": lambda: RateLimited("slower"),
    "AuthExpired": lambda: AuthExpired("expired"),
    "AuthInvalid": lambda: AuthInvalid("refused"),
    "EntityDenied": lambda: EntityDenied("not granted", entity="Students"),
    "SchemaChanged": lambda: SchemaChanged("another shape"),
    "Incomplete": lambda: Incomplete("the pages contradict each other"),
    "Unsupported": lambda: Unsupported("not offered"),
    "RuntimeError": lambda: RuntimeError("a defect"),
    "hang": lambda: Transient("never raised: the page does not come"),
}

CLAIMS = {
    "counted": 1,
    "unproven": 2,
    "no_end": 1,
    "count_disagrees": 2,
    "contradiction": 2,
    "truncated": 4,
    "empty": 2,
    "empty_counted": 4,
    "page_twice": 2,
    "unstorable_row": 1,
}
"""What the MIS shows and says at the end of a read, with how often."""
UNSTORABLE: Mapping[str, Any] = {"id": 1 << 70, "surname": "Large"}
"""A row of a MIS that JSON cannot say as it is retained."""
FOREIGN: Mapping[str, Any] = {"id": 1j, "surname": "Foreign"}
"""A row that no MIS has: a page of nothing else is the connector's fault."""


@dataclasses.dataclass
class Weather:
    """What goes wrong at the MIS during one sync; the same in every attempt at it."""

    claims: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    amount: int = 1
    breaks: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict[str, tuple[int, str]])
    opening: str = ""
    reads_back: bool = True
    read_back_error: str = ""
    sloppy: bool = False
    """Rows of all days come, whichever are asked for."""
    expired: bool = False
    """No position is known any more."""
    repeats: bool = False
    """Changed rows come twice."""

    def claim(self, dataset: str) -> str:
        return self.claims.get(dataset, "proven")

    def __str__(self) -> str:
        parts = [f"{dataset} {claim}({self.amount})" for dataset, claim in self.claims.items()]
        parts += [f"{dataset} {error} at page {page}" for dataset, (page, error) in self.breaks.items()]
        if self.opening:
            parts.append(f"session does not open: {self.opening}")
        parts += ["all days come"] if self.sloppy else []
        parts += ["no position is known"] if self.expired else []
        parts += ["changes come twice"] if self.repeats else []
        parts.append(f"read back {self.read_back_error or self.reads_back}")
        return ", ".join(parts)


class SimulatedMis:
    """One school's MIS. ``pages`` keeps what was delivered last, ``shown`` the rows that there were then, and
    ``answered`` the rows that it had when it was asked for single ones.

    ``replaced`` has the rows of pages that were delivered once more, by an attempt after a crash.

    ``told`` has the pages of the first attempt to read changes, ``positions`` after what each asked for them,
    ``handed`` how many pages the last one was given.
    """

    def __init__(self, world: World, page_size: int) -> None:
        self.world = world
        self.feed = Feed(world)
        self.page_size = page_size
        self.weather = Weather()
        self.days: Days | None = None
        self.pages: dict[str, dict[int, list[dict[str, Any]]]] = {}
        self.replaced: dict[str, list[dict[str, Any]]] = {}
        self.shown: dict[str, list[dict[str, Any]]] = {}
        self.answered: dict[str, list[dict[str, Any]]] = {}
        self.told: dict[str, list[Told]] = {}
        self.positions: dict[str, list[int]] = {}
        self.handed: dict[str, int] = {}
        self.on_page: Callable[[str, int], Awaitable[None]] = self.calm
        self.fired: list[str] = []

    async def calm(self, dataset: str, index: int) -> None:
        """Let the page come."""

    def begin(self, weather: Weather, days: Days | None = None) -> None:
        """Forget the sync before; ``days`` are those that the next one is to ask for."""
        self.weather, self.days = weather, days
        self.pages, self.replaced, self.shown, self.answered = {}, {}, {}, {}
        self.told, self.positions, self.handed = {}, {}, {}
        self.feed.note()
        self.fired = []

    def content(self, dataset: str) -> list[list[dict[str, Any]]]:
        """Return the pages of ``dataset`` as the MIS shows them; at least one."""
        rows: list[Any] = self.world.rows[dataset]
        if self.days is not None and dataset == MARKS and not self.weather.sloppy:
            rows = [row for row in rows if self.days[0] <= row["date"] < self.days[1]]
        claim = self.weather.claim(dataset)
        if claim == "truncated":
            rows = rows[: max(1, len(rows) - self.weather.amount)]
        if claim in {"empty", "empty_counted"}:
            rows = []
        if claim == "unstorable_row":
            rows = [*rows, UNSTORABLE if self.weather.amount % 2 else FOREIGN]
        size = self.page_size
        pages = [rows[start : start + size] for start in range(0, len(rows), size)] or [[]]
        if claim == "page_twice":
            again = self.weather.amount % len(pages)
            pages.insert(again, pages[again])
        return [[dict(row) for row in page] for page in pages]

    def end(self, dataset: str, rows: int, position: str) -> EndOfSnapshot | None:
        """Return what is said at the end of a read of ``rows`` that began at ``position`` of the changes."""
        end = self._end(dataset, rows)
        return None if end is None else dataclasses.replace(end, changes_cursor=position)

    def _end(self, dataset: str, rows: int) -> EndOfSnapshot | None:
        match self.weather.claim(dataset):
            case "unproven":
                return EndOfSnapshot(terminator_proven=False)
            case "no_end":
                return None
            case "count_disagrees":
                return EndOfSnapshot(True, expected_rows=rows + 1)
            case "counted" | "empty_counted":
                return EndOfSnapshot(True, expected_rows=rows)
            case "contradiction":
                return EndOfSnapshot(True, contradiction="a page changed when read again")
            case _:
                return EndOfSnapshot(True)

    def connector(self, parser_version: int) -> Connector:
        """Return a connector for this MIS; parsers of even versions write surnames in capitals."""
        plain = scripted_connector(ScriptedMis(), parser_version=parser_version)
        parser = parse_student if parser_version % 2 else _parse_in_capitals
        datasets = tuple(
            dataclasses.replace(dataset, parser=parser) if dataset.name == STUDENTS else dataset
            for dataset in plain.datasets
        )

        @asynccontextmanager
        async def open_session(connection: SchoolConnection) -> AsyncGenerator[_Session]:
            if self.weather.opening:
                self.fired.append(f"session does not open: {self.weather.opening}")
                raise error_of(self.weather.opening)
            yield (_ReadingBack if self.weather.reads_back else _Session)(self)

        return dataclasses.replace(plain, datasets=datasets, open=open_session)


class _Session:
    def __init__(self, mis: SimulatedMis) -> None:
        self.mis = mis

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        mis, dataset = self.mis, scope.dataset
        at_first, position = cursor.split("@") if cursor else ("0", str(mis.feed.position))
        index = int(at_first)
        if dataset == MARKS:
            asked = str(scope.date_from), str(scope.date_to)
            require(asked == (mis.days or YEAR), "G08", f"{asked} were asked for, not {mis.days or YEAR}")
        while True:
            await mis.on_page(dataset, index)
            pages = mis.content(dataset)
            if index < len(pages):  # a resumed read may ask for what comes after the last page
                await self._break_off(dataset, index)
            page = pages[index] if index < len(pages) else []
            mis.shown[dataset] = copy.deepcopy(mis.world.rows[dataset])
            delivered = mis.pages.setdefault(dataset, {})
            mis.replaced.setdefault(dataset, []).extend(delivered.get(index, []))
            delivered[index] = page
            index += 1
            if index >= len(pages):
                if (claim := mis.weather.claim(dataset)) != "proven":
                    mis.fired.append(f"end of the read: {claim}")
                for later in [number for number in delivered if number >= index]:
                    mis.replaced[dataset] += delivered.pop(later)  # there are fewer pages than before
                read = sum(map(len, mis.pages[dataset].values()))
                yield Page(page, f"{index}@{position}", mis.end(dataset, read, position))
                return
            yield Page(page, f"{index}@{position}")

    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        mis, dataset, begins = self.mis, scope.dataset, int(cursor)
        mis.positions.setdefault(dataset, []).append(begins)
        if mis.weather.expired:
            mis.fired.append("position expired")
            raise CursorExpired("the log was cut")
        told = mis.feed.since(dataset, begins - OVERLAP if overlap else begins, mis.page_size)
        mis.told.setdefault(dataset, told)
        mis.handed[dataset] = 0
        for index, page in enumerate(told):
            await mis.on_page(dataset, index)
            await self._break_off(dataset, index)
            mis.handed[dataset] = index + 1
            rows = page.rows * 2 if mis.weather.repeats else page.rows
            deleted = [source_key(f"scripted/{dataset}", *parts) for parts in page.deleted]
            position = max(begins, page.position)  # of a page from the overlap, nothing new is known
            yield ChangedRows(rows, deleted, str(position), end=index == len(told) - 1)

    async def _break_off(self, dataset: str, index: int) -> None:
        at, error = self.mis.weather.breaks.get(dataset, (-1, ""))
        if index == at:
            self.mis.fired.append(f"page does not come: {error}")
            if error == "hang":
                await asyncio.sleep(86_400)
            raise error_of(error)


class _ReadingBack(_Session):
    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        if self.mis.weather.read_back_error:
            self.mis.fired.append(f"reading back fails: {self.mis.weather.read_back_error}")
            raise error_of(self.mis.weather.read_back_error)
        wanted = {tuple(map(repr, key.parts)) for key in keys}
        rows = self.mis.world.rows[scope.dataset]
        found = [row for row in rows if tuple(map(repr, key_parts(scope.dataset, row))) in wanted]
        self.mis.answered.setdefault(scope.dataset, []).extend(copy.deepcopy(found))
        return found


def _parse_in_capitals(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    yield from parse_student({**row, "surname": row["surname"].upper()}, settings)


def error_of(name: str) -> Exception:
    """Return a new error of the kind that ``name`` names."""
    return ERRORS[name]()
