"""Real input that nobody here wrote: a folder of School Data Sync files, from CSV to gRPC.

What must be found is counted from the files alone, with nothing of the code that serves them. The folder is
``SCHOOLGATE_SDS_DIR``, else ``../shared/data/sds-uk-100`` beside the checkout.
"""

from __future__ import annotations

import csv
import itertools
import os
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import sync_service_pb2 as pb
from tests.e2e.conftest import ROOT, Service
from tests.support.live import READ_KINDS, Live, key_parts, live, wire_key
from tests.support.simulator import start_simulator

FOLDER = Path(os.environ.get("SCHOOLGATE_SDS_DIR") or ROOT.parent / "shared" / "data" / "sds-uk-100")

pytestmark = [
    pytest.mark.mongod,
    pytest.mark.sds,
    pytest.mark.slow,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason=f"no School Data Sync files: {FOLDER} is not there (set SCHOOLGATE_SDS_DIR)",
    ),
]

DATASETS = ("students", "staff", "groups", "group_memberships", "staff_assignments")
"""All but the marks, of which the files hold none."""


@dataclass
class Expected:
    """One school as its files have it, by the IDs that stand there."""

    name: str
    pupils: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    staff: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    sections: dict[int, str] = field(default_factory=dict[int, str])
    members: dict[int, set[int]] = field(default_factory=lambda: defaultdict[int, set[int]](set))
    teachers: dict[int, set[int]] = field(default_factory=lambda: defaultdict[int, set[int]](set))

    def counts(self) -> dict[str, int]:
        """Return how many records of each kind there must be."""
        return dict.fromkeys(map(kinds.Kind.Name, READ_KINDS), 0) | {
            "KIND_STUDENT": len(self.pupils),
            "KIND_ENROLMENT": len(self.pupils),
            "KIND_ADMISSION": len(self.pupils),
            "KIND_STAFF": len(self.staff),
            "KIND_GROUP": len(self.sections),
            "KIND_GROUP_MEMBERSHIP": sum(map(len, self.members.values())),
            "KIND_STAFF_ASSIGNMENT": sum(map(len, self.teachers.values())),
        }


