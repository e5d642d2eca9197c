"""One simulated school: its world, what it granted, and its pages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import islice
from typing import Final, NamedTuple

from schoolgate_bromcom.simulator import entity_filter
from schoolgate_bromcom.simulator.dialect import Dialect
from schoolgate_bromcom.simulator.entities import (
    BASIC_ATTENDANCE,
    ENTITIES,
    Entity,
    PersonIds,
    TypedRow,
    View,
)
from schoolgate_bromcom.simulator.entity_filter import Comparison, FilterRefused, Predicate
from schoolgate_bromcom.simulator.rows import shown_marks
from schoolgate_sdk.testing.entities import Mark
from schoolgate_sdk.testing.world import World

_SUBCODES: Final[Mapping[str, tuple[str, ...]]] = {"I": ("I", "I01", "I02"), "M": ("M", "MD")}
"""How a school with subcodes of its own writes its marks, by the mark; which one a row has goes by its pupil
and day. I01 and I02 have the form of Bromcom's subcodes of 2021; MD is made up.
"""

_MOST_CACHED_READS: Final = 12
"""Filters per school whose pages are kept; a year of marks is about 70 MB of text."""


class PageText(NamedTuple):
    """The rows of one page as a JSON array, and how many there are."""

    text: bytes
    rows: int


class Pages:
    """The pages of one read, made as they are asked for and kept."""

    def __init__(self, lines: Iterator[str], page_size: int) -> None:
        self._lines = lines
        self._page_size = page_size
        self._made: list[PageText] = []
        self._ended = False

    def page(self, number: int) -> PageText:
        """Return a 0-based page; beyond the last one they are empty."""
        while len(self._made) <= number and not self._ended:
            lines = list(islice(self._lines, self._page_size))
            if lines:
                self._made.append(PageText(f"[{','.join(lines)}]".encode(), len(lines)))
            self._ended = len(lines) < self._page_size
        return self._made[number] if number < len(self._made) else PageText(b"[]", 0)


class SimulatedSchool:
    """One school under its number. ``today`` is given, or moves with the world's registers.

    ``mark_subcodes`` lets its marks carry subcodes of the school's own, as they may since August 2024;
    ``may_be_written`` says that it has a Third Party Write Licence.
    """

    def __init__(
        self,
        number: int,
        world: World,
        *,
        today: date | None = None,
        person_ids: PersonIds = "column",
        page_size: int = 100_000,
        tidy: bool = False,
        mark_subcodes: bool = False,
        may_be_written: bool = True,
    ) -> None:
        self.number = number
        self.world = world
        self.granted = set(ENTITIES)
        self.may_be_written = may_be_written
        self._given_today = today
        self._person_ids: PersonIds = person_ids
        self._page_size = page_size
        self.doubled: set[int] = set()
        self._mark_subcodes = mark_subcodes
        first = world.year.valid_from.year % 100
        self._dialect = Dialect(tidy=tidy, year_suffix=f" ({first:02}/{(first + 1) % 100:02})")
        self._reads: OrderedDict[tuple[str, Predicate], Pages] = OrderedDict()
        self._by_pupil: dict[int, list[Mark]] | None = None
        self._revision = world.revision

    @property
    def today(self) -> date:
        """The simulated day, which decides who has left."""
        return self._given_today or self.world.today

    def view(self) -> View:
        """Return what the rows of entities depend on."""
        return View(self.world, self.today, self._person_ids, self.doubled)

    def change_marks(self) -> None:
        """Let marks carry subcodes from now on."""
        self._mark_subcodes = True
        self._reads.clear()

    def apply(self, edit: Mapping[str, object]) -> dict[str, int]:
        """Edit the world; raises ``EditRefused``."""
        return self.world.apply(edit)

    def page(self, entity: Entity, predicate: Predicate, number: int) -> PageText:
        """Return a page of the rows that match.

        Raises:
            FilterRefused: the filter names a column that the entity does not have, or compares unlike things.
        """
        unknown = predicate.columns() - {column.lower() for column in entity.columns}
        if unknown:
            raise FilterRefused(f"{entity.name} has no column {min(unknown)}")
        if self._revision != self.world.revision:
            self._reads.clear()
            self._by_pupil = None
            self._revision = self.world.revision
        key = (entity.name, predicate)
        pages = self._reads.get(key)
        if pages is None:
            pages = Pages(self._lines(entity, predicate), self._page_size)
            self._reads[key] = pages
            if len(self._reads) > _MOST_CACHED_READS:
                self._reads.popitem(last=False)
        self._reads.move_to_end(key)
        return pages.page(number)

    def _lines(self, entity: Entity, predicate: Predicate) -> Iterator[str]:
        if entity.name == BASIC_ATTENDANCE:
            return self._dialect.mark_lines(self._marks(predicate))
        rows = entity.rows(self.view())
        return self._dialect.lines(entity.name, (row for row in rows if predicate.matches(_lowered(row))))

    def _marks(self, predicate: Predicate) -> Iterator[Mark]:
        """Yield the marks that match; days and pupils are narrowed down first, for there are many marks."""
        window = _window(predicate)
        if window is not None:
            yield from self._written(shown_marks(self.world, *window))
            return
        pupils = _pupils(predicate)
        marks = shown_marks(self.world) if pupils is None else self._marks_of(pupils)
        for mark in self._written(marks):
            if predicate.matches(
                {
                    "studentid": mark.pupil,
                    "calendarstartdate": mark.date,
                    "perioddisplayname": mark.session,
                    "mark": mark.code,
                    "attendancecomment": mark.comment,
                }
            ):
                yield mark

    def marks_written(self) -> Iterable[Mark]:
        """Return all marks as the school writes them."""
        return self._written(shown_marks(self.world))

    def _written(self, marks: Iterable[Mark]) -> Iterable[Mark]:
        """Return the marks as the school writes them, with subcodes where it has any."""
        return map(_with_subcode, marks) if self._mark_subcodes else marks

    def _marks_of(self, pupils: set[int]) -> Iterator[Mark]:
        if self._by_pupil is None:
            self._by_pupil = {}
            for mark in shown_marks(self.world):
                self._by_pupil.setdefault(mark.pupil, []).append(mark)
        for pupil in sorted(pupils):
            yield from self._by_pupil.get(pupil, ())


def _with_subcode(mark: Mark) -> Mark:
    written = _SUBCODES.get(mark.code)
    if written is None:
        return mark
    return mark._replace(code=written[(mark.pupil + mark.date.toordinal()) % len(written)])


def _lowered(row: TypedRow) -> TypedRow:
    return {name.lower(): value for name, value in row.items()}


def _window(predicate: Predicate) -> tuple[date | None, date | None] | None:
    """Return the half-open window of days that is all the predicate asks for; ``None`` where it asks for
    more.
    """
    first: date | None = None
    end: date | None = None
    for term in entity_filter.conditions(predicate):
        match term:
            case entity_filter.Always(answer=True):
                continue
            case Comparison("calendarstartdate", ">=", (bound,), False) if first is None:
                first = entity_filter.as_date(bound)
            case Comparison("calendarstartdate", "<", (bound,), False) if end is None:
                end = entity_filter.as_date(bound)
            case Comparison("calendarstartdate", "<=", (bound,), False) if end is None:
                end = entity_filter.as_date(bound) + timedelta(days=1)
            case _:
                return None
    return first, end


def _pupils(predicate: Predicate) -> set[int] | None:
    """Return the pupils outside of whom nothing can match; ``None`` where any may."""
    for term in entity_filter.conditions(predicate):
        if isinstance(term, Comparison) and (term.column, term.sign) == ("studentid", "="):
            return {literal for literal in term.literals if isinstance(literal, int)}
    return None
