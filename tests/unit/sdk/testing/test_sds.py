"""School Data Sync files become a world; malformed ones say where they are malformed."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolgate_sdk.testing.entities import Membership, StaffAssignment
from schoolgate_sdk.testing.world import EditRefused, SdsFormatError, World
from tests.unit.sdk.testing.consistency import check, digest

FILES = {
    "School.csv": """
DfE Number,Name,School Number
8914001,Holmfield Academy,1
8914002,Second School,2
""",
    "Section.csv": """
ID,School DfE Number,Section Name,Term Name,Term StartDate,Term EndDate,Course Description,Course Subject
101,8914001,"Maths, set 1",2026/27,9/1/2026,7/31/2027,Mathematics,Math
102,8914001,English,2026/27,9/1/2026,7/31/2027,,
201,8914002,Other,2026/27,9/1/2026,7/31/2027,,
""",
    "Student.csv": """
ID,School DfE Number,First Name,Last Name,Password,Secondary Email,Student Number,Middle Name,Grade,Status,Birthdate
11,8914001,Zoë,O'Brien,Hunter2!,,A11,Anne,9,Active,4/2/2012
12,8914001,Seán,"Smith, Jr",Hunter2!,sean@school.example,,,10,Inactive,
21,8914002,Ali,Khan,Hunter2!,,,,9,Active,12/31/2011
""",  # noqa: E501 - a header is one line
    "Teacher.csv": """
ID,School DfE Number,First Name,Last Name,Password,Teacher Number,Middle Name,Secondary Email,Title
31,8914001,Craig,Beane,Hunter2!,7,James,,Mr
32,8914001,Daisy,Todd,Hunter2!,,,,
41,8914002,Dana,Mills,Hunter2!,,,,
""",
    "StudentEnrollment.csv": """
Section ID,ID
101,11
201,21
""",
    "TeacherRoster.csv": """
Section ID,ID
101,32
101,31
201,41
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.lstrip("\n"), encoding="utf-8-sig", newline="\r\n")
    return tmp_path


def test_schools_come_in_the_order_of_the_file(folder: Path) -> None:
    schools = World.schools_in_sds(folder)
    assert [(school.dfe_number, school.name) for school in schools] == [
        (8_914_001, "Holmfield Academy"),
        (8_914_002, "Second School"),
    ]


def test_a_school_has_what_its_files_say_and_nothing_else(folder: Path) -> None:
    world = World.from_sds(folder, 8_914_001)
    begins, ends = date(2026, 9, 1), date(2027, 8, 1)
    pupil = world.pupils[11]
    assert (pupil.forename, pupil.middle_names, pupil.surname) == ("Zoë", "Anne", "O'Brien")
    assert (pupil.date_of_birth, pupil.year_group, pupil.admission_number) == (date(2012, 4, 2), "9", "A11")
    assert (pupil.upn, pupil.email, pupil.national_curriculum_year) == (None, None, None)
    assert (world.pupils[12].surname, world.pupils[12].date_of_birth) == ("Smith, Jr", None)
    assert [(member.number, member.title, member.staff_code) for member in world.staff.values()] == [
        (31, "Mr", "7"),
        (32, None, None),
    ]
    assert [(group.name, group.type_code, group.subject) for group in world.groups.values()] == [
        ("Maths, set 1", "CLASS", "Math"),
        ("English", "CLASS", None),
    ]
    assert list(world.memberships.values()) == [Membership(101, 11, begins, ends)]
    assert list(world.assignments.values()) == [
        StaffAssignment(101, 32, "Main Teacher", begins, ends),
        StaffAssignment(101, 31, "Additional Teacher", begins, ends),
    ]
    assert [held[:3] for held in world.enrolments.values()] == [(11, begins, "C")]
    assert not world.timetable
    assert not world.contacts
    assert world.count_marks() == 0
    assert (world.year.name, world.year.valid_from, world.year.valid_to) == ("2026/27", begins, ends)
    check(world)


def test_registers_are_synthetic_and_only_taken_when_asked_for(folder: Path) -> None:
    world = World.from_sds(folder, 8_914_001, seed=3, marks_until=date(2026, 10, 1))
    assert {mark.pupil for mark in world.marks()} == {11}
    assert world.count_marks() == 2 * sum(day < date(2026, 10, 1) for day in world.year.days)
    assert digest(world) == digest(World.from_sds(folder, 8_914_001, seed=3, marks_until=date(2026, 10, 1)))
    check(world)


