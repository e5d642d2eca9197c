"""Wonde's id of a pupil's lesson, by which a mark of it is written.

The write-back service names a lesson by pupil, day and period. What leads from these to the lesson is read as
the datasets are: the names of the fields are the settings'.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple, cast

from schoolgate.v1.timetable_pb2 import Period, TimetableEntry
from schoolgate_sdk import Parsed, RowRejected, SchemaChanged, Unsupported
from schoolgate_wonde import pages
from schoolgate_wonde.client import WondeClient
from schoolgate_wonde.datasets import BY_NAME
from schoolgate_wonde.rows import nested_in

_FRESH: Final = timedelta(minutes=5)
"""How long a day's lessons are remembered: no filter by date is public, so a year's are looked through."""
_CLASSES: Final = "classes"


class _Lesson(NamedTuple):
    number: str
    class_key: tuple[object, ...]
    period_key: tuple[object, ...]


class Lessons:
    """Finds lessons of one school. Only the latest day that was asked for is remembered."""

    def __init__(self, client: WondeClient, settings: Mapping[str, str], now: Callable[[], datetime]) -> None:
        self._client = client
        self._settings = settings
        self._now = now
        self._day = ""
        self._until: datetime | None = None
        self._lessons: list[_Lesson] = []

    async def of(self, student: str, day: str, period_name: str) -> str:
        """Return the id of the one lesson that a pupil, of today's classes, has in a period of a day.

        Raises:
            Unsupported: there is none, or more than one.
            Incomplete: the lessons or periods could not be read to their end.
            ConnectorError: otherwise as :meth:`WondeClient.page`.
        """
        classes = await self._classes(student)
        periods = [
            parsed.key.parts
            async for parsed in self._parsed("periods")
            if cast("Period", parsed.message).name == period_name
        ]
        found = [
            lesson.number
            for lesson in await self._on(day)
            if lesson.class_key[-1] in classes and lesson.period_key in periods
        ]
        if len(found) != 1:
            raise Unsupported(
                "the pupil has more than one lesson in that period of that day"
                if found
                else "Wonde shows no lesson of the pupil's in that period of that day",
                entity="lessons",
            )
        return found[0]

    async def _classes(self, student: str) -> set[str]:
        row = await self._client.single("students", student, (_CLASSES,))
        if row is None:
            raise Unsupported("Wonde shows no such pupil", entity="students")
        nested = nested_in(row, _CLASSES)
        if nested is None:
            raise SchemaChanged("a pupil comes without the classes that were asked for", entity="students")
        ids = (cast("Mapping[str, object]", each).get("id") for each in nested if isinstance(each, dict))
        return {number.strip() for number in ids if isinstance(number, str)}

    async def _on(self, day: str) -> list[_Lesson]:
        """Return the lessons of a day."""
        now = self._now()
        if day != self._day or self._until is None or now >= self._until:
            found = [
                lesson
                async for parsed in self._parsed("lessons")
                if cast("TimetableEntry", parsed.message).valid_from == day
                for lesson in _lessons(parsed)
            ]
            # A page may be given twice where the last one is looked at again.
            self._lessons, self._day, self._until = list(dict.fromkeys(found)), day, now + _FRESH
        return self._lessons

    async def _parsed(self, name: str) -> AsyncIterator[Parsed]:
        """Yield what the rows of a dataset of one resource say, as far as they can be read."""
        dataset = BY_NAME[name]
        [resource] = dataset.resources
        ask = partial(self._client.page, resource, include=dataset.includes(resource, self._settings))
        async for rows in pages.undoubted(ask, resource, pages.MOST):
            for given in rows:
                for row in dataset.rows(resource, given):
                    try:
                        found = list(dataset.parser(row, self._settings))
                    except RowRejected:
                        continue  # a sync has recorded it
                    for parsed in found:
                        yield parsed


def _lessons(parsed: Parsed) -> Iterable[_Lesson]:
    """Yield the lesson, where it names its class and its period."""
    refs = {ref.field: ref.key.parts for ref in parsed.refs}
    if "group_id" in refs and "period_id" in refs:
        yield _Lesson(str(parsed.key.parts[-1]), refs["group_id"], refs["period_id"])
