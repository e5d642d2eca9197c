"""What a world holds, and the small operations that every edit is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from schoolgate_sdk.testing.entities import (
    AssessmentResult,
    BehaviourEvent,
    BehaviourType,
    Contact,
    ContactLink,
    Enrolment,
    Group,
    LessonMark,
    Membership,
    Period,
    Pupil,
    Room,
    School,
    StaffAssignment,
    StaffMember,
    Subject,
    TimetableEntry,
)
from schoolgate_sdk.testing.registers import Registers
from schoolgate_sdk.testing.school_year import SchoolYear

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Span = tuple[date, date | None]
"""A half-open span; ``None`` is an end not known."""


@dataclass(frozen=True, slots=True)
class Block:
    """Classes of one year group that meet at the same time, ``lessons`` times in the two-week cycle."""

    lessons: int
    classes: tuple[int, ...]


@dataclass(slots=True)
class WorldState:
    """The parts of a world. Keys and orders are those that ``World`` documents.

    ``year_groups`` maps the school's names of year groups to National Curriculum years, where they are known.
    ``numbers`` holds the highest number given in each space, so that none is given twice; ``retired`` are
    pupil numbers that re-keying took away, ``withheld`` those of pupils whose consent to data processing was
    withdrawn. ``blocks`` are what the timetable is made from, by year group; a
    school without a timetable has none.
    """

    seed: int
    school: School
    year: SchoolYear
    registers: Registers
    year_groups: dict[str, str | None] = field(default_factory=dict[str, str | None])
    pupils: dict[int, Pupil] = field(default_factory=dict[int, Pupil])
    staff: dict[int, StaffMember] = field(default_factory=dict[int, StaffMember])
    contacts: dict[int, Contact] = field(default_factory=dict[int, Contact])
    contact_links: dict[tuple[int, int], ContactLink] = field(
        default_factory=dict[tuple[int, int], ContactLink]
    )
    subjects: dict[str, Subject] = field(default_factory=dict[str, Subject])
    groups: dict[int, Group] = field(default_factory=dict[int, Group])
    memberships: dict[tuple[int, int, date], Membership] = field(
        default_factory=dict[tuple[int, int, date], Membership]
    )
    assignments: dict[tuple[int, int, str, date], StaffAssignment] = field(
        default_factory=dict[tuple[int, int, str, date], StaffAssignment]
    )
    enrolments: dict[tuple[int, date], Enrolment] = field(default_factory=dict[tuple[int, date], Enrolment])
    rooms: dict[int, Room] = field(default_factory=dict[int, Room])
    periods: dict[int, Period] = field(default_factory=dict[int, Period])
    timetable: dict[int, TimetableEntry] = field(default_factory=dict[int, TimetableEntry])
    behaviour_types: dict[int, BehaviourType] = field(default_factory=dict[int, BehaviourType])
    behaviour: dict[int, BehaviourEvent] = field(default_factory=dict[int, BehaviourEvent])
    assessments: dict[int, AssessmentResult] = field(default_factory=dict[int, AssessmentResult])
    lesson_marks: dict[tuple[int, date, int], LessonMark] = field(
        default_factory=dict[tuple[int, date, int], LessonMark]
    )
    withheld: set[int] = field(default_factory=set[int])
    blocks: dict[str, list[Block]] = field(default_factory=dict[str, list[Block]])
    merged: dict[int, int] = field(default_factory=dict[int, int])
    retired: set[int] = field(default_factory=set[int])
    numbers: dict[str, int] = field(default_factory=dict[str, int])
    revision: int = 0

    @property
    def today(self) -> date:
        """The first school day whose registers are not taken, or the last one of the year."""
        if not self.year.days:
            return self.year.valid_from
        return self.year.days[min(self.registers.taken // 2, len(self.year.days) - 1)]

    def take_number(self, space: str) -> int:
        """Return the next number of a space; numbers are never given again."""
        number = self.numbers.get(space, 0) + 1
        self.numbers[space] = number
        return number

    def groups_of_pupils(self, type_code: str, on: date) -> dict[int, Group]:
        """Return each pupil's group of a type on a day, the latest joined where there are several."""
        found: dict[int, Group] = {}
        since: dict[int, date] = {}
        for membership in self.memberships.values():
            group = self.groups[membership.group]
            if group.type_code != type_code or not covers(membership, on):
                continue
            if membership.pupil not in since or since[membership.pupil] < membership.valid_from:
                found[membership.pupil] = group
                since[membership.pupil] = membership.valid_from
        return found

    def add_membership(self, membership: Membership) -> None:
        """Add a membership under its key."""
        self.memberships[membership[:3]] = membership

    def add_assignment(self, assignment: StaffAssignment) -> None:
        """Add a staff assignment under its key."""
        self.assignments[assignment[:4]] = assignment

    def add_enrolment(self, enrolment: Enrolment) -> None:
        """Add an enrolment under its key."""
        self.enrolments[enrolment[:2]] = enrolment


def covers(spanned: Membership | Enrolment | StaffAssignment, day: date) -> bool:
    """Say whether the span includes ``day``."""
    return spanned.valid_from <= day and (spanned.valid_to is None or day < spanned.valid_to)


def overlap(one: Span, other: Span) -> bool:
    """Say whether two spans share a day."""
    return (other[1] is None or one[0] < other[1]) and (one[1] is None or other[0] < one[1])


def subtract(span: Span, taken: Iterable[Span]) -> list[Span]:
    """Return what is left of ``span`` outside of ``taken``, in the order of time."""
    left = [span]
    for begin, end in taken:
        pieces: list[Span] = []
        for piece in left:
            if not overlap(piece, (begin, end)):
                pieces.append(piece)
                continue
            if piece[0] < begin:
                pieces.append((piece[0], begin))
            if end is not None and (piece[1] is None or end < piece[1]):
                pieces.append((end, piece[1]))
        left = pieces
    return left


def rewrite(
    mapping: dict[_Key, _Value], change: Callable[[_Key, _Value], tuple[_Key, _Value] | None]
) -> None:
    """Replace every entry by what ``change`` returns, in place and order; ``None`` removes it."""
    kept = [changed for item in mapping.items() if (changed := change(*item)) is not None]
    mapping.clear()
    mapping.update(kept)
