"""Building a synthetic school from a seed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from schoolgate_sdk.testing.conduct import add_conduct
from schoolgate_sdk.testing.curriculum import STAGES, SUBJECTS
from schoolgate_sdk.testing.entities import School, Subject
from schoolgate_sdk.testing.errors import WorldError
from schoolgate_sdk.testing.grouping import add_groups
from schoolgate_sdk.testing.people import add_pupils
from schoolgate_sdk.testing.randomness import stream
from schoolgate_sdk.testing.registers import Registers
from schoolgate_sdk.testing.school_year import SchoolYear, school_year
from schoolgate_sdk.testing.staffing import add_staff, assign_staff
from schoolgate_sdk.testing.state import WorldState
from schoolgate_sdk.testing.timetable import add_rooms_and_periods, deal_timetable

_NAMES = ("Holmfield Academy", "St. Brónach's Catholic School", "Ysgol Bryn-y-Môr", "King's Lea School")


def build_state(seed: int, pupils: int, academic_year_start: date, marks_until: date | None) -> WorldState:
    """Return a school as ``World.build`` documents it."""
    if pupils < 1:
        raise WorldError("a school has at least one pupil")
    year = school_year(academic_year_start)
    random = stream(seed, "school")
    school = School(
        name=random.choice(_NAMES),
        dfe_number=random.randrange(800, 900) * 10_000 + random.randrange(4_000, 5_000),
        urn=f"{random.randrange(130_000, 150_000)}",
    )
    state = WorldState(seed, school, year, Registers(year, taken_before(year, marks_until)))
    state.year_groups = {f"Year {year_of_study}": year_of_study for year_of_study in STAGES}
    state.subjects = {code: Subject(code, name) for code, name in SUBJECTS.items()}
    add_pupils(state, pupils)
    add_staff(state, pupils)
    add_groups(state)
    assign_staff(state)
    add_rooms_and_periods(state, pupils)
    deal_timetable(state, 0, year.valid_from)
    number_persons(state)
    add_conduct(state)
    return state


def taken_before(year: SchoolYear, marks_until: date | None) -> int:
    """Return how many sessions of ``year`` come before a day, all of them for ``None``."""
    return 2 * len(year.days) if marks_until is None else year.index_from(marks_until)


def number_persons(state: WorldState) -> None:
    """Give everybody a person number, in an order that has nothing to do with the other numbers."""
    count = len(state.pupils) + len(state.staff) + len(state.contacts)
    numbers = list(range(1, count + 1))
    stream(state.seed, "persons").shuffle(numbers)
    given = iter(numbers)
    for pupil in list(state.pupils.values()):
        state.pupils[pupil.number] = replace(pupil, person_number=next(given))
    for member in list(state.staff.values()):
        state.staff[member.number] = replace(member, person_number=next(given))
    for contact in list(state.contacts.values()):
        state.contacts[contact.number] = replace(contact, person_number=next(given))
    state.numbers["person"] = count
