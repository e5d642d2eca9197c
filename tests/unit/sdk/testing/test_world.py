"""A world has the sizes and the peculiarities of a real school, and is the same in every process."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from schoolgate_sdk.testing import world as world_module
from schoolgate_sdk.testing.attendance_codes import CURRENT_CODES
from schoolgate_sdk.testing.world import World, WorldError
from tests.unit.sdk.testing.consistency import check, digest

ROOT = Path(__file__).parents[4]
TWO_CHARACTERS = {"C1", "C2", "J1", "Y1", "Y2", "Y6", "Y7"}


@pytest.fixture(scope="module")
def secondary() -> World:
    """A secondary school of 1,500 pupils; tests read it only."""
    return World.build(2026)


def test_the_example_of_the_documentation_is_true() -> None:
    assert doctest.testmod(world_module).failed == 0


def test_a_secondary_school_has_the_sizes_of_one(secondary: World) -> None:
    assert len(secondary.pupils) == 1_500
    assert 180 <= len(secondary.staff) <= 220
    assert 550 <= len(secondary.groups) <= 660
    assert 28_000 <= len(secondary.memberships) <= 32_000
    assert 2_400 <= len(secondary.contacts) <= 3_300
    assert len(secondary.rooms) >= 80
    assert len(secondary.timetable) >= 2_000
    assert {period.type_code for period in secondary.periods.values()} == {"PERIOD", "SESSION"}


def test_every_pupil_has_380_sessions_a_year(secondary: World) -> None:
    marks = Counter(mark.pupil for mark in secondary.marks())
    assert marks == dict.fromkeys(secondary.pupils, 380)
    assert secondary.count_marks() == 570_000


def test_a_world_is_consistent_from_the_start() -> None:
    for pupils in (1, 3, 110):
        check(World.build(3, pupils=pupils))


def test_marks_are_of_the_codes_in_use_and_mostly_present(secondary: World) -> None:
    codes = Counter(mark.code for mark in secondary.marks())
    assert codes.keys() <= CURRENT_CODES.keys()
    assert codes.keys() >= {"/", "\\", "L", "I", "M", "G", "U", "O", "N", "D", "S", "W", *TWO_CHARACTERS}
    assert 0.82 < (codes["/"] + codes["\\"] + codes["L"]) / 570_000 < 0.95
    assert any(mark.comment and not mark.comment.isascii() for mark in secondary.marks())


def test_an_absence_not_explained_yet_is_corrected_within_five_school_days() -> None:
    world = World.build(11, pupils=300, marks_until=date(2026, 11, 10))
    unexplained = {mark[:3] for mark in world.marks() if mark.code == "N"}
    recent = set(world.year.days[world.year.days.index(world.today) - 5 : world.year.days.index(world.today)])
    assert unexplained
    assert {day for _, day, _ in unexplained} <= recent
    world.advance(date(2026, 11, 17))
    assert world.today == date(2026, 11, 17)
    now = {mark[:3]: mark.code for mark in world.marks()}
    assert {now[key] for key in unexplained} <= {"I", "M", "C", "O"}


def test_registers_end_the_day_before_marks_until() -> None:
    world = World.build(1, pupils=10, marks_until=date(2026, 10, 1))
    assert {mark.date for mark in world.marks()} == {
        day for day in world.year.days if day < date(2026, 10, 1)
    }
    assert world.count_marks() == len(list(world.marks()))
    assert World.build(1, pupils=10, marks_until=date(2026, 9, 1)).count_marks() == 0


def test_marks_of_a_window_and_of_some_pupils(secondary: World) -> None:
    window = (date(2026, 11, 3), date(2026, 11, 5))
    marks = secondary.marks(*window, pupils={5, 3, 99_999})
    assert [(mark.pupil, mark.date.day, mark.session) for mark in marks] == [
        (pupil, day, session) for pupil in (3, 5) for day in (3, 4) for session in ("AM", "PM")
    ]
    assert secondary.count_marks(*window) == sum(1 for _ in secondary.marks(*window)) == 4 * 1_500


def test_marks_are_made_while_they_are_read(secondary: World) -> None:
    """The first marks of a year come without the other half million being made."""
    first = list(islice(secondary.marks(), 3))
    assert [mark.session for mark in first] == ["AM", "PM", "AM"]


def test_pupils_are_in_years_7_to_13_with_tutor_groups_and_houses(secondary: World) -> None:
    years = Counter(pupil.national_curriculum_year for pupil in secondary.pupils.values())
    assert years == {**dict.fromkeys(("7", "8", "9", "10", "11"), 250), "12": 125, "13": 125}
    assert all(
        pupil.year_group == f"Year {pupil.national_curriculum_year}" for pupil in secondary.pupils.values()
    )
    tutored = secondary.tutor_groups()
    assert 0 < len(secondary.pupils) - len(tutored) < 30
    kinds = Counter(group.type_code for group in secondary.groups.values())
    assert kinds.keys() == {"TUTORGRP", "CLASS", "HOUSE", "YEARGRP", "OTHER"}
    assert kinds["YEARGRP"] == 7


def test_a_few_pupils_are_dually_registered(secondary: World) -> None:
    statuses: defaultdict[int, list[str]] = defaultdict(list)
    for enrolment in secondary.enrolments.values():
        assert enrolment.valid_to is None
        statuses[enrolment.pupil].append(enrolment.status_code)
    assert Counter(tuple(sorted(each)) for each in statuses.values()) == {("C",): 1_495, ("M", "S"): 5}


def test_siblings_share_contacts_who_are_not_the_same_to_both(secondary: World) -> None:
    links: defaultdict[int, list[tuple[str, int | None, bool | None]]] = defaultdict(list)
    for link in secondary.contact_links.values():
        links[link.contact].append((link.relationship_code, link.priority, link.parental_responsibility))
    shared = [each for each in links.values() if len(each) > 1]
    assert len(shared) > 300
    assert sum(len(set(each)) > 1 for each in shared) > 100
    assert any(priority is None for each in links.values() for _, priority, _ in each)


@pytest.mark.parametrize(
    "field",
    [
        "upn",
        "uln",
        "exam_number",
        "middle_names",
        "preferred_surname",
        "email",
        "ethnicity_code",
        "sen_provision_code",
        "english_additional_language",
        "gifted_and_talented",
    ],
)
def test_optional_values_are_missing_for_some_pupils(secondary: World, field: str) -> None:
    values = [getattr(pupil, field) for pupil in secondary.pupils.values()]
    assert 0 < values.count(None) < len(values)


def test_identifiers_are_unique(secondary: World) -> None:
    pupils = secondary.pupils.values()
    for field in ("upn", "uln", "admission_number", "exam_number", "person_number"):
        values = [value for pupil in pupils if (value := getattr(pupil, field)) is not None]
        assert len(values) == len(set(values)), field
    assert any(pupil.upn and pupil.upn[-1].isalpha() for pupil in pupils)
    codes = [member.staff_code for member in secondary.staff.values() if member.staff_code]
    assert len(codes) == len(set(codes))
    assert len({group.name for group in secondary.groups.values()}) == len(secondary.groups)


def test_number_spaces_share_numbers_that_mean_different_people(secondary: World) -> None:
    differing = [pupil for pupil in secondary.pupils.values() if pupil.person_number != pupil.number]
    assert len(differing) > 1_490
    taken = {pupil.person_number for pupil in secondary.pupils.values()}
    assert taken & secondary.pupils.keys()
    assert taken & secondary.staff.keys()


def test_every_class_has_a_main_teacher_and_every_tutor_group_a_main_tutor(secondary: World) -> None:
    roles: defaultdict[int, set[str]] = defaultdict(set)
    for assignment in secondary.assignments.values():
        roles[assignment.group].add(assignment.role_code)
    for number, group in secondary.groups.items():
        main = {"CLASS": "Main Teacher", "TUTORGRP": "Main Tutor", "HOUSE": "Head of House"}.get(
            group.type_code
        )
        assert main is None or main in roles[number]
    assert {role for each in roles.values() for role in each} >= {"Additional Teacher", "Additional Tutor"}


def test_parts_cannot_be_written_to(secondary: World) -> None:
    pupils: Any = secondary.pupils
    with pytest.raises(TypeError):
        pupils[1] = None


@pytest.mark.parametrize("pupils", [0, -1])
def test_a_school_without_pupils_is_refused(pupils: int) -> None:
    with pytest.raises(WorldError, match="at least one pupil"):
        World.build(1, pupils=pupils)


def test_seeds_make_different_schools() -> None:
    assert digest(World.build(1, pupils=20)) != digest(World.build(2, pupils=20))


EDITS: list[dict[str, object]] = [
    {"op": "join", "on": "2026-10-05", "year_group": "Year 9"},
    {"op": "rename", "pupil": 4, "surname": "Ní Bhriain"},
    {"op": "leave", "pupil": 7, "on": "2026-10-12"},
    {"op": "rejoin", "pupil": 7, "on": "2026-11-02"},
    {"op": "correct_mark", "pupil": 9, "date": "2026-09-10", "session": "PM", "code": "C2"},
    {"op": "merge", "loser": 11, "survivor": 12},
    {"op": "rekey", "pupil": 13, "new_number": 4_000},
    {"op": "rebuild_timetable", "on": "2026-11-09"},
    {"op": "advance", "to": "2027-01-20"},
]


ELSEWHERE = """
from tests.unit.sdk.testing.test_world import edited
from tests.unit.sdk.testing.consistency import digest
print(digest(edited()))
"""


def edited() -> World:
    world = World.build(77, pupils=60, marks_until=date(2026, 12, 1))
    for edit in EDITS:
        world.apply(edit)
    return world


def test_the_same_seed_and_edits_give_the_same_world_in_every_process() -> None:
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(edited()) == digest(edited()) == done.stdout.strip()