def rows_of(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def expected() -> dict[int, Expected]:
    """The schools of the files by their number. Every pupil of the sample is active."""
    schools = {int(row["DfE Number"]): Expected(row["Name"]) for row in rows_of("School.csv")}
    of = "School DfE Number"
    school_of_section: dict[int, int] = {}
    for row in rows_of("Student.csv"):
        assert row["Status"] == "Active"
        schools[int(row[of])].pupils[int(row["ID"])] = (row["First Name"].strip(), row["Last Name"].strip())
    for row in rows_of("Teacher.csv"):
        schools[int(row[of])].staff[int(row["ID"])] = (row["First Name"].strip(), row["Last Name"].strip())
    for row in rows_of("Section.csv"):
        schools[int(row[of])].sections[int(row["ID"])] = row["Section Name"].strip()
        school_of_section[int(row["ID"])] = int(row[of])
    for row in rows_of("StudentEnrollment.csv"):
        section = int(row["Section ID"])
        schools[school_of_section[section]].members[section].add(int(row["ID"]))
    for row in rows_of("TeacherRoster.csv"):
        section = int(row["Section ID"])
        schools[school_of_section[section]].teachers[section].add(int(row["ID"]))
    return schools


def school_id(number: int) -> str:
    return f"sds-{number}"


@pytest.fixture(scope="module")
def service(open_service: Service, expected: dict[int, Expected]) -> Generator[Live]:
    """A service that has synced every school of the files, and whose MIS stays up."""
    with (
        start_simulator("--data", str(FOLDER)) as simulator,
        live(open_service.target, open_service.log.parent / "data") as connected,
    ):
        assert set(simulator.schools) == set(expected)
        for number, school in expected.items():
            connected.register(school_id(number), simulator, number, display_name=school.name)
            run = connected.sync(school_id(number), *DATASETS)
            assert run.state == pb.RUN_STATE_SUCCEEDED, run
        yield connected


def test_the_counting_by_school_leaves_no_row_out(expected: dict[int, Expected]) -> None:
    totals = defaultdict[str, int](int)
    for school in expected.values():
        for kind, count in school.counts().items():
            totals[kind] += count
    assert len(rows_of("Student.csv")) == totals["KIND_STUDENT"] > 0
    assert len(rows_of("Teacher.csv")) == totals["KIND_STAFF"] > 0
    assert len(rows_of("Section.csv")) == totals["KIND_GROUP"] > 0
    assert len(rows_of("StudentEnrollment.csv")) == totals["KIND_GROUP_MEMBERSHIP"] > 0
    assert len(rows_of("TeacherRoster.csv")) == totals["KIND_STAFF_ASSIGNMENT"] > 0


def test_every_pupil_teacher_section_and_membership_is_found(
    service: Live, expected: dict[int, Expected]
) -> None:
    for number, school in expected.items():
        counted = {kinds.Kind.Name(kind): service.count(school_id(number), kind) for kind in READ_KINDS}
        assert counted == school.counts(), school.name
        listed = {kinds.Kind.Name(kind): len(service.records(school_id(number), kind)) for kind in READ_KINDS}
        assert listed == counted
        in_mongodb = {
            kinds.Kind.Name(kind): service.database["records"].count_documents(
                {"school": school_id(number), "kind": kinds.Kind.Name(kind).removeprefix("KIND_").lower()}
            )
            for kind in READ_KINDS
        }
        assert in_mongodb == counted


def test_everybody_has_their_name(service: Live, expected: dict[int, Expected]) -> None:
    for number, school in expected.items():
        pupils = {
            int(key_parts(record, "bromcom/student")[0]): (record.student.forename, record.student.surname)
            for record in service.records(school_id(number), kinds.KIND_STUDENT)
        }
        assert pupils == school.pupils
        staff = {
            int(key_parts(record, "bromcom/staff")[0]): (record.staff.forename, record.staff.surname)
            for record in service.records(school_id(number), kinds.KIND_STAFF)
        }
        assert staff == school.staff


def test_every_class_has_its_members_and_teachers(service: Live, expected: dict[int, Expected]) -> None:
    for number, school in expected.items():
        groups = {
            record.id: (int(key_parts(record, "bromcom/collection")[0]), record.group.name)
            for record in service.records(school_id(number), kinds.KIND_GROUP)
        }
        assert dict(groups.values()) == school.sections
        names = {
            record.id: (record.student.forename, record.student.surname)
            for record in service.records(school_id(number), kinds.KIND_STUDENT)
        } | {
            record.id: (record.staff.forename, record.staff.surname)
            for record in service.records(school_id(number), kinds.KIND_STAFF)
        }
        members = defaultdict[int, list[tuple[str, str]]](list)
        for record in service.records(school_id(number), kinds.KIND_GROUP_MEMBERSHIP):
            edge = record.group_membership
            members[groups[edge.group_id][0]].append(names[edge.student_id])
        teachers = defaultdict[int, list[tuple[str, str]]](list)
        for record in service.records(school_id(number), kinds.KIND_STAFF_ASSIGNMENT):
            assignment = record.staff_assignment
            teachers[groups[assignment.group_id][0]].append(names[assignment.staff_id])
        for section in school.sections:
            assert sorted(members[section]) == sorted(school.pupils[one] for one in school.members[section])
            assert sorted(teachers[section]) == sorted(school.staff[one] for one in school.teachers[section])


def test_a_pupil_is_found_by_number_and_by_name(service: Live, expected: dict[int, Expected]) -> None:
    for number, school in expected.items():
        pupil, (forename, surname) = next(iter(school.pupils.items()))
        by_key = service.query.GetRecord(
            q.GetRecordRequest(
                school_id=school_id(number),
                kind=kinds.KIND_STUDENT,
                source_key=wire_key("bromcom/student", pupil),
            )
        ).record
        assert (by_key.student.forename, by_key.student.surname) == (forename, surname)
        named = q.CountRecordsRequest(school_id=school_id(number), kind=kinds.KIND_STUDENT)
        named.filters.add(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=[surname])
        alike = sum(name[1] == surname for name in school.pupils.values())
        assert service.query.CountRecords(named).count == alike


def test_g17_schools_of_one_mis_share_nothing(service: Live, expected: dict[int, Expected]) -> None:
    ids = {number: set(service.everything(school_id(number))) for number in expected}
    for one, other in itertools.combinations(ids, 2):
        assert not ids[one] & ids[other]
        pupil = next(iter(expected[one].pupils))
        for asked in (one, other):
            found = service.database["records"].count_documents(
                {"school": school_id(asked), "keys": f'["bromcom/student",{pupil}]'}
            )
            assert found == (asked == one)


def test_g03_syncing_again_writes_nothing_but_the_run(service: Live, expected: dict[int, Expected]) -> None:
    before = service.fingerprints("runs")
    runs = service.database["runs"].count_documents({})
    for number in expected:
        run = service.sync(school_id(number), *DATASETS)
        assert (run.state, run.seq_after) == (pb.RUN_STATE_SUCCEEDED, run.seq_before)
    assert service.fingerprints("runs") == before
    assert service.database["runs"].count_documents({}) == runs + len(expected)


def test_g16_no_password_of_the_files_is_anywhere(
    service: Live, open_service: Service, expected: dict[int, Expected]
) -> None:
    passwords = {
        row["Password"].encode() for name in ("Student.csv", "Teacher.csv") for row in rows_of(name)
    } - {b""}
    assert passwords
    names = {name[1].encode() for school in expected.values() for name in school.pupils.values()}
    surnames = {name for name in names if len(name) > 4}  # others may come by chance in what is sealed
    assert surnames
    shown: set[str] = set()
    for name, rows in service.documents().items():
        for key, row in rows.items():
            for value in values_of(row):
                assert not any(password in value for password in passwords), (name, key)
                if name not in shown and any(surname in value for surname in surnames):
                    shown.add(name)
    # The scan does look into what is kept: it finds what must be there. Retained rows are sealed.
    assert "records" in shown
    assert "raw_pages" not in shown
    assert service.database["raw_pages"].count_documents({}) > 0
    log = open_service.log.read_bytes()
    assert not any(password in log for password in passwords)


def values_of(value: object) -> Iterator[bytes]:
    """Yield every name and value within a document as bytes, what is compressed decompressed too."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield name.encode()
            yield from values_of(inner)
    elif isinstance(value, list):
        for inner in cast("list[object]", value):
            yield from values_of(inner)
    elif isinstance(value, bytes):
        yield value
        with suppress(zlib.error):  # most are not compressed
            yield zlib.decompress(value)
    else:
        yield str(value).encode()
