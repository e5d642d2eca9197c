from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import groups_pb2, people_pb2, roll_pb2
from schoolgate.v1 import kind_pb2 as k
from schoolgate_bromcom import parsers
from schoolgate_sdk import Parsed, Parser, Ref, Row, SourceKey
from tests.unit.bromcom.parsing import NO_SETTINGS, parse, rejected

SAME_NUMBERS: Mapping[str, str] = {"person_id_is_student_id": "yes"}

STUDENT_ROW: dict[str, Any] = {
    "studentId": 17,
    "personId": 90017,
    "firstName": "Zoë   ",
    "lastName": "O'Brien",
    "preferredFirstName": "",
    "genderCode": "F   ",
    "dateOfBirth": "2014-10-02T00:00:00",
    "upn": "R201100018042",
    "examNumber": "0",
    "admissionNumber": 4021,
    "ethnicityCode": "UNKNOWN",
    "provisionName": "K",
    "everFsm6Flag": "Yes",
    "ealFlag": "No",
    "inCareFlag": "",
    "premiumPupilFlag": True,
    "enrolmentStateName": "C",
    "enrolmentStartDate": "2025-09-01T00:00:00",
    "enrolmentEndDate": None,
    "yearGroup": "Year 8",
    "tutorGroupName": "NoTutorGrp",
    "contact1Name": "Mrs A O'Brien",
}


class TestStudent:
    def test_pupil_and_enrolment(self) -> None:
        student, enrolment = parse(parsers.parse_student, STUDENT_ROW)
        assert student == Parsed(
            k.KIND_STUDENT,
            SourceKey("bromcom/student", (17,)),
            people_pb2.Student(
                forename="Zoë",
                surname="O'Brien",
                sex_code="F",
                date_of_birth="2014-10-02",
                upn="R201100018042",
                admission_number="4021",
                sen_provision_code="K",
                free_school_meals_ever_6=True,
                english_additional_language=False,
                pupil_premium=True,
                year_group_code="Year 8",
            ),
            (),
            (SourceKey("bromcom/person", (90017,)),),
        )
        assert enrolment == Parsed(
            k.KIND_ENROLMENT,
            SourceKey("bromcom/enrolment", (17, "2025-09-01")),
            roll_pb2.Enrolment(status_code="C", year_group_code="Year 8", valid_from="2025-09-01"),
            (Ref("student_id", k.KIND_STUDENT, SourceKey("bromcom/student", (17,))),),
        )

    def test_columns_are_found_in_any_case(self) -> None:
        shouted = {name.upper(): value for name, value in STUDENT_ROW.items()}
        assert parse(parsers.parse_student, shouted) == parse(parsers.parse_student, STUDENT_ROW)

    def test_a_leavers_enrolment_ends_the_day_after_its_last(self) -> None:
        row = STUDENT_ROW | {"enrolmentEndDate": "2026-10-23T00:00:00"}
        enrolment = parse(parsers.parse_student, row)[1].message
        assert isinstance(enrolment, roll_pb2.Enrolment)
        assert enrolment.valid_to == "2026-10-24"

    def test_the_column_personid_joins_whatever_the_setting_says(self) -> None:
        for settings in (NO_SETTINGS, SAME_NUMBERS):
            student = parse(parsers.parse_student, STUDENT_ROW, settings)[0]
            assert student.other_keys == (SourceKey("bromcom/person", (90017,)),)

    def test_without_the_column_the_setting_joins(self) -> None:
        row = {name: value for name, value in STUDENT_ROW.items() if name != "personId"}
        student = parse(parsers.parse_student, row, SAME_NUMBERS)[0]
        assert student.other_keys == (SourceKey("bromcom/person", (17,)),)

    def test_without_either_nothing_joins(self) -> None:
        row = {name: value for name, value in STUDENT_ROW.items() if name != "personId"}
        assert parse(parsers.parse_student, row, NO_SETTINGS)[0].other_keys == ()

    def test_an_empty_personid_is_not_made_up(self) -> None:
        row = STUDENT_ROW | {"personId": 0}
        assert parse(parsers.parse_student, row, SAME_NUMBERS)[0].other_keys == ()

    def test_an_enrolment_without_first_day_is_keyed_without_it(self) -> None:
        row = STUDENT_ROW | {"enrolmentStartDate": ""}
        assert parse(parsers.parse_student, row)[1].key == SourceKey("bromcom/enrolment", (17,))

    def test_a_row_that_says_nothing_of_an_enrolment_yields_none(self) -> None:
        assert [parsed.kind for parsed in parse(parsers.parse_student, {"studentId": 17})] == [k.KIND_STUDENT]

    @pytest.mark.parametrize("number", [None, 0, "", "  "])
    def test_no_key(self, number: object) -> None:
        verdict = rejected(parsers.parse_student, STUDENT_ROW | {"studentId": number})
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_KEY_MISSING, "studentId")

    def test_a_bad_value_is_named_with_the_key_and_never_quoted(self) -> None:
        verdict = rejected(parsers.parse_student, STUDENT_ROW | {"ealFlag": "Perhaps"})
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, "ealFlag")
        assert verdict.key == SourceKey("bromcom/student", (17,))
        assert "Perhaps" not in str(verdict)

    def test_one_column_twice_in_different_case(self) -> None:
        verdict = rejected(parsers.parse_student, STUDENT_ROW | {"StudentID": 18})
        assert verdict.reason == diagnostics.DECISION_REASON_VALUE_INVALID


