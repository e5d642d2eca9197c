"""Parsers of contacts, rooms, subjects, slots, lessons, behaviour, results and admissions."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.behaviour_pb2 import BehaviourEvent
from schoolgate.v1.groups_pb2 import Subject
from schoolgate.v1.people_pb2 import Contact, StudentContact
from schoolgate.v1.roll_pb2 import Admission, LocalCode
from schoolgate.v1.timetable_pb2 import Period, Room, TimetableEntry
from schoolgate_bromcom import parsers
from schoolgate_bromcom.settings import SETTINGS
from schoolgate_sdk import Parsed, Parser, Ref, Row, RowRejected, SourceKey

DEFAULTS = {spec.name: spec.default for spec in SETTINGS}
AGREEING = DEFAULTS | dict.fromkeys(
    ("employee_id_is_staff_id", "owner_id_is_staff_id", "class_id_is_collection_id"), "yes"
)
STUDENT = Ref("student_id", k.KIND_STUDENT, SourceKey("bromcom/student", (17,)))
CONTACTS = {
    "studentId": 17,
    "contact1Name": "Mrs Gráinne O'Brien          ",
    "contact1Telephone": "07700 900001",
    "contact1Email": "",
    "contact1Relationship": "PAM",
    "contact1ParentalResponsibility": "Yes",
    "contact2Name": None,
    "contact2ParentalResponsibility": "No",
    "contact3Email": "carer@mail.example",
    "contact3ParentalResponsibility": None,
}
PERIOD: Row = {
    "calendarModelID": 41,
    "calendarModelName": "MON_1_1             ",
    "calendarTypeName": "PERIOD         ",
    "weekNumber": 1,
    "dayOfWeek": 1,
    "periodDisplayName": "Mon1 P1        ",
    "defaultStartTime": "1900-01-01T09:09:00",
    "defaultEndTime": "1900-01-02T10:09:00",
}
ENTRY = {
    "collectionID": 5,
    "calendarModelID": 41,
    "employeeID": 3,
    "locationID": 12,
    "startDate": "2026-09-01T00:00:00",
    "endDate": "2027-07-20T00:00:00",
}
EVENT = {
    "eventRecordId": 900,
    "studentId": 17,
    "eventId": 7,
    "ownerId": 3,
    "classId": 5,
    "locationId": 12,
    "eventDate": "2026-09-22T10:05:00",
    "adjustment": -2,
    "comment": " Talked ",
    "internalComment": "",
}
RESULT = {
    "studentId": 17,
    "assessmentTypeName": "Autumn assessment       ",
    "result": "7 ",
    "enteredDate": "2026-09-09T00:00:00",
    "termName": "Autumn",
    "yearGroupName": "Year 8",
    "subjectName": "Mathematics",
    "isGrade": "Yes",
}


def parse(parser: Parser, row: Row, settings: dict[str, str] | None = None) -> list[Parsed]:
    return list(parser(row, DEFAULTS if settings is None else settings))


def rejected(parser: Parser, row: Row) -> RowRejected:
    with pytest.raises(RowRejected) as caught:
        parse(parser, row)
    return caught.value


class TestContacts:
    def test_each_position_is_a_contact_and_its_link(self) -> None:
        first, link, third, third_link = parse(parsers.parse_contacts, CONTACTS)
        assert first == Parsed(
            k.KIND_CONTACT,
            SourceKey("bromcom/student_contact_position", (17, 1)),
            Contact(full_name="Mrs Gráinne O'Brien", telephone="07700 900001"),
        )
        assert link == Parsed(
            k.KIND_STUDENT_CONTACT,
            SourceKey("bromcom/student_contact_position_link", (17, 1)),
            StudentContact(relationship_code="PAM", parental_responsibility=True),
            (STUDENT, Ref("contact_id", k.KIND_CONTACT, first.key)),
        )
        assert third.key.parts == third_link.key.parts == (17, 3)
        assert third.message == Contact(email="carer@mail.example")

    def test_siblings_share_no_contact_and_no_name_is_a_key(self) -> None:
        sibling = CONTACTS | {"studentId": 18}
        ours = {parsed.key for parsed in parse(parsers.parse_contacts, CONTACTS)}
        theirs = {parsed.key for parsed in parse(parsers.parse_contacts, sibling)}
        assert not ours & theirs
        assert all(type(part) is int for key in ours for part in key.parts)

    def test_a_pupil_without_contacts_yields_none(self) -> None:
        row = {"studentId": 17, "contact1Name": " ", "contact1ParentalResponsibility": "No"}
        assert parse(parsers.parse_contacts, row) == []

    def test_g09_nobody_in_particular_is_left_out_with_a_decision_and_costs_no_other(
        self,
    ) -> None:
        """Seen to fail where such a position was passed over."""
        row = CONTACTS | {"contact2Relationship": "GPM"}
        first, *others = parse(parsers.parse_contacts, row)
        assert [first._replace(left_out=()), *others] == parse(parsers.parse_contacts, CONTACTS)
        assert not any(each.left_out for each in others)
        [left_out] = first.left_out
        assert (left_out.reason, left_out.field) == (
            diagnostics.DECISION_REASON_VALUE_INVALID,
            "contact2Relationship",
        )
        assert left_out.key == SourceKey("bromcom/student_contact_position_link", (17, 2))
        assert "GPM" not in left_out.detail

    def test_g09_a_row_of_nobody_but_what_they_are_is_refused(self) -> None:
        """Seen to fail where it yielded nothing, which counts against the parser."""
        row = {"studentId": 17, "contact1Relationship": "PAM", "contact3Relationship": "GPM"}
        verdict = rejected(parsers.parse_contacts, row)
        assert verdict.reason == diagnostics.DECISION_REASON_VALUE_INVALID
        assert verdict.field == "contact1Relationship, contact3Relationship"
        assert verdict.key == SourceKey("bromcom/student_contact_position_link", (17, 1))

    def test_a_flag_that_is_neither_yes_nor_no_names_its_column_and_leaves_all_contacts_alone(self) -> None:
        verdict = rejected(parsers.parse_contacts, CONTACTS | {"contact3ParentalResponsibility": "Secret"})
        assert (verdict.field, verdict.key) == ("contact3ParentalResponsibility", None)
        assert "Secret" not in str(verdict)


class TestAdmissions:
    def test_version_2_yields_the_number_in_the_register(self) -> None:
        row = {"studentId": 17, "admissionNumber": 2020017, "enrolmentStartDate": "2026-09-01"}
        assert parse(parsers.parse_student_2, row)[:2] == parse(parsers.parse_student, row)
        assert parse(parsers.parse_student_2, row)[2] == Parsed(
            k.KIND_ADMISSION,
            SourceKey("bromcom/admission", (17,)),
            Admission(admission_number="2020017"),
            (STUDENT,),
        )

    def test_there_is_none_without_a_number(self) -> None:
        row = {"studentId": 17, "admissionNumber": 0}
        assert parse(parsers.parse_student_2, row) == parse(parsers.parse_student, row)


class TestConfiguredColumns:
    def test_rooms_and_subjects_are_read_from_the_columns_that_are_configured(self) -> None:
        settings = DEFAULTS | {"column_room_code": "roomRef", "column_subject_code": "abbreviation"}
        room = {"LocationID": 12, "roomRef": "B12 ", "locationName": "Lab 2       "}
        assert parse(parsers.parse_room, room, settings) == [
            Parsed(k.KIND_ROOM, SourceKey("bromcom/location", (12,)), Room(code="B12", name="Lab 2"))
        ]
        subject = {"subjectID": 2, "abbreviation": "Ma", "subjectName": "Mathematics"}
        assert parse(parsers.parse_subject, subject, settings) == [
            Parsed(k.KIND_SUBJECT, SourceKey("bromcom/subject", (2,)), Subject(code="Ma", name="Mathematics"))
        ]

    def test_nothing_is_guessed_where_no_column_is_configured(self) -> None:
        [room] = parse(parsers.parse_room, {"locationID": 12, "code": "B12", "locationName": "DEFAULT"})
        assert room.message == Room()
        [kind] = parse(parsers.parse_behaviour_type, {"eventId": 7, "eventName": "Detention"})
        assert kind == Parsed(
            k.KIND_LOCAL_CODE,
            SourceKey("bromcom/behaviour_event", (7,)),
            LocalCode(category="behaviour_type", code="7"),
        )

    def test_a_type_of_behaviour_is_described_by_the_configured_column(self) -> None:
        settings = DEFAULTS | {"column_behaviour_type_id": "id", "column_behaviour_type_name": "eventName"}
        [kind] = parse(parsers.parse_behaviour_type, {"id": 7, "eventName": "Detention  "}, settings)
        assert kind.message == LocalCode(category="behaviour_type", code="7", description="Detention")


class TestPeriods:
    def test_a_slot_has_its_times_as_hours_and_minutes(self) -> None:
        assert parse(parsers.parse_period, PERIOD) == [
            Parsed(
                k.KIND_PERIOD,
                SourceKey("bromcom/calendar_model", (41,)),
                Period(
                    name="Mon1 P1",
                    type_code="PERIOD",
                    week=1,
                    weekday=1,
                    start_time="09:09",
                    end_time="10:09",
                ),
            )
        ]

    @pytest.mark.parametrize(
        ("model", "number", "weekday"),
        [("TUE_1_1", 3, 2), ("tue_am_1", None, 2), ("A_1", 3, 3), (None, 5, 5)],
    )
    def test_the_name_of_the_day_counts_before_its_number(
        self, model: str | None, number: int | None, weekday: int
    ) -> None:
        row = {**PERIOD, "calendarModelName": model, "dayOfWeek": number}
        [period] = parse(parsers.parse_period, row)
        assert period.message == Period(
            name="Mon1 P1", type_code="PERIOD", week=1, weekday=weekday, start_time="09:09", end_time="10:09"
        )

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("defaultStartTime", "25:00"),
            ("defaultEndTime", "2026-09-01T09:00:00"),
            ("dayOfWeek", 8),
            ("weekNumber", 5_000_000_000),
        ],
    )
    def test_what_is_no_time_day_or_week_rejects_the_row(self, column: str, value: Any) -> None:
        verdict = rejected(parsers.parse_period, {**PERIOD, "calendarModelName": "", column: value})
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, column)
        assert verdict.key == SourceKey("bromcom/calendar_model", (41,))


class TestTimetableEntries:
    def test_an_entry_refers_to_class_slot_teacher_and_room(self) -> None:
        assert parse(parsers.parse_timetable_entry, ENTRY, AGREEING) == [
            Parsed(
                k.KIND_TIMETABLE_ENTRY,
                SourceKey("bromcom/collection_timetable", (5, 41, 3, 12, "2026-09-01")),
                TimetableEntry(valid_from="2026-09-01", valid_to="2027-07-21"),
                (
                    Ref("group_id", k.KIND_GROUP, SourceKey("bromcom/collection", (5,))),
                    Ref("period_id", k.KIND_PERIOD, SourceKey("bromcom/calendar_model", (41,))),
                    Ref("staff_id", k.KIND_STAFF, SourceKey("bromcom/staff", (3,))),
                    Ref("room_id", k.KIND_ROOM, SourceKey("bromcom/location", (12,))),
                ),
            )
        ]

    def test_an_employee_is_a_member_of_staff_only_where_the_school_says_so(self) -> None:
        [entry] = parse(parsers.parse_timetable_entry, ENTRY)
        assert Ref("staff_id", k.KIND_STAFF, SourceKey("bromcom/employee", (3,))) in entry.refs

    def test_nobody_and_no_room_are_no_references(self) -> None:
        row = ENTRY | {"employeeID": 0, "locationID": None, "startDate": ""}
        [entry] = parse(parsers.parse_timetable_entry, row, AGREEING)
        assert entry.key.parts == (5, 41, 0, 0)
        assert [ref.field for ref in entry.refs] == ["group_id", "period_id"]

    @pytest.mark.parametrize("column", ["collectionID", "calendarModelID"])
    def test_class_and_slot_are_needed(self, column: str) -> None:
        verdict = rejected(parsers.parse_timetable_entry, ENTRY | {column: 0})
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_KEY_MISSING, column)


class TestBehaviour:
    def test_an_event(self) -> None:
        assert parse(parsers.parse_behaviour_event, EVENT, AGREEING) == [
            Parsed(
                k.KIND_BEHAVIOUR_EVENT,
                SourceKey("bromcom/behaviour_event_record", (900,)),
                BehaviourEvent(type_code="7", occurred_at="2026-09-22T10:05:00", points=-2, comment="Talked"),
                (
                    STUDENT,
                    Ref("staff_id", k.KIND_STAFF, SourceKey("bromcom/staff", (3,))),
                    Ref("group_id", k.KIND_GROUP, SourceKey("bromcom/collection", (5,))),
                    Ref("room_id", k.KIND_ROOM, SourceKey("bromcom/location", (12,))),
                ),
            )
        ]

    def test_numbers_that_nobody_says_agree_stay_in_spaces_of_their_own(self) -> None:
        [event] = parse(parsers.parse_behaviour_event, EVENT)
        assert {ref.key.namespace for ref in event.refs} == {
            "bromcom/student",
            "bromcom/owner",
            "bromcom/class",
            "bromcom/location",
        }

    def test_zero_is_no_class_no_room_and_nobody_and_is_a_number_of_points(self) -> None:
        row = EVENT | {"ownerId": 0, "classId": 0, "locationId": 0, "adjustment": 0}
        [event] = parse(parsers.parse_behaviour_event, row)
        assert event.refs == (STUDENT,)
        assert isinstance(event.message, BehaviourEvent)
        assert event.message.points == 0
        assert event.message.HasField("points")

    @pytest.mark.parametrize(
        ("column", "value"), [("adjustment", "many"), ("eventDate", "yesterday"), ("eventId", -4)]
    )
    def test_what_cannot_be_read_is_named_with_the_key(self, column: str, value: object) -> None:
        verdict = rejected(parsers.parse_behaviour_event, EVENT | {column: value})
        assert (verdict.field, verdict.key) == (column, SourceKey("bromcom/behaviour_event_record", (900,)))


class TestResults:
    def test_a_result_is_known_by_pupil_assessment_subject_term_and_year(self) -> None:
        assert parse(parsers.parse_assessment_result, RESULT) == [
            Parsed(
                k.KIND_ASSESSMENT_RESULT,
                SourceKey(
                    "bromcom/assessment_result",
                    (17, "Autumn assessment", 7, "Mathematics", "Autumn", "Year 8"),
                ),
                AssessmentResult(
                    assessment_name="Autumn assessment",
                    result="7",
                    is_grade=True,
                    entered_on="2026-09-09",
                    term_name="Autumn",
                    year_group_code="Year 8",
                    subject_name="Mathematics",
                ),
                (STUDENT,),
            )
        ]

    def test_a_result_entered_anew_is_the_same_result(self) -> None:
        again = RESULT | {"result": "8", "enteredDate": "2026-10-01T00:00:00"}
        [before], [after] = (parse(parsers.parse_assessment_result, row) for row in (RESULT, again))
        assert before.key == after.key
        assert before.message != after.message

    def test_what_is_missing_is_not_confused_with_a_name(self) -> None:
        missing = RESULT | {"subjectName": "UNKNOWN", "termName": ""}
        named = RESULT | {"subjectName": "0", "termName": "0"}
        [one], [other] = (parse(parsers.parse_assessment_result, row) for row in (missing, named))
        assert one.key.parts == (17, "Autumn assessment", 4, "Year 8")
        assert one.key != other.key

    def test_a_result_of_no_assessment_has_no_key(self) -> None:
        verdict = rejected(parsers.parse_assessment_result, RESULT | {"assessmentTypeName": " "})
        assert (verdict.reason, verdict.field) == (
            diagnostics.DECISION_REASON_KEY_MISSING,
            "assessmentTypeName",
        )
