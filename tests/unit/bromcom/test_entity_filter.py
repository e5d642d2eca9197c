"""The simulator's own reading of ``entityFilter``."""

from __future__ import annotations

from datetime import date

import pytest

from schoolgate_bromcom.simulator.entity_filter import FilterRefused, parse

ROW = {
    "studentid": 17,
    "calendarstartdate": date(2026, 9, 3),
    "enddate": None,
    "firstname": "Zoë  ",
    "lastname": "O'Brien",
}


@pytest.mark.parametrize(
    "predicate",
    [
        "",
        "1=1",
        "studentId = 17",
        "STUDENTID IN (3, 17)",
        "studentId <> 18 and studentId >= 17 AND studentId<=17",
        "calendarStartDate >= '20260901' AND calendarStartDate < '2026-10-01'",
        "calendarStartDate IN ('20260903')",
        "isnull(endDate,'')=''",
        "ISNULL(endDate, '') = '' AND studentId = 17",
        "lastName = 'o''brien'",
        "firstName = 'zoë'",
        "(studentId = 1 OR studentId = 17) AND 1=1",
        "1=0 OR studentId = 17",
    ],
)
def test_matches(predicate: str) -> None:
    assert parse(predicate)[0].matches(ROW)


@pytest.mark.parametrize(
    "predicate",
    [
        "1=0",
        "studentId = 18",
        "endDate = ''",
        "endDate < '20270101'",
        "calendarStartDate < '20260903'",
        "calendarStartDate = ''",
        "isnull(calendarStartDate,'')=''",
        "studentId = 17 AND (studentId = 1 OR 1=0)",
    ],
)
def test_does_not_match(predicate: str) -> None:
    assert not parse(predicate)[0].matches(ROW)


@pytest.mark.parametrize(
    "predicate",
    [
        "studentId",
        "studentId =",
        "= 17",
        "studentId LIKE '1%'",
        "studentId = 17; DROP TABLE Students",
        "studentId = 17 --",
        "studentId IN ()",
        "studentId IN (17",
        "studentId = otherColumn",
        "isnull(studentId, 0) = 0",
        "len(firstName) = 3",
        "NOT studentId = 17",
        "(studentId = 17",
        "studentId = 17 studentId = 18",
        "firstName = 'Zoë",
        "{page:0}{page:1}",
        "studentId = 17{page:-1}",
        "studentId = 17{page:x}",
    ],
)
def test_what_is_not_understood_is_refused(predicate: str) -> None:
    with pytest.raises(FilterRefused):
        parse(predicate)


@pytest.mark.parametrize(
    "predicate", ["studentId = 'x'", "calendarStartDate = 'soon'", "firstName = 1", "calendarStartDate = 3"]
)
def test_unlike_things_are_not_compared(predicate: str) -> None:
    with pytest.raises(FilterRefused):
        parse(predicate)[0].matches(ROW)


def test_page() -> None:
    assert parse("1=1{page:7}")[1] == 7
    assert parse("{page:3}")[1] == 3
    assert parse("1=1")[1] == 0
