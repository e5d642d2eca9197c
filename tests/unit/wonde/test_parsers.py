"""Parsers of Wonde's rows, as far as the kit's worlds do not get: the rows that public sources quote."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1.kind_pb2 import KIND_CONTACT, KIND_STUDENT
from schoolgate.v1.people_pb2 import Contact, Staff, Student, StudentContact
from schoolgate.v1.timetable_pb2 import TimetableEntry
from schoolgate_sdk import RowRejected, SchemaChanged, SourceKey
from schoolgate_wonde.datasets import BY_NAME, WondeDataset
from schoolgate_wonde.parsers.groups import parse_group
from schoolgate_wonde.parsers.people import (
    parse_contact,
    parse_employee,
    parse_student,
    parse_student_contact,
)
from schoolgate_wonde.parsers.records import parse_mark
from schoolgate_wonde.parsers.timetable import parse_lesson

BORN = {"date": "2002-09-29 00:00:00.000000", "timezone_type": 3, "timezone": "Europe/London"}
STUDENT: dict[str, Any] = {
    "id": "A1039521228",
    "upi": "2f7a1c",
    "mis_id": "4711",
    "surname": "Sutton",
    "forename": "Ella",
    "middle_names": "Rose",
    "legal_surname": "Sutton-Reid",
    "legal_forename": "Eleanor",
    "gender": "FEMALE",
    "date_of_birth": BORN,
}
RELATIONSHIP = {
    "bill_payer": True,
    "lives_with_pupil": True,
    "court_order": False,
    "pupil_report": True,
    "parental_responsibility": True,
    "correspondence": None,
    "priority": 1,
    "relationship": "Mother",
}


def student(**changed: object) -> Student:
    [parsed] = parse_student({**STUDENT, **changed}, {})
    assert isinstance(parsed.message, Student)
    return parsed.message


def test_a_pupil_has_legal_names_and_what_they_are_called() -> None:
    assert student() == Student(
        forename="Eleanor",
        middle_names="Rose",
        surname="Sutton-Reid",
        preferred_forename="Ella",
        preferred_surname="Sutton",
        date_of_birth="2002-09-29",
        sex_code="FEMALE",
    )


def test_without_a_legal_name_the_other_is_all_that_is_known() -> None:
    found = student(legal_forename=None, legal_surname=" ")
    assert (found.forename, found.surname) == ("Ella", "Sutton")
    assert not found.HasField("preferred_forename")
    assert not found.HasField("preferred_surname")


def test_a_pupil_is_known_by_three_ids_each_in_a_space_of_its_own() -> None:
    [parsed] = parse_student(STUDENT, {})
    assert parsed.key == SourceKey("wonde/student", ("A1039521228",))
    assert parsed.other_keys == (
        SourceKey("wonde/student_upi", ("2f7a1c",)),
        SourceKey("wonde/student_mis_id", ("4711",)),
    )
    [numbered] = parse_student({**STUDENT, "mis_id": 4711}, {})
    assert numbered.other_keys == parsed.other_keys


@pytest.mark.parametrize("upi", [None, "", "  "])
def test_g09_who_has_no_upi_is_a_pupil_all_the_same(upi: str | None) -> None:
    """Seen to fail with a parser that returns nothing without a ``upi``."""
    [parsed] = parse_student({**STUDENT, "upi": upi}, {})
    assert parsed.message == student()
    assert parsed.other_keys == (SourceKey("wonde/student_mis_id", ("4711",)),)
    [without] = parse_student({name: STUDENT[name] for name in STUDENT if name != "upi"}, {})
    assert without == parsed


def test_somebody_who_is_pupil_and_contact_is_a_record_of_each_kind() -> None:
    [pupil] = parse_student(STUDENT, {})
    [contact] = parse_contact({**STUDENT, "id": "A1039521228"}, {})
    assert (pupil.kind, contact.kind) == (KIND_STUDENT, KIND_CONTACT)
    assert pupil.key.parts == contact.key.parts
    assert pupil.key != contact.key
    assert {key.namespace for key in pupil.other_keys}.isdisjoint(key.namespace for key in contact.other_keys)
    assert contact.message == Contact(forename="Ella", surname="Sutton")


def links(*relationships: dict[str, Any]) -> list[StudentContact]:
    """Return what one contact is to as many pupils."""
    dataset = BY_NAME["student_contacts"]
    found: list[StudentContact] = []
    for number, relationship in enumerate(relationships):
        nested = {"data": [{"id": "A77", "surname": "Reid", "relationship": relationship}]}
        [row] = dataset.rows("students", {**STUDENT, "id": f"A{number}", "contacts": nested})
        [parsed] = parse_student_contact(row, {})
        assert parsed.key == SourceKey("wonde/student_contact", (f"A{number}", "A77"))
        assert [ref.key.parts for ref in parsed.refs] == [(f"A{number}",), ("A77",)]
        assert isinstance(parsed.message, StudentContact)
        found.append(parsed.message)
    return found


def test_one_contact_is_something_else_to_each_pupil() -> None:
    other = {**RELATIONSHIP, "lives_with_pupil": False, "priority": None, "relationship": "Carer"}
    one, two = links(RELATIONSHIP, other)
    assert one == StudentContact(
        relationship_code="Mother",
        priority=1,
        parental_responsibility=True,
        lives_with=True,
        court_order=False,
    )
    assert (two.relationship_code, two.lives_with) == ("Carer", False)
    assert not two.HasField("priority")


def test_two_contacts_of_one_priority_are_two() -> None:
    nested = {"data": [{"id": name, "relationship": RELATIONSHIP} for name in ("A1", "A2")]}
    rows = BY_NAME["student_contacts"].rows("students", {**STUDENT, "contacts": nested})
    keys = [parsed.key for row in rows for parsed in parse_student_contact(row, {})]
    assert len(set(keys)) == 2


def test_a_class_and_a_group_of_one_id_are_two() -> None:
    """The same id in two resources is not known to be one entity (G05)."""
    [one] = parse_group({"_resource": "classes", "id": "A5", "name": "8x/Ma1", "subject_id": "A9"}, {})
    [two] = parse_group({"_resource": "groups", "id": "A5", "name": "8X", "type": "Registration"}, {})
    assert one.key != two.key
    assert [ref.key for ref in one.refs] == [SourceKey("wonde/subject", ("A9",))]
    assert not two.refs


def test_a_lesson_is_an_entry_of_one_day() -> None:
    [parsed] = parse_lesson({"id": "A5", "start_at": BORN, "class_id": "A1", "room_id": None}, {})
    assert parsed.message == TimetableEntry(valid_from="2002-09-29", valid_to="2002-09-30")
    assert [ref.key.parts for ref in parsed.refs] == [("classes", "A1")]


def test_settings_say_where_fields_are() -> None:
    row = {**STUDENT, "unique_pupil_number": " W857243718001 ", "gender": "MALE"}
    [parsed] = parse_student(row, {"fields_students": "upn=unique_pupil_number, email="})
    assert isinstance(parsed.message, Student)
    assert parsed.message.upn == "W857243718001"


def test_what_nothing_public_names_is_read_where_the_school_says_it_stands() -> None:
    """Seen to fail where the settings knew no such names: SEN provision and the like could not be had."""
    row = {**STUDENT, "extended_details": {"data": {"sen": "K ", "premium": True, "eal": "0"}}}
    assert student(**row) == student()
    said = (
        "sen_provision_code=extended_details.data.sen, pupil_premium=extended_details.data.premium, "
        "english_additional_language=extended_details.data.eal"
    )
    [parsed] = parse_student(row, {"fields_students": said})
    expected = Student(sen_provision_code="K", pupil_premium=True, english_additional_language=False)
    expected.MergeFrom(student())
    assert parsed.message == expected
    employee = {"id": "A1", "surname": "Reid", "initials": "MR"}
    [parsed] = parse_employee(employee, {"fields_employees": "staff_code=initials"})
    assert parsed.message == Staff(surname="Reid", staff_code="MR")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": None}, "id"),
        ({"id": 1039521228}, "id"),
        ({"date_of_birth": {"timezone": "Europe/London"}}, "date_of_birth"),
        ({"date_of_birth": "29/09/2002"}, "date_of_birth"),
        ({"education_details": [1]}, "education_details.data.upn"),
        ({"_resource": "employees"}, "_resource"),
    ],
)
def test_what_cannot_be_understood_rejects_the_row_by_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(RowRejected) as rejected:
        parse_student({**STUDENT, **changed}, {})
    assert rejected.value.field == field
    assert "2002" not in str(rejected.value)


@pytest.mark.parametrize("missing", ["student_id", "date", "session"])
def test_a_mark_is_nothing_without_pupil_day_and_session(missing: str) -> None:
    row = {"id": "A1", "student_id": "A2", "date": BORN, "session": "AM"}
    assert parse_mark(row, {})
    with pytest.raises(RowRejected) as rejected:
        parse_mark({**row, missing: None}, {})
    assert rejected.value.key == SourceKey("wonde/attendance", ("attendance/session", "A1"))


@pytest.mark.parametrize("dataset", ["student_contacts", "group_memberships", "staff_assignments"])
@pytest.mark.parametrize("holder", [None, [], {"data": None}, {"data": {"id": "A1"}}, {}])
def test_g09_what_is_nested_and_cannot_be_read_is_refused_and_not_the_whole_dataset(
    dataset: str, holder: object
) -> None:
    """Seen to fail where one such row ended the dataset, without a decision about it."""
    found = BY_NAME[dataset]
    [row] = found.rows("students", {"id": "A1", found.nested: holder})
    with pytest.raises(RowRejected) as refused:
        list(found.parser(row, {}))
    assert refused.value.key is None


@pytest.mark.parametrize("dataset", BY_NAME.values(), ids=BY_NAME)
def test_g09_an_item_that_is_no_object_is_refused(dataset: WondeDataset) -> None:
    """Seen to fail where what nests in it counted as not sent."""
    [row] = dataset.rows("students", {})
    with pytest.raises(RowRejected):
        list(dataset.parser(row, {}))


def test_g09_what_is_nested_and_not_sent_is_refused_where_other_rows_have_it() -> None:
    """Seen to fail where each row must have it: one ended the dataset, without a decision about it."""
    dataset = BY_NAME["student_contacts"]
    dataset.check_nested("students", [{"id": "A1"}, {"id": "A2", "contacts": {"data": []}}, {}])
    [row] = dataset.rows("students", {"id": "A1"})
    with pytest.raises(RowRejected):
        list(dataset.parser(row, {}))


def test_what_was_not_sent_at_all_is_a_change_of_schema() -> None:
    with pytest.raises(SchemaChanged, match="contacts"):
        BY_NAME["student_contacts"].check_nested("students", [{"id": "A1"}, {}])
    BY_NAME["student_contacts"].check_nested("students", [{}])
    BY_NAME["students"].check_nested("students", [{"id": "A1"}])
