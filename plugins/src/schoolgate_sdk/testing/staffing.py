"""Drawing the staff, and who teaches, tutors and heads what."""

from __future__ import annotations

from random import Random

from schoolgate_sdk.testing import names
from schoolgate_sdk.testing.curriculum import STAGES, SUBJECTS, YEAR_SHARES
from schoolgate_sdk.testing.entities import GroupTypeCode, RoleCode, StaffAssignment, StaffMember
from schoolgate_sdk.testing.randomness import chance, stream
from schoolgate_sdk.testing.state import WorldState

_PUPILS_PER_STAFF = 7.5
_TEACHING_SHARE = 0.58
_OTHER_JOBS = (
    "Teaching Assistant",
    "Higher Level Teaching Assistant",
    "Cover Supervisor",
    "Attendance Officer",
    "Data Manager",
    "Science Technician",
    "Librarian",
    "Site Manager",
    "Midday Supervisor",
    "Exams Officer",
)

_ROLES: dict[GroupTypeCode, tuple[RoleCode, RoleCode, float]] = {
    "CLASS": ("Main Teacher", "Additional Teacher", 0.12),
    "TUTORGRP": ("Main Tutor", "Additional Tutor", 0.4),
    "HOUSE": ("Head of House", "Head of House", 0.0),
}
"""Who leads a group of a type, who helps, and in which share of the groups somebody does."""


def add_staff(state: WorldState, pupils: int) -> None:
    """Add teachers in proportion to what is taught, and everybody else."""
    random = stream(state.seed, "staff")
    count = max(8, round(pupils / _PUPILS_PER_STAFF))
    teaching = _teaching_subjects(max(4, round(count * _TEACHING_SHARE)))
    codes: set[str] = set()
    for number in range(1, count + 1):
        subject = teaching[number - 1] if number <= len(teaching) else None
        state.staff[number] = _draw_member(random, number, subject, codes)
    state.numbers["staff"] = count


def _teaching_subjects(count: int) -> list[str]:
    """Return a subject per teacher, spread by the lessons of the subjects."""
    lessons = dict.fromkeys(SUBJECTS, 0.0)
    for year, share in YEAR_SHARES.items():
        stage = STAGES[year]
        for subject, fortnightly in stage.core.items():
            lessons[subject] += share * fortnightly
        for subject in stage.options:
            lessons[subject] += share * stage.option_blocks * stage.option_lessons / len(stage.options)
    ranked = sorted(lessons, key=lambda subject: -lessons[subject])
    total = sum(lessons.values())
    teachers: list[str] = []
    reached = 0.0
    for subject in ranked:
        reached += lessons[subject]
        teachers += [subject] * (round(count * reached / total) - len(teachers))
    return teachers


def _draw_member(random: Random, number: int, subject: str | None, codes: set[str]) -> StaffMember:
    sex = "F" if chance(random, 0.65) else "M"
    forename, surname = names.forename(random, sex), names.surname(random)
    letters = (names.ascii_letters(forename)[:1] + names.ascii_letters(surname)[:2]).upper()
    code = letters if letters not in codes else f"{letters}{number}"
    codes.add(code)
    teaches = subject is not None
    return StaffMember(
        number=number,
        person_number=0,
        forename=forename,
        surname=surname,
        title=names.title(random, sex),
        middle_names=names.forename(random, sex) if chance(random, 0.3) else None,
        email=f"{names.ascii_letters(forename)}.{names.ascii_letters(surname)}{number}@school.example"
        if teaches or chance(random, 0.8)
        else None,
        staff_code=code if teaches or chance(random, 0.5) else None,
        job_title=f"Teacher of {SUBJECTS[subject]}" if subject else random.choice(_OTHER_JOBS),
        subject=subject,
    )


def assign_staff(state: WorldState) -> None:
    """Give every class a teacher, every tutor group a tutor, every house a head, and some a second one."""
    random = stream(state.seed, "assignments")
    teachers = [member.number for member in state.staff.values() if member.subject]
    turns: dict[str, int] = {}
    for place, group in enumerate(state.groups.values()):
        if group.type_code not in _ROLES:
            continue
        main_role, second_role, share = _ROLES[group.type_code]
        subject = group.subject or ""
        candidates = teachers_of(state, subject) if subject else teachers
        turn = turns[subject] = turns.get(subject, -1) + 1
        main = candidates[(turn if subject else place) % len(candidates)]
        second = random.choice(teachers)
        since = state.year.valid_from
        state.add_assignment(StaffAssignment(group.number, main, main_role, since))
        if second != main and chance(random, share):
            state.add_assignment(StaffAssignment(group.number, second, second_role, since))


def teachers_of(state: WorldState, subject: str) -> list[int]:
    """Return who teaches a subject mainly, or every teacher where nobody does."""
    members = [member for member in state.staff.values() if member.subject]
    return [member.number for member in members if member.subject == subject] or [
        member.number for member in members
    ]
