"""Reads what the rules need of the school's copy, as of one seq, as much of it at once as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.questions import Condition, Question
from schoolgate_server.model.recent import Recent
from schoolgate_server.reporting import timetable
from schoolgate_server.reporting.standing import Unresolved, standing, valid_on
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.validation.rules import Lessons, lessons_of, period_name, teachers_in

_PER_PAGE = 5000
_ENOUGH = 50
"""Records of a whole school that are looked at for whether there are any that count."""


@dataclass(frozen=True, slots=True)
class Enrolments:
    """All enrolments of one pupil, and whether the school has any of anybody."""

    records: Sequence[Record]
    are_known: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read; ids are well-formed.

    Of the pupil: whether they are on roll, their lessons on a day, and who teaches them in one period of it.
    """

    references: dict[str, str]
    student_id: str = ""
    roll: bool = False
    lessons_on: str = ""
    taught_in: str = ""
    attendance_codes: bool = False
    local_codes: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the copy says. ``records`` has what became of each reference, ``None`` for one that never was.

    ``staff_ids`` are all ids of who is to teach the pupil, after merges.
    """

    records: dict[str, Record | None]
    enrolments: Enrolments | None = None
    lessons: Lessons | None = None
    attendance_codes: list[Record] = field(default_factory=list[Record])
    local_codes: list[Record] = field(default_factory=list[Record])
    staff_ids: frozenset[str] = frozenset()


_MOST_AT_HAND = 64
_Name = TypeVar("_Name")
_Read = TypeVar("_Read")


class _AsOf(Generic[_Name, _Read]):
    """What was read last under some names, each as of one seq: for any other it is read again."""

    def __init__(self) -> None:
        self._at_hand = Recent[_Name, tuple[int, _Read]](_MOST_AT_HAND)

    async def get(self, name: _Name, seq: int, read: Callable[[], Awaitable[_Read]]) -> _Read:
        """Return what is there under ``name`` as of ``seq``, by ``read`` where it is not at hand."""
        at_hand = self._at_hand.get(name)
        if at_hand is None or at_hand[0] != seq:
            at_hand = seq, await read()
            self._at_hand.keep(name, at_hand)
        return at_hand[1]


class Tables:
    """What many writes ask for and changes a few times a year: schools' tables of codes, and whether a school
    has merged records at all.
    """

    def __init__(self) -> None:
        self.codes = _AsOf[tuple[str, k.Kind.ValueType], list[Record]]()
        self.has_merges = _AsOf[str, bool]()


class Copy:
    """One school's copy as of ``seq``; tombstoned records are included everywhere."""

    def __init__(self, store: Store, school_id: str, seq: int, tables: Tables) -> None:
        self._store = store
        self._school_id = school_id
        self._seq = seq
        self._tables = tables

    async def facts(self, wanted: Wanted) -> Facts:
        """Return what is wanted.

        What is nearly always at hand is not asked for at the same time as the rest: a task more costs more.
        """
        records, (enrolments, lessons) = await asyncio.gather(
            self._references(wanted.references), self._pupil(wanted)
        )
        codes = await self._table(k.KIND_ATTENDANCE_CODE) if wanted.attendance_codes else []
        types = await self._table(k.KIND_LOCAL_CODE) if wanted.local_codes else []
        staff = await self._same({wanted.references["staff_id"]}) if wanted.taught_in else set[str]()
        return Facts(records, enrolments, lessons, codes, types, frozenset(staff))

    async def _table(self, kind: k.Kind.ValueType) -> list[Record]:
        name = (self._school_id, kind)
        return await self._tables.codes.get(name, self._seq, lambda: self._every(kind))

    async def _references(self, references: Mapping[str, str]) -> dict[str, Record | None]:
        """Return what became of each record that a field refers to."""
        if not references:
            return {}
        found = await self._store.records.named(self._school_id, set(references.values()), self._seq)
        redirects, became = self._store.redirects, dict[str, Record | None]()
        for name, record_id in references.items():
            record = found.get(record_id)
            if record is not None:  # few have been merged, and no other needs another read
                record = await redirects.follow(self._school_id, record, self._seq)
            became[name] = record
        return became

    async def _pupil(self, wanted: Wanted) -> tuple[Enrolments | None, Lessons | None]:
        """Return what refers to the pupil, under whichever id it knows them."""
        if not wanted.student_id:
            return None, None
        ids = await self._same({wanted.student_id})
        if not wanted.lessons_on:
            return await self._enrolments(ids) if wanted.roll else None, None
        return await asyncio.gather(
            self._enrolments(ids), self._lessons(ids, wanted.lessons_on, wanted.taught_in)
        )

    async def _enrolments(self, ids: Collection[str]) -> Enrolments:
        found = await self._referring(k.KIND_ENROLMENT, "student_id", ids)
        return Enrolments(found, bool(found) or await self._has_any(k.KIND_ENROLMENT))

    async def _lessons(self, ids: Collection[str], day: str, taught_in: str) -> Lessons | None:
        """Return the pupil's lessons on ``day``, ``None`` where the copy has no timetable of that day.

        ``taught_in`` is the name of the period of which the teachers are wanted, "" for none.
        """
        unresolved = Unresolved()
        memberships, years, slots = await asyncio.gather(
            self._referring(k.KIND_GROUP_MEMBERSHIP, "student_id", ids, day),
            self._every(k.KIND_ACADEMIC_YEAR),
            self._every(k.KIND_PERIOD),
        )
        if not memberships and not await self._has_any(k.KIND_GROUP_MEMBERSHIP):
            return None
        groups = {one.group_membership.group_id for one in valid_on(memberships, day, unresolved)} - {""}
        same = await self._same(groups)
        entries = await self._referring(k.KIND_TIMETABLE_ENTRY, "group_id", same, day) if same else []
        applying = valid_on(entries, day, unresolved)
        if not applying and not await self._is_timetabled(day):
            return None
        meets = timetable.school_day(standing(years, Unresolved()), day)
        may_meet = meets not in {pb.SCHOOL_DAY_OUTSIDE_TERMS, pb.SCHOOL_DAY_OUTSIDE_YEARS}
        periods = {record.id: record for record in standing(slots, Unresolved())}
        # The week of the cycle is not known, so that a lesson of any week counts.
        meetings = timetable.meetings(applying, periods, day, 0, unresolved, meets=may_meet)
        lessons = lessons_of(meetings, periods, unresolved)
        if not taught_in:
            return lessons
        then = [meeting for meeting in meetings if period_name(meeting, periods) == taught_in]
        doubts = Unresolved()
        return replace(lessons, teachers=teachers_in(then, await self._assigned(then, day, doubts), doubts))

    async def _assigned(
        self, meetings: Iterable[timetable.Meeting], day: str, unresolved: Unresolved
    ) -> dict[str, list[Record]]:
        """Return the assignments on ``day`` of each group that meets without a teacher being named."""
        entries = [[record.timetable_entry for record in meeting.entries] for meeting in meetings]
        groups = sorted({some[0].group_id for some in entries if not any(one.staff_id for one in some)})

        async def of(group_id: str) -> list[Record]:
            same = await self._same({group_id})
            found = await self._referring(k.KIND_STAFF_ASSIGNMENT, "group_id", same, day)
            return valid_on(found, day, unresolved)

        return dict(zip(groups, await asyncio.gather(*map(of, groups)), strict=True))

    async def _is_timetabled(self, day: str) -> bool:
        """Whether any entry of the whole school applies on ``day``: its MIS may not show that day."""
        question = Question(include_tombstones=True, effective_on=day)
        some = await self._store.records.some(
            self._school_id, k.KIND_TIMETABLE_ENTRY, question, self._seq, _ENOUGH
        )
        return bool(standing(some, Unresolved()))

    async def _same(self, ids: Collection[str]) -> set[str]:
        redirects = self._store.redirects
        if not ids or not await self._tables.has_merges.get(
            self._school_id, self._seq, lambda: redirects.any(self._school_id, self._seq)
        ):
            return set(ids)
        return await redirects.same(self._school_id, ids, self._seq)

    async def _has_any(self, kind: k.Kind.ValueType) -> bool:
        anything = Question(include_tombstones=True)
        return bool(await self._store.records.some(self._school_id, kind, anything, self._seq, 1))

    async def _referring(
        self, kind: k.Kind.ValueType, name: str, ids: Collection[str], day: str | None = None
    ) -> list[Record]:
        return await self._every(kind, Condition(name, q.FILTER_OPERATOR_IN, tuple(sorted(ids))), day=day)

    async def _every(
        self, kind: k.Kind.ValueType, *conditions: Condition, day: str | None = None
    ) -> list[Record]:
        question = Question(conditions, include_tombstones=True, effective_on=day)
        found: list[Record] = []
        while True:
            after = found[-1].id if found else ""
            page = await self._store.records.query(
                self._school_id, kind, question, self._seq, after, _PER_PAGE
            )
            found += page
            if len(page) < _PER_PAGE:
                return found
