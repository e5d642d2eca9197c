"""The ten points of "What a connector must survive" that a parser or a reader alone can show.

Points 6, 9 and 10 need a MIS: they are shown over the simulator, in
``tests/contract/bromcom/test_must_survive.py``, and what the server makes of 6 in
``tests/integration/engine/test_bromcom_consent.py``.
"""

from __future__ import annotations

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.groups_pb2 import Group
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.timetable_pb2 import Period
from schoolgate_bromcom import parsers
from schoolgate_bromcom.settings import SETTINGS
from schoolgate_sdk import Parsed, Parser, Row, RowRejected

DEFAULTS = {spec.name: spec.default for spec in SETTINGS}


def parse(parser: Parser, row: Row, **settings: str) -> list[Parsed]:
    return list(parser(row, DEFAULTS | settings))


def _mark(**changes: object) -> Row:
    row = {
        "studentId": 17,
        "calendarStartDate": "2026-09-22T00:00:00",
        "periodDisplayName": "AM",
        "mark": "/",
    }
    return row | changes


def test_1_strings_padded_with_spaces_are_the_same_key() -> None:
    padded = _mark(periodDisplayName="AM             ", mark="/   ")
    assert parse(parsers.parse_attendance_mark, padded) == parse(parsers.parse_attendance_mark, _mark())
    result = {"studentId": 17, "assessmentTypeName": "Mock", "subjectName": "Art", "result": "7"}
    spaced = {name: f"{value}   " if isinstance(value, str) else value for name, value in result.items()}
    assert parse(parsers.parse_assessment_result, spaced) == parse(parsers.parse_assessment_result, result)


def test_2_duplicate_rows_are_equal_and_several_rows_of_one_slot_are_not_one() -> None:
    row: Row = {"collectionID": 5, "calendarModelID": 41, "employeeID": 3, "locationID": 12}
    assert parse(parsers.parse_timetable_entry, row) == parse(parsers.parse_timetable_entry, dict(row))
    changes: list[Row] = [{}, {"employeeID": 4}, {"locationID": 13}, {"startDate": "2026-10-05"}]
    rows: list[Row] = [{**row, **change} for change in changes]
    keys = [parsed.key for each in rows for parsed in parse(parsers.parse_timetable_entry, each)]
    assert len(set(keys)) == len(rows)


@pytest.mark.parametrize("written", ["1900-01-01T09:09:00", "1900-01-02T09:09:00", "1900-01-02 09:09:00.000"])
def test_3_times_of_day_come_on_the_first_days_of_1900(written: str) -> None:
    [parsed] = parse(parsers.parse_period, {"calendarModelID": 41, "defaultStartTime": written})
    assert parsed.message == Period(start_time="09:09")


def test_4_class_names_lose_their_year_suffix() -> None:
    [parsed] = parse(parsers.parse_group, {"collectionID": 5, "name": "8x/Ma1 (24/25)      "})
    assert parsed.message == Group(name="8x/Ma1")


def test_5_stand_ins_for_null_are_nothing_and_flags_come_in_two_forms() -> None:
    stand_ins = {"yearGroup": "NoTutorGrp", "provisionName": "DEFAULT", "ethnicityCode": "UNKNOWN"}
    row = {"studentId": 17, **stand_ins, "examNumber": "0", "studentEmail": ""}
    flags = {"ealFlag": "Yes", "inCareFlag": "No", "premiumPupilFlag": True}
    [pupil] = parse(parsers.parse_student_2, row | flags)
    expected = Student(english_additional_language=True, in_care=False, pupil_premium=True)
    assert pupil.message == expected
    [entry] = parse(
        parsers.parse_timetable_entry,
        {"collectionID": 5, "calendarModelID": 41, "employeeID": 0, "locationID": "0"},
    )
    assert {ref.field for ref in entry.refs} == {"group_id", "period_id"}


def test_7_person_student_and_staff_numbers_are_three_spaces() -> None:
    [pupil] = parse(parsers.parse_student, {"studentId": 17, "personId": 90})
    [member] = parse(parsers.parse_staff, {"staffId": 17})
    [membership] = parse(parsers.parse_group_membership, {"collectionID": 17, "personID": 90})
    assert len({pupil.key, member.key, *pupil.other_keys}) == 3
    assert membership.refs[1].key == pupil.other_keys[0]
    [unknown] = parse(parsers.parse_student, {"studentId": 17})
    assert unknown.other_keys == ()
    [agreed] = parse(parsers.parse_student, {"studentId": 17}, person_id_is_student_id="yes")
    assert agreed.other_keys[0].parts == (17,)


def test_8_since_august_2024_the_same_column_means_something_else() -> None:
    [before] = parse(parsers.parse_attendance_mark, _mark(mark="C1"))
    [after] = parse(parsers.parse_attendance_mark_2, _mark(mark="I01"))
    assert isinstance(before.message, AttendanceMark)
    assert isinstance(after.message, AttendanceMark)
    assert before.message.code == "C1"
    assert (after.message.code, after.message.subcode) == ("I", "01")
    for parser in (parsers.parse_attendance_mark, parsers.parse_attendance_mark_2):
        with pytest.raises(RowRejected) as refused:
            parse(parser, _mark(mark="/,\\"))
        assert refused.value.reason == diagnostics.DECISION_REASON_VALUE_INVALID
