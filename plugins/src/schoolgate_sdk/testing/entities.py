"""What a synthetic school consists of: frozen values, linked by numbers.

Pupils, staff, persons, groups, rooms, periods, contacts, timetable entries, behaviour events and their types,
and results are numbered in spaces of their own, and the same integer means something else in each space.
``person_number`` is a further number of pupils, staff and contacts in one common space, as MISs keep it
beside the others. Spans are half-open: ``valid_to`` is the first day on which something no longer holds,
``None`` while it lasts. ``None`` in any other field says that the school has no value.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Literal, NamedTuple, TypeAlias

Session: TypeAlias = Literal["AM", "PM"]
"""One of the two registers of a school day."""

GroupTypeCode: TypeAlias = Literal["TUTORGRP", "CLASS", "HOUSE", "YEARGRP", "OTHER"]
"""The school's own codes for what a group is for."""

RoleCode: TypeAlias = Literal[
    "Main Tutor", "Additional Tutor", "Main Teacher", "Additional Teacher", "Head of House"
]
"""The school's own words for what a member of staff does for a group."""


@dataclass(frozen=True, slots=True)
class School:
    """The school itself. ``dfe_number`` is the local authority (3 digits) and establishment (4) in one."""

    name: str
    dfe_number: int
    urn: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """A part of the academic year in which the school meets."""

    name: str
    valid_from: date
    valid_to: date


@dataclass(frozen=True, slots=True)
class Pupil:
    """A pupil. ``sex_code`` is F or M, ``sen_provision_code`` N, K or E (CBDS).

    ``year_group`` is the school's own name of it ("Year 7"); ``national_curriculum_year`` is "7" to "13".
    """

    number: int
    person_number: int
    forename: str
    surname: str
    admission_number: str
    year_group: str
    national_curriculum_year: str | None = None
    upn: str | None = None
    uln: str | None = None
    exam_number: str | None = None
    middle_names: str | None = None
    preferred_forename: str | None = None
    preferred_surname: str | None = None
    date_of_birth: date | None = None
    sex_code: str | None = None
    email: str | None = None
    ethnicity_code: str | None = None
    sen_provision_code: str | None = None
    free_school_meals_ever_6: bool | None = None
    english_additional_language: bool | None = None
    in_care: bool | None = None
    gifted_and_talented: bool | None = None
    pupil_premium: bool | None = None


@dataclass(frozen=True, slots=True)
class StaffMember:
    """A member of staff; ``subject`` is the code of what a teacher mainly teaches."""

    number: int
    person_number: int
    forename: str
    surname: str
    title: str | None = None
    middle_names: str | None = None
    email: str | None = None
    staff_code: str | None = None
    job_title: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """A parent, carer or other contact, once however many pupils share it."""

    number: int
    person_number: int
    surname: str
    title: str | None = None
    forename: str | None = None
    email: str | None = None
    telephone: str | None = None


@dataclass(frozen=True, slots=True)
class ContactLink:
    """What a contact is to one pupil; a sibling's link to the same contact may differ in everything.

    ``relationship_code`` is CBDS (PAM, PAF, CAR …). ``priority`` may be missing and need not be unique.
    """

    pupil: int
    contact: int
    relationship_code: str
    priority: int | None = None
    parental_responsibility: bool | None = None
    lives_with: bool | None = None
    court_order: bool | None = None
    correspondence: bool | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A curriculum subject."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """A tutor group, class, house, year group or other group; ``subject`` is a class's subject code."""

    number: int
    name: str
    type_code: GroupTypeCode
    valid_from: date
    valid_to: date | None = None
    description: str | None = None
    subject: str | None = None


class Membership(NamedTuple):
    """A pupil in a group for one span; unique by its first three fields."""

    group: int
    pupil: int
    valid_from: date
    valid_to: date | None = None


class StaffAssignment(NamedTuple):
    """What a member of staff does for a group for one span; unique by its first four fields."""

    group: int
    staff: int
    role_code: RoleCode
    valid_from: date
    valid_to: date | None = None


class Enrolment(NamedTuple):
    """A span for which a pupil is registered; unique by pupil and first day.

    ``status_code`` is CBDS: C, or M (main) and S (subsidiary) at once for a dually registered pupil.
    """

    pupil: int
    valid_from: date
    status_code: str
    year_group: str
    valid_to: date | None = None


class Mark(NamedTuple):
    """One pupil's mark in one register; unique by its first three fields."""

    pupil: int
    date: date
    session: Session
    code: str
    comment: str | None = None


class LessonMark(NamedTuple):
    """One pupil's mark in one lesson; unique by its first three fields. ``period`` is the slot's number."""

    pupil: int
    date: date
    period: int
    code: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """A place where lessons happen."""

    number: int
    code: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A slot of the two-week cycle. ``weekday`` is 1 (Monday) to 5; ``type_code`` PERIOD or SESSION."""

    number: int
    name: str
    type_code: Literal["PERIOD", "SESSION"]
    week: int
    weekday: int
    starts: time
    ends: time


@dataclass(frozen=True, slots=True)
class TimetableEntry:
    """A class meeting in a slot; teacher and room may be missing."""

    number: int
    group: int
    period: int
    valid_from: date
    valid_to: date | None = None
    staff: int | None = None
    room: int | None = None


@dataclass(frozen=True, slots=True)
class BehaviourType:
    """A type of behaviour event; ``points`` is what an event of it usually counts, negative for sanctions."""

    number: int
    name: str
    points: int


@dataclass(frozen=True, slots=True)
class BehaviourEvent:
    """One behaviour event. ``occurred_at`` is local and to the minute; ``comment`` is for the pupil's record.

    ``points`` need not be those of the type.
    """

    number: int
    pupil: int
    event_type: int
    occurred_at: datetime
    points: int
    staff: int | None = None
    group: int | None = None
    room: int | None = None
    comment: str | None = None
    internal_comment: str | None = None


@dataclass(frozen=True, slots=True)
class AssessmentResult:
    """One result of one pupil; unique by pupil, assessment, subject and term.

    ``result`` is as it was entered: a grade of a grade set where ``is_grade``, else a number or a text.
    """

    number: int
    pupil: int
    assessment: str
    result: str
    entered_on: date
    subject: str | None = None
    term: str | None = None
    year_group: str | None = None
    is_grade: bool | None = None
