"""Building a world from School Data Sync CSV files (Microsoft's format, UK variant).

The files say nothing about tutor groups, contacts, timetables and marks, so that the world has none of the
first three, and registers that are synthetic and only taken when asked for. Passwords are not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from schoolgate_sdk.testing.build import number_persons, taken_before
from schoolgate_sdk.testing.csv_files import CsvRow, read_rows
from schoolgate_sdk.testing.entities import (
    Enrolment,
    Group,
    Membership,
    Pupil,
    RoleCode,
    School,
    StaffAssignment,
    StaffMember,
    Subject,
    Term,
)
from schoolgate_sdk.testing.errors import SdsFormatError
from schoolgate_sdk.testing.marks import draw_register
from schoolgate_sdk.testing.registers import Registers
from schoolgate_sdk.testing.school_year import SchoolYear, school_year
from schoolgate_sdk.testing.state import WorldState

_SCHOOL = "School DfE Number"
_STUDENT_COLUMNS = (
    "ID",
    _SCHOOL,
    "First Name",
    "Last Name",
    "Middle Name",
    "Secondary Email",
    "Student Number",
    "Grade",
    "Status",
    "Birthdate",
)
_TEACHER_COLUMNS = (
    "ID",
    _SCHOOL,
    "First Name",
    "Last Name",
    "Middle Name",
    "Secondary Email",
    "Teacher Number",
    "Title",
)
_SECTION_COLUMNS = (
    "ID",
    _SCHOOL,
    "Section Name",
    "Term Name",
    "Term StartDate",
    "Term EndDate",
    "Course Description",
    "Course Subject",
)
_ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class _Owners:
    """Which school each ID of a file belongs to."""

    file: str
    school_of: dict[int, int] = field(default_factory=dict[int, int])

    def claim(self, row: CsvRow) -> tuple[int, int]:
        """Return the ID and the school of a row; an ID may come once."""
        number = row.number("ID")
        if number in self.school_of:
            raise row.refused("ID", "is there twice")
        self.school_of[number] = row.number(_SCHOOL)
        return number, self.school_of[number]

    def check(self, row: CsvRow, column: str) -> tuple[int, int]:
        """Return the ID in ``column`` and its school; raises where the file of the owners has no such ID."""
        number = row.number(column)
        if number not in self.school_of:
            raise row.refused(column, f"is no ID of {self.file}")
        return number, self.school_of[number]


def read_schools(folder: Path) -> tuple[School, ...]:
    """See ``World.schools_in_sds``."""
    schools: dict[int, School] = {}
    for row in read_rows(folder, "School.csv", ("DfE Number", "Name")):
        number = row.number("DfE Number")
        if number in schools:
            raise row.refused("DfE Number", "is there twice")
        schools[number] = School(row.required("Name"), number)
    return tuple(schools.values())


def read_state(folder: Path, dfe_number: int, seed: int, marks_until: date | None) -> WorldState:
    """See ``World.from_sds``."""
    schools = {school.dfe_number: school for school in read_schools(folder)}
    if dfe_number not in schools:
        raise SdsFormatError("School.csv", 0, "DfE Number", f"no school has the number {dfe_number}")
    groups, terms, sections = _read_sections(folder, dfe_number)
    year = _year(terms)
    taken = 0 if marks_until is None else taken_before(year, marks_until)
    state = WorldState(seed, schools[dfe_number], year, Registers(year, taken))
    state.groups = groups
    for group in groups.values():
        if group.subject:
            state.subjects.setdefault(group.subject, Subject(group.subject, group.subject))
    students = _read_students(folder, state)
    teachers = _read_teachers(folder, state)
    _read_memberships(folder, state, sections, students)
    _read_assignments(folder, state, sections, teachers)
    state.numbers["pupil"] = max(students.school_of, default=0)
    number_persons(state)
    return state


def _read_sections(folder: Path, dfe_number: int) -> tuple[dict[int, Group], list[Term], _Owners]:
    owners = _Owners("Section.csv")
    groups: dict[int, Group] = {}
    terms: dict[tuple[str, date, date], Term] = {}
    for row in read_rows(folder, "Section.csv", _SECTION_COLUMNS):
        number, school = owners.claim(row)
        begins, ends = row.day("Term StartDate"), row.day("Term EndDate") + _ONE_DAY
        if ends <= begins:
            raise row.refused("Term EndDate", "is before the term's first day")
        if school != dfe_number:
            continue
        term = Term(row.required("Term Name"), begins, ends)
        terms[term.name, begins, ends] = term
        groups[number] = Group(
            number,
            row.required("Section Name"),
            "CLASS",
            begins,
            ends,
            description=row.text("Course Description"),
            subject=row.text("Course Subject"),
        )
    if not groups:
        raise SdsFormatError("Section.csv", 0, _SCHOOL, f"no section belongs to school {dfe_number}")
    return groups, sorted(terms.values(), key=lambda term: (term.valid_from, term.name)), owners


def _year(terms: list[Term]) -> SchoolYear:
    """Return the year that the terms span; its days are those of an English school, within the terms."""
    first, end = min(term.valid_from for term in terms), max(term.valid_to for term in terms)
    begins = date(first.year if first.month >= 6 else first.year - 1, 9, 1)
    days = tuple(
        day
        for day in school_year(begins).days
        if any(term.valid_from <= day < term.valid_to for term in terms)
    )
    return SchoolYear(terms[0].name, first, end, tuple(terms), days)


def _read_students(folder: Path, state: WorldState) -> _Owners:
    """Add the school's pupils; those whose status is Active are enrolled from the year's first day."""
    owners = _Owners("Student.csv")
    for row in read_rows(folder, "Student.csv", _STUDENT_COLUMNS):
        number, school = owners.claim(row)
        if school != state.school.dfe_number:
            continue
        pupil = Pupil(
            number=number,
            person_number=0,
            forename=row.required("First Name"),
            surname=row.required("Last Name"),
            admission_number=row.text("Student Number") or str(number),
            year_group=row.required("Grade"),
            middle_names=row.text("Middle Name"),
            date_of_birth=row.day("Birthdate") if row.text("Birthdate") else None,
            email=row.text("Secondary Email"),
        )
        state.pupils[number] = pupil
        state.year_groups.setdefault(pupil.year_group, None)
        state.registers.of[number] = draw_register(state.seed, str(number), state.year, None)
        if row.required("Status") == "Active":
            state.add_enrolment(Enrolment(number, state.year.valid_from, "C", pupil.year_group))
        else:
            state.registers.of[number].clear(0, 2 * len(state.year.days))
    return owners


def _read_teachers(folder: Path, state: WorldState) -> _Owners:
    owners = _Owners("Teacher.csv")
    for row in read_rows(folder, "Teacher.csv", _TEACHER_COLUMNS):
        number, school = owners.claim(row)
        if school == state.school.dfe_number:
            state.staff[number] = StaffMember(
                number=number,
                person_number=0,
                forename=row.required("First Name"),
                surname=row.required("Last Name"),
                title=row.text("Title"),
                middle_names=row.text("Middle Name"),
                email=row.text("Secondary Email"),
                staff_code=row.text("Teacher Number"),
            )
    return owners


def _read_memberships(folder: Path, state: WorldState, sections: _Owners, students: _Owners) -> None:
    for row in read_rows(folder, "StudentEnrollment.csv", ("Section ID", "ID")):
        section, school = sections.check(row, "Section ID")
        pupil, pupils_school = students.check(row, "ID")
        if school != state.school.dfe_number:
            continue
        if pupils_school != school:
            raise row.refused("ID", "belongs to a pupil of another school")
        group = state.groups[section]
        membership = Membership(section, pupil, group.valid_from, group.valid_to)
        if membership[:3] in state.memberships:
            raise row.refused("ID", "is in this section twice")
        state.add_membership(membership)


def _read_assignments(folder: Path, state: WorldState, sections: _Owners, teachers: _Owners) -> None:
    """Add the rosters; the first teacher of a section is its main teacher."""
    led: set[int] = set()
    for row in read_rows(folder, "TeacherRoster.csv", ("Section ID", "ID")):
        section, school = sections.check(row, "Section ID")
        teacher, teachers_school = teachers.check(row, "ID")
        if school != state.school.dfe_number:
            continue
        if teachers_school != school:
            raise row.refused("ID", "belongs to a teacher of another school")
        role: RoleCode = "Additional Teacher" if section in led else "Main Teacher"
        if any(held.group == section and held.staff == teacher for held in state.assignments.values()):
            raise row.refused("ID", "is in this section twice")
        led.add(section)
        group = state.groups[section]
        state.add_assignment(StaffAssignment(section, teacher, role, group.valid_from, group.valid_to))
