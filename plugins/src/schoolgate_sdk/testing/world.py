"""A synthetic secondary school, built from a seed, edited, and able to state its own canonical truth.

A world knows no MIS: a simulator serves it in some MIS's dialect, a test compares what arrives with
:meth:`World.canonical`. The same seed and the same edits give the same world in every process.

    >>> from datetime import date
    >>> from schoolgate_sdk.testing.world import World
    >>> world = World.build(seed=7, pupils=150, marks_until=date(2026, 12, 19))
    >>> len(world.pupils), world.count_marks()
    (150, 20700)
    >>> joiner = world.join(on=date(2026, 11, 2), forename="Zoë", surname="O'Brien", year_group="Year 8")
    >>> world.apply({"op": "correct_mark", "pupil": 17, "date": "2026-09-07", "session": "AM", "code": "I"})
    {'pupil': 17}
    >>> world.tutor_groups()[joiner.number].type_code
    'TUTORGRP'

At 1,500 pupils there are about 200 staff, 600 groups, 30,000 memberships and, over the whole year, 570,000
marks (190 days, two sessions). Marks are kept as one byte each and become objects only while iterated over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

from schoolgate_sdk.testing import build, edits, identity_edits, json_edits, sds, truth
from schoolgate_sdk.testing.entities import (
    AssessmentResult,
    BehaviourEvent,
    BehaviourType,
    Contact,
    ContactLink,
    Enrolment,
    Group,
    LessonMark,
    Mark,
    Membership,
    Period,
    Pupil,
    Room,
    School,
    Session,
    StaffAssignment,
    StaffMember,
    Subject,
    TimetableEntry,
)
from schoolgate_sdk.testing.errors import EditRefused, SdsFormatError, WorldError
from schoolgate_sdk.testing.recording import RecordingWorld
from schoolgate_sdk.testing.school_year import SchoolYear
from schoolgate_sdk.testing.state import WorldState
from schoolgate_sdk.testing.truth import Truth, TruthRef

__all__ = ["EditRefused", "SdsFormatError", "Truth", "TruthRef", "World", "WorldError"]


class World(RecordingWorld):
    """One school. Build it with :meth:`build` or :meth:`from_sds`; read its parts; change it by edits.

    The mappings are live views in a fixed order: they show later edits and cannot be written to. Every edit
    either happens as a whole or raises :class:`EditRefused` and changes nothing.
    """

    def __init__(self, state: WorldState) -> None:
        self._state = state

    @classmethod
    def build(
        cls,
        seed: int,
        pupils: int = 1500,
        academic_year_start: date = date(2026, 9, 1),
        marks_until: date | None = None,
    ) -> World:
        """Return a school of ``pupils`` pupils in Years 7 to 13.

        Registers are taken on the school days before ``marks_until``, on all 190 of the year where it is
        ``None``.

        Raises:
            WorldError: ``pupils`` is not positive.
        """
        return cls(build.build_state(seed, pupils, academic_year_start, marks_until))

    @classmethod
    def from_sds(
        cls, folder: Path, dfe_number: int, *, seed: int = 0, marks_until: date | None = None
    ) -> World:
        """Return the school ``dfe_number`` of a folder of School Data Sync CSV files.

        Sections become classes, rosters staff assignments, enrolments memberships. The files hold no marks:
        registers are synthetic, drawn from ``seed`` up to ``marks_until``, and none by default. Columns that
        hold passwords are not read.

        Raises:
            SdsFormatError: a file is missing or malformed, or has no school of that number.
        """
        return cls(sds.read_state(Path(folder), dfe_number, seed, marks_until))

    @staticmethod
    def schools_in_sds(folder: Path) -> tuple[School, ...]:
        """Return the schools of a folder of School Data Sync CSV files, in the file's order.

        Raises:
            SdsFormatError: ``School.csv`` is missing or malformed.
        """
        return sds.read_schools(Path(folder))

    # --- what the school consists of ---------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The number from which everything not given explicitly is drawn."""
        return self._state.seed

    @property
    def revision(self) -> int:
        """How many edits have been made; caches of derived data are valid for one revision."""
        return self._state.revision

    @property
    def school(self) -> School:
        """The school itself."""
        return self._state.school

    @property
    def year(self) -> SchoolYear:
        """The academic year with its terms and school days."""
        return self._state.year

    @property
    def today(self) -> date:
        """The day on which edits happen by default: the first one whose registers are not yet taken."""
        return self._state.today

    @property
    def pupils(self) -> Mapping[int, Pupil]:
        """Pupils by number, those who left included, those merged into another one excluded."""
        return MappingProxyType(self._state.pupils)

    @property
    def staff(self) -> Mapping[int, StaffMember]:
        """Staff by number."""
        return MappingProxyType(self._state.staff)

    @property
    def contacts(self) -> Mapping[int, Contact]:
        """Contacts by number."""
        return MappingProxyType(self._state.contacts)

    @property
    def contact_links(self) -> Mapping[tuple[int, int], ContactLink]:
        """Links between pupils and contacts by (pupil, contact)."""
        return MappingProxyType(self._state.contact_links)

    @property
    def subjects(self) -> Mapping[str, Subject]:
        """Subjects by code."""
        return MappingProxyType(self._state.subjects)

    @property
    def groups(self) -> Mapping[int, Group]:
        """Groups of every type by number."""
        return MappingProxyType(self._state.groups)

    @property
    def memberships(self) -> Mapping[tuple[int, int, date], Membership]:
        """Memberships by (group, pupil, first day), ended ones included."""
        return MappingProxyType(self._state.memberships)

    @property
    def assignments(self) -> Mapping[tuple[int, int, str, date], StaffAssignment]:
        """Staff assignments by (group, staff, role, first day), ended ones included."""
        return MappingProxyType(self._state.assignments)

    @property
    def enrolments(self) -> Mapping[tuple[int, date], Enrolment]:
        """Enrolments by (pupil, first day); a dually registered pupil has two at once."""
        return MappingProxyType(self._state.enrolments)

    @property
    def rooms(self) -> Mapping[int, Room]:
        """Rooms by number."""
        return MappingProxyType(self._state.rooms)

    @property
    def periods(self) -> Mapping[int, Period]:
        """Slots of the two-week cycle by number, lessons and sessions."""
        return MappingProxyType(self._state.periods)

    @property
    def timetable(self) -> Mapping[int, TimetableEntry]:
        """Timetable entries by number."""
        return MappingProxyType(self._state.timetable)

    @property
    def behaviour_types(self) -> Mapping[int, BehaviourType]:
        """Types of behaviour events by number; a school read from files has none."""
        return MappingProxyType(self._state.behaviour_types)

    @property
    def behaviour(self) -> Mapping[int, BehaviourEvent]:
        """Behaviour events by number."""
        return MappingProxyType(self._state.behaviour)

    @property
    def assessments(self) -> Mapping[int, AssessmentResult]:
        """Assessment results by number."""
        return MappingProxyType(self._state.assessments)

    @property
    def lesson_marks(self) -> Mapping[tuple[int, date, int], LessonMark]:
        """Marks of lessons by (pupil, date, period); there are none until :meth:`record_mark` makes them."""
        return MappingProxyType(self._state.lesson_marks)

    @property
    def withheld(self) -> Collection[int]:
        """Pupils whose consent to data processing was withdrawn.

        The other mappings hold them all the same: a simulator has to leave out whatever is theirs, as
        :meth:`canonical` does.
        """
        return frozenset(self._state.withheld)

    @property
    def merged(self) -> Mapping[int, int]:
        """Numbers that merges took away, each with the number of its survivor."""
        return MappingProxyType(self._state.merged)

    def tutor_groups(self, on: date | None = None) -> dict[int, Group]:
        """Return each pupil's tutor group on a day (:attr:`today` by default); some pupils have none."""
        return self._state.groups_of_pupils("TUTORGRP", on or self.today)

    def marks(
        self,
        date_from: date | None = None,
        date_to: date | None = None,
        *,
        pupils: Collection[int] | None = None,
    ) -> Iterator[Mark]:
        """Yield the marks of the days from ``date_from`` up to before ``date_to``, bounds optional.

        They come by pupil number, then date, then AM before PM, those of ``pupils`` only where given. Finish
        an iteration before the next edit: what it yields after an edit is undefined.
        """
        return self._state.registers.marks(date_from, date_to, pupils)

    def count_marks(self, date_from: date | None = None, date_to: date | None = None) -> int:
        """Return how many marks :meth:`marks` yields for the same days, without making them."""
        return self._state.registers.count(date_from, date_to)

    def canonical(self, date_from: date | None = None, date_to: date | None = None) -> Iterator[Truth]:
        """Yield what the school is in canonical messages, kind by kind, marks last.

        The dates bound the marks alone. See :class:`Truth` for the keys, and for what messages leave open.
        """
        return truth.canonical(self._state, date_from, date_to)

    # --- edits -------------------------------------------------------------------------------------------

    def apply(self, edit: Mapping[str, object]) -> dict[str, int]:
        """Make the edit that ``edit`` describes in JSON form and return the numbers that it concerned.

        ``{"op": "rename", "pupil": 17, "surname": "Ní Bhriain"}``: ``op`` names a method of this class, the
        other members are its arguments, dates in ISO 8601. What is optional there is optional here.

        Raises:
            EditRefused: the edit is unknown, malformed, or does not fit the world.
        """
        return json_edits.apply(self._state, edit)

    def join(
        self,
        *,
        on: date | None = None,
        year_group: str | None = None,
        forename: str | None = None,
        surname: str | None = None,
    ) -> Pupil:
        """Add a pupil with enrolment, groups, contacts and marks from ``on``; what is not given is drawn."""
        return edits.join(self._state, on=on, year_group=year_group, forename=forename, surname=surname)

    def leave(self, pupil: int, on: date | None = None) -> None:
        """End enrolments, memberships and marks of a pupil; ``on`` is the first day not on roll."""
        edits.leave(self._state, pupil, on)

    def rejoin(self, pupil: int, on: date | None = None) -> None:
        """Enrol a pupil who left again, under the same number, from ``on``."""
        edits.rejoin(self._state, pupil, on)

    def rename(
        self,
        pupil: int,
        *,
        forename: str | None = None,
        surname: str | None = None,
        middle_names: str | None = None,
        preferred_forename: str | None = None,
        preferred_surname: str | None = None,
    ) -> Pupil:
        """Change names of a pupil; what is ``None`` stays."""
        names = {
            "forename": forename,
            "surname": surname,
            "middle_names": middle_names,
            "preferred_forename": preferred_forename,
            "preferred_surname": preferred_surname,
        }
        return edits.rename(self._state, pupil, names)

    def change_upn(self, pupil: int, upn: str) -> Pupil:
        """Give a pupil another UPN, as when a permanent one replaces a temporary one."""
        return edits.change_upn(self._state, pupil, upn)

    def move_group(self, pupil: int, from_group: int, to_group: int, on: date | None = None) -> None:
        """End a pupil's membership of one group and begin one of another of the same type, both on ``on``."""
        edits.move_group(self._state, pupil, from_group, to_group, on)

    def correct_mark(
        self, pupil: int, date: date, session: Session, code: str, comment: str | None = None
    ) -> None:
        """Replace a mark already made; the comment is replaced too."""
        edits.correct_mark(self._state, pupil, date, session, code, comment)

    def merge(self, loser: int, survivor: int) -> None:
        """Merge one pupil into another: the loser's number goes; what only it had passes to the survivor."""
        identity_edits.merge(self._state, loser, survivor)

    def rekey(self, pupil: int, new_number: int) -> Pupil:
        """Give a pupil another number everywhere; person number and everything else stay."""
        return identity_edits.rekey(self._state, pupil, new_number)

    def rebuild_timetable(self, on: date | None = None) -> None:
        """Deal slots, rooms and some classes' teachers anew from ``on``; every entry gets a new number."""
        edits.rebuild_timetable(self._state, on)

    def advance(self, to: date) -> None:
        """Take the registers of the school days before ``to``; marks N older than five days are settled."""
        edits.advance(self._state, to)