def test_a_school_of_files_can_be_edited(folder: Path) -> None:
    world = World.from_sds(folder, 8_914_001, marks_until=date(2026, 10, 1))
    joiner = world.join(year_group="9", on=date(2026, 9, 21))
    assert joiner.number == 22
    assert [held.group for held in world.memberships.values() if held.pupil == joiner.number] == [101]
    world.rejoin(12)
    world.move_group(11, 101, 102)
    world.leave(11, date(2026, 9, 25))
    check(world)


def test_g16_passwords_get_nowhere(folder: Path) -> None:
    world = World.from_sds(folder, 8_914_001)
    everything = repr((dict(world.pupils), dict(world.staff), list(world.canonical())))
    assert "Hunter2!" not in everything
    student = folder / "Student.csv"
    student.write_text(student.read_text(encoding="utf-8-sig").replace("Hunter2!", ""), encoding="utf-8")
    assert digest(World.from_sds(folder, 8_914_001)) == digest(world)


def _replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        text = path.read_text(encoding="utf-8-sig")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def _remove(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).unlink()

    return change


def _overwrite(file: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return change


MALFORMED: list[tuple[Callable[[Path], None], str, int, str, str]] = [
    (_replace("Student.csv", "11,8914001", "x,8914001"), "Student.csv", 2, "ID", "is no whole number"),
    (_replace("Student.csv", "12,8914001", "11,8914001"), "Student.csv", 3, "ID", "is there twice"),
    (_replace("Student.csv", "4/2/2012", "2/30/2012"), "Student.csv", 2, "Birthdate", "is no date"),
    (_replace("Student.csv", "4/2/2012", "2012-02-04"), "Student.csv", 2, "Birthdate", "is no date"),
    (_replace("Student.csv", "Zoë,", ","), "Student.csv", 2, "First Name", "is empty"),
    (_replace("Student.csv", ",Active,4/2/2012", ""), "Student.csv", 2, "Status", "has 9 fields"),
    (_replace("Student.csv", "4/2/2012", "4/2/2012,extra"), "Student.csv", 2, "", "has 12 fields"),
    (_replace("Student.csv", '"Smith, Jr"', '"Smith, Jr" x'), "Student.csv", 3, "", "is no CSV"),
    (_replace("Student.csv", "Birthdate", "Birthday"), "Student.csv", 1, "Birthdate", "is not exactly once"),
    (_replace("Section.csv", "7/31/2027", "12/31/9999"), "Section.csv", 2, "Term EndDate", "is no date"),
    (_replace("Section.csv", "7/31/2027", "7/31/2025"), "Section.csv", 2, "Term EndDate", "is before"),
    (
        _replace("StudentEnrollment.csv", "101,11", "999,11"),
        "StudentEnrollment.csv",
        2,
        "Section ID",
        "is no ID of",
    ),
    (
        _replace("StudentEnrollment.csv", "101,11", "101,99"),
        "StudentEnrollment.csv",
        2,
        "ID",
        "is no ID of Student",
    ),
    (
        _replace("StudentEnrollment.csv", "101,11", "101,21"),
        "StudentEnrollment.csv",
        2,
        "ID",
        "another school",
    ),
    (
        _replace("StudentEnrollment.csv", "101,11", "101,11\n101,11"),
        "StudentEnrollment.csv",
        3,
        "ID",
        "twice",
    ),
    (_replace("TeacherRoster.csv", "101,32", "101,31"), "TeacherRoster.csv", 3, "ID", "twice"),
    (_replace("TeacherRoster.csv", "101,32", "101,41"), "TeacherRoster.csv", 2, "ID", "another school"),
    (_replace("School.csv", "8914002", "8914001"), "School.csv", 3, "DfE Number", "is there twice"),
    (_remove("Teacher.csv"), "Teacher.csv", 0, "", "there is no such file"),
    (_overwrite("Teacher.csv", b"ID\n\xff"), "Teacher.csv", 0, "", "is not UTF-8"),
    (_overwrite("Teacher.csv", b""), "Teacher.csv", 1, "ID", "is not exactly once"),
]


@pytest.mark.parametrize(
    ("change", "file", "line", "column", "problem"),
    MALFORMED,
    ids=[f"{file}: {problem}" for _, file, _, _, problem in MALFORMED],
)
def test_a_malformed_file_says_where(
    folder: Path, change: Callable[[Path], None], file: str, line: int, column: str, problem: str
) -> None:
    change(folder)
    with pytest.raises(SdsFormatError) as raised:
        World.from_sds(folder, 8_914_001)
    error = raised.value
    assert (error.file, error.line, error.column) == (file, line, column)
    assert problem in error.problem
    assert "Hunter2!" not in str(error)
    assert "O'Brien" not in str(error)


JUNK = st.text(alphabet=st.sampled_from('",\n\r\x00/1é '), max_size=5)


@settings(max_examples=80)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 400), st.integers(0, 12), JUNK)
def test_g18_no_damage_to_a_file_gives_any_other_error(file: str, place: int, length: int, junk: str) -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        for name, text in FILES.items():
            whole = text.lstrip("\n")
            damaged = whole[:place] + junk + whole[place + length :] if name == file else whole
            (folder / name).write_bytes(damaged.encode())
        with suppress(SdsFormatError):
            assert digest(World.from_sds(folder, 8_914_001))


