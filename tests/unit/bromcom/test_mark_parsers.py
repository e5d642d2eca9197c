"""Parsers of attendance marks, in both versions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from schoolgate.v1 import attendance_pb2
from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as k
from schoolgate_bromcom import parsers
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_sdk import Parsed, Parser, Ref, Row, SourceKey
from tests.unit.bromcom.parsing import NO_SETTINGS, parse, rejected


def mark_row(**changed: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "studentId": 17,
        "calendarStartDate": "2026-09-03T00:00:00",
        "periodDisplayName": "AM",
        "mark": "/",
        "attendanceComment": None,
    }
    return row | changed


def mark_of(parser: Parser, row: Row) -> attendance_pb2.AttendanceMark:
    message = parse(parser, row)[0].message
    assert isinstance(message, attendance_pb2.AttendanceMark)
    return message


class TestAttendanceMark:
    def test_session_mark(self) -> None:
        assert parse(parsers.parse_attendance_mark, mark_row()) == [
            Parsed(
                k.KIND_ATTENDANCE_MARK,
                SourceKey("bromcom/attendance", (17, "2026-09-03", "AM")),
                attendance_pb2.AttendanceMark(
                    date="2026-09-03",
                    session=attendance_pb2.ATTENDANCE_SESSION_AM,
                    period_name="AM",
                    code="/",
                ),
                (Ref("student_id", k.KIND_STUDENT, SourceKey("bromcom/student", (17,))),),
            )
        ]

    def test_padding_makes_no_other_period(self) -> None:
        padded = mark_row(periodDisplayName="AM             ", mark="/ ", studentId="17 ")
        assert parse(parsers.parse_attendance_mark, padded) == parse(
            parsers.parse_attendance_mark, mark_row()
        )

    @pytest.mark.parametrize(
        ("period", "session"),
        [
            ("AM", attendance_pb2.ATTENDANCE_SESSION_AM),
            ("pm ", attendance_pb2.ATTENDANCE_SESSION_PM),
            ("P3", attendance_pb2.ATTENDANCE_SESSION_LESSON),
            ("Mon:3", attendance_pb2.ATTENDANCE_SESSION_LESSON),
        ],
    )
    def test_sessions_and_lessons(
        self, period: str, session: attendance_pb2.AttendanceSession.ValueType
    ) -> None:
        message = parse(parsers.parse_attendance_mark, mark_row(periodDisplayName=period))[0].message
        assert isinstance(message, attendance_pb2.AttendanceMark)
        assert (message.period_name, message.session) == (period.strip(), session)

    @pytest.mark.parametrize("code", ["\\", "L", "C1", "J1", "Y7", "#"])
    def test_codes_of_one_and_two_characters(self, code: str) -> None:
        message = parse(parsers.parse_attendance_mark, mark_row(mark=code))[0].message
        assert isinstance(message, attendance_pb2.AttendanceMark)
        assert message.code == code

    def test_a_list_of_marks_is_no_mark(self) -> None:
        verdict = rejected(parsers.parse_attendance_mark, mark_row(mark="/,\\,L"))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, "mark")
        assert verdict.key == SourceKey("bromcom/attendance", (17, "2026-09-03", "AM"))

    def test_no_mark_is_a_mark_without_code(self) -> None:
        message = parse(parsers.parse_attendance_mark, mark_row(mark=" "))[0].message
        assert isinstance(message, attendance_pb2.AttendanceMark)
        assert not message.HasField("code")

    def test_comment(self) -> None:
        message = parse(parsers.parse_attendance_mark, mark_row(attendanceComment=" Dentist "))[0].message
        assert isinstance(message, attendance_pb2.AttendanceMark)
        assert message.comment == "Dentist"

    def test_columns_in_any_case_and_order_and_missing_ones(self) -> None:
        row = {"MARK": "/", "PeriodDisplayName": "AM", "StudentID": 17, "calendarstartdate": "2026-09-03"}
        assert parse(parsers.parse_attendance_mark, row) == parse(parsers.parse_attendance_mark, mark_row())

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("studentId", None),
            ("studentId", 0),
            ("calendarStartDate", ""),
            ("calendarStartDate", "1900-01-01T00:00:00"),
            ("periodDisplayName", "   "),
            ("periodDisplayName", None),
        ],
    )
    def test_no_key(self, column: str, value: object) -> None:
        verdict = rejected(parsers.parse_attendance_mark, mark_row(**{column: value}))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_KEY_MISSING, column)
        assert verdict.key is None

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("studentId", "seventeen"),
            ("studentId", True),
            ("studentId", 1 << 70),
            ("calendarStartDate", "3 September"),
            ("calendarStartDate", ["2026-09-03"]),
            ("periodDisplayName", {"name": "AM"}),
            ("periodDisplayName", "A" * 5000),
            ("periodDisplayName", 3),
            ("mark", ["/"]),
            ("mark", 7),
            ("attendanceComment", ["x"]),
        ],
    )
    def test_hostile_values_are_named_and_not_quoted(self, column: str, value: object) -> None:
        verdict = rejected(parsers.parse_attendance_mark, mark_row(**{column: value}))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, column)
        assert "seventeen" not in str(verdict)


class TestAttendanceMarkVersion2:
    """The same column since August 2024: one of Marks, and one of AttendanceMarkSubcodes."""

    @pytest.mark.parametrize("code", ["/", "\\", "L", "#", "C1", "C2", "J1", *(f"Y{n}" for n in range(1, 8))])
    def test_codes_of_the_law_stay_whole(self, code: str) -> None:
        """Seen to fail without the table of statutory codes: C1 became C, and Y1 the retired Y."""
        row = mark_row(mark=code)
        assert parse(parsers.parse_attendance_mark_2, row) == parse(parsers.parse_attendance_mark, row)
        assert mark_of(parsers.parse_attendance_mark_2, row).code == code

    @pytest.mark.parametrize(
        ("text", "code", "subcode"),
        [("MD", "M", "D"), ("I01", "I", "01"), ("X02  ", "X", "02"), ("C9", "C", "9"), ("Y8", "Y", "8")],
    )
    def test_of_other_texts_the_first_character_is_the_code(self, text: str, code: str, subcode: str) -> None:
        message = mark_of(parsers.parse_attendance_mark_2, mark_row(mark=text))
        assert (message.code, message.subcode) == (code, subcode)

    @pytest.mark.parametrize("text", ["MD", "I,"])
    def test_version_1_takes_two_characters_for_a_code(self, text: str) -> None:
        message = mark_of(parsers.parse_attendance_mark, mark_row(mark=text))
        assert (message.code, message.HasField("subcode")) == (text, False)

    def test_version_1_rejects_three_characters(self) -> None:
        verdict = rejected(parsers.parse_attendance_mark, mark_row(mark="I01"))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, "mark")

    @pytest.mark.parametrize("text", ["/,\\,L", "I,", "/\\", "I é", "I\u00b2", "M" + "1" * 9])
    def test_several_marks_in_one_text_are_not_taken_for_the_first(self, text: str) -> None:
        verdict = rejected(parsers.parse_attendance_mark_2, mark_row(mark=text))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, "mark")
        assert verdict.key == SourceKey("bromcom/attendance", (17, "2026-09-03", "AM"))

    def test_no_mark_is_a_mark_without_code(self) -> None:
        message = mark_of(parsers.parse_attendance_mark_2, mark_row(mark=" "))
        assert not message.HasField("code")
        assert not message.HasField("subcode")

    @pytest.mark.parametrize("value", [["/"], 7, {"mark": "/"}])
    def test_hostile_marks_are_named(self, value: object) -> None:
        verdict = rejected(parsers.parse_attendance_mark_2, mark_row(mark=value))
        assert (verdict.reason, verdict.field) == (diagnostics.DECISION_REASON_VALUE_INVALID, "mark")


def test_version_1_of_marks_is_the_default_and_2_can_be_had() -> None:
    marks = next(dataset for dataset in DATASETS if dataset.name == "attendance_marks").describe()
    assert (marks.parser_version, marks.parser_versions) == (1, (1, 2))
    assert marks.at_version(2).parser is parsers.parse_attendance_mark_2


def test_g05_keys_compare_part_by_part() -> None:
    one = parse(parsers.parse_attendance_mark, mark_row(studentId=1, periodDisplayName="1"))[0].key
    other = parse(parsers.parse_attendance_mark, mark_row(studentId=11, periodDisplayName="1"))[0].key
    assert one.parts == (1, "2026-09-03", "1")
    assert one != other


@pytest.mark.slow
@pytest.mark.parametrize("parser", [parsers.parse_attendance_mark, parsers.parse_attendance_mark_2])
def test_marks_are_parsed_fast(parser: Parser) -> None:
    """The aim is 250,000 rows a second of processor time; the bound allows for a slow machine."""
    text = json.dumps(
        [
            mark_row(studentId=pupil, calendarStartDate=f"2026-09-{day:02}T00:00:00", periodDisplayName=name)
            for pupil in range(1, 501)
            for day in range(1, 31)
            for name in ("AM", "PM    ")
        ]
    )
    rows = json.loads(text)
    best = 0.0
    for _ in range(3):
        started = time.process_time()
        for row in rows:
            parser(row, NO_SETTINGS)
        best = max(best, len(rows) / (time.process_time() - started))
    print(f"{best:,.0f} rows/s")
    assert best > 100_000
