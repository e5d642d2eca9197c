"""Where checks work: a world, the simulator that serves it, and sessions of the connector with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.connector import Connector, Dataset, SchoolConnection, Session
from schoolgate_sdk.errors import ConnectorError
from schoolgate_sdk.parsing import Parsed, Row, RowRejected
from schoolgate_sdk.reading import EndOfSnapshot, Scope
from schoolgate_sdk.testing.conformance.comparing import (
    Comparison,
    Entity,
    Key,
    compare,
    of_parsed,
    of_truth,
)
from schoolgate_sdk.testing.conformance.editing import small_school
from schoolgate_sdk.testing.conformance.expecting import Expectation
from schoolgate_sdk.testing.conformance.outcome import CheckFailed
from schoolgate_sdk.testing.conformance.target import FAULTS, ConformanceTarget, Fault, SimulatedMis
from schoolgate_sdk.testing.world import World
from schoolgate_sdk.traffic import Traffic

if TYPE_CHECKING:
    from schoolgate_sdk.testing.conformance.places import Place

SEED: Final = 20260901
PUPILS: Final = 30
MARKS_UNTIL: Final = date(2026, 9, 19)
"""Two weeks of registers: about six hundred marks."""

_LONGEST: Final = 60.0
"""Seconds for one read of one dataset, or one answer; what takes longer hangs."""

_BEGAN: Final = datetime(2026, 9, 21, 8, 0, tzinfo=UTC)

_MOST_PAGES: Final = 5_000

_MOST_MESSAGES: Final = 1_000
"""Messages that the server takes of one row."""


@dataclass(slots=True)
class Reading:
    """What one read gave. ``cursors`` has each page's cursor with the number of rows up to there."""

    rows: list[Row] = field(default_factory=list[Row])
    end: EndOfSnapshot | None = None
    cursors: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def doubt(self) -> str | None:
        """Return what keeps the read from being a sealed snapshot; ``None`` where it is one."""
        if self.end is None:
            return "it just stopped, without a page whose end is set"
        if self.end.contradiction is not None:
            return f"it contradicts itself: {self.end.contradiction}"
        if not self.end.terminator_proven:
            return "its end was not proven"
        if self.end.expected_rows not in {None, len(self.rows)}:
            return f"the MIS counts {self.end.expected_rows} rows, and {len(self.rows)} came"
        return None


def parsed_of(dataset: Dataset, row: Row, settings: Mapping[str, str]) -> list[Parsed]:
    """Return what the parser yields for a row, or raise what it raises.

    Raises:
        CheckFailed: it yields more than the server takes.
    """
    found = list(islice(dataset.parser(row, settings), _MOST_MESSAGES + 1))
    if len(found) > _MOST_MESSAGES:
        raise CheckFailed(
            f"the parser of {dataset.name} yields more than {_MOST_MESSAGES} messages for one row",
            "end it: a row of a timetable yields dozens at most",
        )
    return found


@dataclass(slots=True)
class Arrival:
    """What parsers made of rows: entities by key (several where rows of one key differ), and refusals."""

    entities: dict[Key, list[Entity]] = field(default_factory=dict[Key, list[Entity]])
    aliases: dict[Key, Key] = field(default_factory=dict[Key, Key])
    rejections: list[str] = field(default_factory=list[str])
    parsed: list[Parsed] = field(default_factory=list[Parsed])

    def add(self, dataset: Dataset, rows: Iterable[Row], settings: Mapping[str, str]) -> None:
        """Parse rows of a dataset."""
        for row in rows:
            try:
                found = parsed_of(dataset, row, settings)
            except RowRejected as rejected:
                self.rejections.append(f"{dataset.name}: {rejected}")
                continue
            self.parsed += found
            for parsed in found:
                self.take(parsed)

    def take(self, parsed: Parsed) -> None:
        """Add one message, once however often it comes."""
        entity = of_parsed(parsed)
        known = self.entities.setdefault((entity.kind, entity.key), [])
        if entity not in known:
            known.append(entity)
        for other in (*parsed.other_keys, *parsed.former_keys):
            self.aliases[parsed.kind, other] = (parsed.kind, parsed.key)

    def all(self) -> list[Entity]:
        """Return every entity."""
        return [entity for entities in self.entities.values() for entity in entities]


