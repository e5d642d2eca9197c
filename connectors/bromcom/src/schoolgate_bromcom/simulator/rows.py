"""What every entity's rows are made of, and what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias, cast

from schoolgate_sdk.testing.entities import Mark, Session
from schoolgate_sdk.testing.world import World

TypedRow: TypeAlias = dict[str, object]
"""Values are ``int``, ``str``, ``bool``, ``date``, ``datetime``, ``time`` or ``None``, by column."""

PersonIds: TypeAlias = Literal["column", "absent", "same"]
"""How pupils' person numbers show: as a column of ``StudentFlatView``; nowhere; or nowhere, because
``personID`` in ``CollectionAssociates`` is the ``studentId`` (which is what older clients rely on)."""


@dataclass(frozen=True, slots=True)
class View:
    """What rows depend on besides the world. ``today`` decides who has left; ``doubled`` are the numbers of
    results that were saved twice.
    """

    world: World
    today: date
    person_ids: PersonIds = "column"
    doubled: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: its columns, spelled as public sources spell them, and its rows."""

    name: str
    columns: tuple[str, ...]
    rows: Callable[[View], Iterator[TypedRow]]


def last_day(valid_to: date | None) -> date | None:
    """Return the last day of a span as Bromcom is taken to give it (an inference of the connector's
    README).
    """
    return None if valid_to is None else valid_to - timedelta(days=1)


def shown_marks(
    world: World,
    date_from: date | None = None,
    date_to: date | None = None,
    pupils: Collection[int] | None = None,
) -> Iterator[Mark]:
    """Yield the marks of sessions and then those of lessons, under the names of their periods; none of a
    pupil whose consent was withdrawn.
    """
    withheld = world.withheld
    if withheld:
        pupils = (world.pupils.keys() if pupils is None else set(pupils)) - set(withheld)
    yield from world.marks(date_from, date_to, pupils=pupils)
    for lesson in world.lesson_marks.values():
        if (
            (pupils is None or lesson.pupil in pupils)
            and (date_from is None or date_from <= lesson.date)
            and (date_to is None or lesson.date < date_to)
        ):
            period = cast("Session", world.periods[lesson.period].name)
            yield Mark(lesson.pupil, lesson.date, period, lesson.code, lesson.comment)