def test_staff() -> None:
    row = {"StaffId": 17, "Title": "Ms", "FirstName": "Ann ", "LastName": "Lee", "StaffCode": "ALE  ", "X": 1}
    assert parse(parsers.parse_staff, row) == [
        Parsed(
            k.KIND_STAFF,
            SourceKey("bromcom/staff", (17,)),
            people_pb2.Staff(title="Ms", forename="Ann", surname="Lee", staff_code="ALE"),
        )
    ]


def test_pupils_and_staff_of_one_number_are_two_people() -> None:
    student = parse(parsers.parse_student, STUDENT_ROW)[0]
    staff = parse(parsers.parse_staff, {"staffId": 17})[0]
    assert student.key != staff.key


def test_group() -> None:
    row = {
        "collectionID": 5,
        "name": "8x/Ma1 (26/27)      ",
        "description": "",
        "startDate": "2026-09-01T00:00:00",
        "endDate": "2027-08-31T00:00:00",
        "collectionTypeName": "CLASS",
    }
    assert parse(parsers.parse_group, row) == [
        Parsed(
            k.KIND_GROUP,
            SourceKey("bromcom/collection", (5,)),
            groups_pb2.Group(
                name="8x/Ma1", type_code="CLASS", valid_from="2026-09-01", valid_to="2027-09-01"
            ),
        )
    ]


def test_membership_names_its_pupil_by_the_number_as_a_person() -> None:
    row = {"collectionID": 5, "personID": 90017, "startDate": "2026-09-01T00:00:00", "endDate": "1900-01-01"}
    assert parse(parsers.parse_group_membership, row) == [
        Parsed(
            k.KIND_GROUP_MEMBERSHIP,
            SourceKey("bromcom/collection_associate", (5, 90017, "2026-09-01")),
            groups_pb2.GroupMembership(valid_from="2026-09-01"),
            (
                Ref("group_id", k.KIND_GROUP, SourceKey("bromcom/collection", (5,))),
                Ref("student_id", k.KIND_STUDENT, SourceKey("bromcom/person", (90017,))),
            ),
        )
    ]


def test_membership_without_first_day_is_keyed_without_it() -> None:
    row = {"collectionID": 5, "personID": 90017}
    assert parse(parsers.parse_group_membership, row)[0].key.parts == (5, 90017)


def test_assignment() -> None:
    row = {
        "staffID": 3,
        "collectionID": 5,
        "collectionRoleTypeDescription": "Main Teacher     ",
        "endDate": "2026-12-18T00:00:00",
    }
    assert parse(parsers.parse_staff_assignment, row) == [
        Parsed(
            k.KIND_STAFF_ASSIGNMENT,
            SourceKey("bromcom/collection_executive", (5, 3, "Main Teacher")),
            groups_pb2.StaffAssignment(role_code="Main Teacher", valid_to="2026-12-19"),
            (
                Ref("group_id", k.KIND_GROUP, SourceKey("bromcom/collection", (5,))),
                Ref("staff_id", k.KIND_STAFF, SourceKey("bromcom/staff", (3,))),
            ),
        )
    ]


@pytest.mark.parametrize(
    "parser",
    [
        parsers.parse_student,
        parsers.parse_staff,
        parsers.parse_group,
        parsers.parse_group_membership,
        parsers.parse_staff_assignment,
        parsers.parse_attendance_mark,
        parsers.parse_attendance_mark_2,
    ],
)
@pytest.mark.parametrize(
    "row",
    [{}, {"": 1}, {"studentId": {"a": [1]}}, {f"c{n}": n for n in range(1000)}, {"collectionID": "1;DROP"}],
)
def test_g18_no_row_makes_a_parser_fail_otherwise_than_by_its_verdict(parser: Parser, row: Row) -> None:
    rejected(parser, row)