@dataclass(slots=True)
class Stage:
    """One simulator over one world, and the connector's view of it."""

    bench: Bench
    world: World
    mis: SimulatedMis
    readings: dict[str, Reading] = field(default_factory=dict[str, Reading])
    traffic: Traffic = field(default_factory=Traffic)
    quiet: Callable[[], bool] = lambda: False
    asked: list[tuple[Fault, int]] = field(default_factory=list[tuple[Fault, int]])
    """Faults that have to strike, each with how many requests its kind had struck before."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings as the server would give them: defaults filled in."""
        defaults = {spec.name: spec.default for spec in self.bench.connector.settings}
        return MappingProxyType(defaults | dict(self.mis.settings))

    def connection(self, credentials: Mapping[str, str] | None = None) -> SchoolConnection:
        """Return what a session is opened with."""
        given = self.mis.credentials if credentials is None else credentials
        self.bench.secrets.update(given.values())
        return SchoolConnection(
            "school-1", self.settings, self.bench.now, dict(given), self.traffic, self.quiet
        )

    @asynccontextmanager
    async def session(self, credentials: Mapping[str, str] | None = None) -> AsyncGenerator[Session]:
        """Open a session of the connector."""
        async with self.bench.connector.open(self.connection(credentials)) as session:
            yield session

    def scope(self, dataset: Dataset, window: tuple[date, date] | None = None) -> Scope:
        """Return the scope of the whole dataset, or of a window."""
        year = self.world.year
        if not dataset.windowed:
            return Scope(dataset.name, year.name)
        first, end = window or (year.valid_from, year.valid_to)
        return Scope(dataset.name, year.name, first, end)

    async def read(
        self,
        session: Session,
        dataset: Dataset,
        cursor: str = "",
        window: tuple[date, date] | None = None,
        *,
        into: Reading | None = None,
    ) -> Reading:
        """Read a dataset to its end. ``into`` has what came where the read fails, too.

        Raises:
            ConnectorError: as the session raises.
            CheckFailed: it does not end.
        """
        reading = Reading() if into is None else into
        try:
            async with asyncio.timeout(_LONGEST):
                async for page in session.read(self.scope(dataset, window), cursor):
                    reading.rows.extend(page.rows)
                    reading.cursors.append((page.cursor, len(reading.rows)))
                    if page.end is not None:
                        reading.end = page.end
                        break
                    if len(reading.cursors) > _MOST_PAGES:
                        raise CheckFailed(
                            f"the read of {dataset.name} gave more than {_MOST_PAGES} pages",
                            "end a read that goes round in circles, with Incomplete or a contradiction",
                        )
        except TimeoutError:
            raise CheckFailed(
                f"the read of {dataset.name} took more than {_LONGEST:.0f} s",
                "bound every wait; the settings of SimulatedMis should make waits short",
            ) from None
        return reading

    async def sealed(self, session: Session, dataset: Dataset) -> Reading:
        """Read a dataset of a MIS that is well, which has to be a sealed snapshot."""
        try:
            reading = await self.read(session, dataset)
        except ConnectorError as error:
            raise CheckFailed(
                f"the read of {dataset.name} failed, with nothing wrong: {type(error).__name__}: {error}",
                "see that the target's settings and credentials fit the simulator that it starts",
            ) from error
        doubt = reading.doubt()
        if doubt:
            raise CheckFailed(
                f"the read of {dataset.name} is no sealed snapshot though nothing was wrong: {doubt}",
                "show the end of a read, as docs/connector-guide.md says under Rules",
            )
        return reading

    async def arrive(self, datasets: Iterable[Dataset] | None = None) -> Arrival:
        """Read datasets, all by default, in their order, and parse what comes."""
        arrival = Arrival()
        async with self.session() as session:
            for dataset in self.bench.connector.datasets if datasets is None else datasets:
                reading = await self.sealed(session, dataset)
                self.readings[dataset.name] = reading
                arrival.add(dataset, reading.rows, self.settings)
        return arrival

    async def look(self) -> None:
        """Read everything once, so that the simulator keeps of the world what it is going to keep."""
        async with self.session() as session:
            for dataset in self.bench.connector.datasets:
                await self.sealed(session, dataset)

    def expected(self) -> list[Entity]:
        """Return what the world says now and the waivers leave of it."""
        return [of_truth(truth) for truth in self.bench.expectation.truths(self.world)]

    def compare(self, arrival: Arrival, expected: list[Entity] | None = None) -> Comparison:
        """Compare what arrived with what is expected, by default of the world as it is now."""
        arrived = [self.bench.expectation.without_waived(entity) for entity in arrival.all()]
        return compare(self.expected() if expected is None else expected, arrived, arrival.aliases)

    def fault(self, fault: Fault) -> None:
        """Let the simulator make a fault; raises ``CheckFailed`` where it cannot."""
        self.bench.check_offered(fault.kind)
        if not fault.is_at_once:
            self.asked.append((fault, self.struck(fault.kind)))
        self.mis.fault(fault)

    def clear_faults(self) -> None:
        """Let the simulator forget its faults; raises ``CheckFailed`` where one of them struck nothing."""
        self.mis.clear_faults()
        self.check_struck()

    def check_struck(self) -> None:
        """Raise ``CheckFailed`` where a fault struck nothing: whatever holds then shows nothing."""
        asked, self.asked = self.asked, []
        for fault, before in asked:
            if self.struck(fault.kind) <= before:
                raise CheckFailed(
                    f"the fault {fault.kind} was asked for{_at(fault)} and struck no request",
                    "let the simulator strike what the fault names, and count that for struck=",
                )

    def struck(self, kind: str) -> int:
        """Return how many requests a kind has struck; raises ``CheckFailed`` where nobody counts them."""
        if self.mis.struck is None:
            raise CheckFailed(
                "SimulatedMis has no struck=, so nobody can see whether a fault strikes",
                "let the simulator count the requests that each kind of fault strikes",
            )
        return self.mis.struck(kind)