def test_terms_without_school_days_make_a_world_without_registers(folder: Path) -> None:
    section = folder / "Section.csv"
    text = section.read_text(encoding="utf-8-sig")
    section.write_text(text.replace("9/1/2026", "7/25/2027"), encoding="utf-8")
    world = World.from_sds(folder, 8_914_001, marks_until=date(2027, 8, 1))
    assert (world.year.days, world.today, world.count_marks()) == ((), date(2027, 7, 25), 0)
    world.advance(date(2027, 8, 1))
    joiner = world.join(year_group="9")
    assert [held.group for held in world.memberships.values() if held.pupil == joiner.number] == [101]
    with pytest.raises(EditRefused, match="is no school day"):
        world.correct_mark(11, date(2027, 7, 26), "AM", "/")


@pytest.mark.parametrize("number", [1, 8_914_003])
def test_a_school_that_is_not_there_is_refused(folder: Path, number: int) -> None:
    with pytest.raises(SdsFormatError, match="no school has the number"):
        World.from_sds(folder, number)


def test_a_school_without_sections_is_refused(folder: Path) -> None:
    _replace("School.csv", "8914002", "8914009")(folder)
    with pytest.raises(SdsFormatError, match="no section belongs"):
        World.from_sds(folder, 8_914_009)


# --- a sample that nobody here wrote ---------------------------------------------------------------------


def _sample() -> Path:
    given = os.environ.get("SCHOOLGATE_SDS_DIR")
    return Path(given) if given else Path(__file__).parents[5] / "shared" / "data" / "sds-uk-100"


def _rows(file: str) -> Iterator[dict[str, str]]:
    with (_sample() / file).open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


@pytest.mark.sds
@pytest.mark.skipif(
    not _sample().is_dir(),
    reason="no School Data Sync sample: no ../shared/data/sds-uk-100, and SCHOOLGATE_SDS_DIR is not set",
)
def test_the_sample_has_in_the_world_what_it_has_in_the_files() -> None:
    schools = World.schools_in_sds(_sample())
    assert len(schools) == sum(1 for _ in _rows("School.csv"))
    sections = {row["ID"]: row["School DfE Number"] for row in _rows("Section.csv")}
    for school in schools:
        world = World.from_sds(_sample(), school.dfe_number)
        number = str(school.dfe_number)
        students = {row["ID"] for row in _rows("Student.csv") if row["School DfE Number"] == number}
        teachers = {row["ID"] for row in _rows("Teacher.csv") if row["School DfE Number"] == number}
        assert {str(pupil) for pupil in world.pupils} == students
        assert {str(member) for member in world.staff} == teachers
        assert {str(group) for group in world.groups} == {
            section for section, owner in sections.items() if owner == number
        }
        assert {(str(held.group), str(held.pupil)) for held in world.memberships.values()} == {
            (row["Section ID"], row["ID"])
            for row in _rows("StudentEnrollment.csv")
            if sections[row["Section ID"]] == number
        }
        assert {(str(held.group), str(held.staff)) for held in world.assignments.values()} == {
            (row["Section ID"], row["ID"])
            for row in _rows("TeacherRoster.csv")
            if sections[row["Section ID"]] == number
        }
        check(world)