def _at(fault: Fault) -> str:
    of_page = "" if fault.page is None else f" at page {fault.page}"
    return f" of {fault.entity}{of_page}" if fault.entity else of_page


@dataclass(slots=True, repr=False)
class Bench:
    """A connector, its target, and what checks of both share."""

    connector: Connector
    target: ConformanceTarget
    seed: int = SEED
    check_ids: frozenset[str] = frozenset()
    first: tuple[Stage, Arrival, Comparison] | None = None
    places: tuple[Place, ...] | None = None
    secrets: set[str] = field(default_factory=set[str])
    """Credentials with which sessions were opened; nothing that is shown may hold one."""
    expectation: Expectation = field(init=False)
    _offset: float = 0.0

    def __post_init__(self) -> None:
        self.expectation = Expectation(self.connector, self.target.waivers)

    def now(self) -> datetime:
        """Tell the time: it goes on as the loop's does, from a fixed morning."""
        return _BEGAN + timedelta(seconds=asyncio.get_running_loop().time() - self._offset)

    def world(self, marks_until: date = MARKS_UNTIL) -> World:
        """Return a small school, the same every time."""
        return small_school(World.build(self.seed, PUPILS, marks_until=marks_until))

    def large_world(self) -> World:
        """Return a school that is large enough for a page to be a small part of a dataset."""
        return World.build(self.seed, 4 * PUPILS, marks_until=MARKS_UNTIL)

    @asynccontextmanager
    async def stage(self, world: World | None = None) -> AsyncGenerator[Stage]:
        """Serve a world, by default a new small school."""
        served = self.world() if world is None else world
        self._offset = asyncio.get_running_loop().time()
        async with self.target.start(served, self.now) as mis:
            stage = Stage(self, served, mis)
            yield stage
            stage.check_struck()

    async def well(self) -> tuple[Stage, Arrival, Comparison]:
        """Return what a well MIS gave of a small school, compared with it; read once for all checks."""
        if self.first is None:
            async with self.stage() as stage:
                arrival = await stage.arrive()
                self.first = stage, arrival, stage.compare(arrival)
        return self.first

    def of_kind(self, kind: Kind.ValueType) -> Dataset | None:
        """Return the dataset that yields a kind."""
        for dataset in self.connector.datasets:
            if any(spec.kind == kind for spec in dataset.kinds):
                return dataset
        return None

    def check_offered(self, fault: str) -> None:
        """Raise ``CheckFailed`` where the simulator cannot make a fault: why not is the author's to say."""
        if fault not in self.target.faults:
            raise CheckFailed(
                f"the simulator cannot make the fault {fault}",
                f"let it ({FAULTS[fault]}), and name it in the target's faults; or waive this check with "
                "the reason: unchecked(…)",
            )

    async def longest(self) -> Dataset:
        """Return the dataset of the most pages, on which faults are tried.

        Raises:
            CheckFailed: no dataset has three pages.
        """
        stage, _, _ = await self.well()
        pages = {name: len(reading.cursors) for name, reading in stage.readings.items()}
        longest = max(self.connector.datasets, key=lambda dataset: pages[dataset.name])
        if pages[longest.name] < 3:
            raise CheckFailed(
                f"the longest dataset, {longest.name}, came in {pages[longest.name]} pages",
                "let the simulator give smaller pages, of fifty rows or so",
            )
        return longest
