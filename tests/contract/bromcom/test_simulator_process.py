"""The simulator as the command runs it: its own process, its ready line, its control interface, its end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulator import Simulator, start_simulator

SDS = Path(os.environ.get("SCHOOLGATE_SDS_DIR", Path(__file__).parents[4] / "shared/data/sds-uk-100"))
SMALL = ("--pupils", "40", "--marks-until", "2026-09-19", "--school", "20001", "--school", "20002")


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator, None, None]:
    with start_simulator(*SMALL) as running:
        yield running


def ask(simulator: Simulator, entity: str, headers: dict[str, str] | None = None, **query: str) -> Any:
    address = f"{simulator.base_url}/{entity}?{urllib.parse.urlencode(query)}"
    given = {
        "ApplicationId": simulator.application_id,
        "ApplicationSecret": simulator.application_secret,
    } | (headers or {})
    with urllib.request.urlopen(urllib.request.Request(address, headers=given), timeout=30) as response:
        return json.load(response)


def status_of(simulator: Simulator, entity: str, headers: dict[str, str] | None = None, **query: str) -> int:
    try:
        ask(simulator, entity, headers, **query)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_two_schools_are_kept_apart(simulator: Simulator) -> None:
    assert simulator.schools == (20001, 20002)
    pupils = [
        {row["upn"] for row in ask(simulator, "StudentFlatView", schoolId=str(school))["data"]}
        for school in simulator.schools
    ]
    assert len(pupils[0]) >= 40
    assert not pupils[0] & pupils[1]


def test_the_dialect_of_refusals(simulator: Simulator) -> None:
    assert status_of(simulator, "Staff", {"ApplicationSecret": "wrong"}, schoolId="20001") == 401
    assert status_of(simulator, "Staff", {"ApplicationId": ""}, schoolId="20001") == 401
    assert status_of(simulator, "Nonsense", schoolId="20001") == 404
    assert ask(simulator, "Staff", schoolId="1")["success"] is False
    assert ask(simulator, "Staff")["success"] is False
    refused = ask(simulator, "Staff", schoolId="20001", entityFilter="firstName LIKE 'A%'{page:0}")
    assert (refused["success"], refused["data"]) == (False, None)
    unknown = ask(simulator, "Staff", schoolId="20001", entityFilter="shoeSize = 4")
    assert unknown["success"] is False


def test_marks_carry_subcodes_where_the_school_has_them() -> None:
    with start_simulator("--pupils", "40", "--marks-until", "2026-12-18", "--mark-subcodes") as running:
        school = str(running.schools[0])
        marks = ask(running, "BasicAttendance", schoolId=school)["data"]
        written = {row["mark"] for row in marks}
        assert {"I", "I01", "I02", "M", "MD"} <= written
        dental = "mark = 'MD'"
        assert {
            row["mark"]
            for row in ask(running, "BasicAttendance", schoolId=school, entityFilter=dental)["data"]
        } == {"MD"}


def test_times_of_day_are_on_the_first_days_of_1900(simulator: Simulator) -> None:
    periods = ask(simulator, "PeriodStructures", schoolId="20001")["data"]
    assert periods
    days = {row["defaultStartTime"].partition("T")[0] for row in periods}
    assert days == {"1900-01-01", "1900-01-02"}
    assert ask(simulator, "CollectionTimetables", schoolId="20001")["data"]


def test_edits_reach_one_school(simulator: Simulator) -> None:
    joined = simulator.edit({"school": 20002, "op": "join", "surname": "Featherstonehaugh"})
    found = ask(
        simulator,
        "StudentFlatView",
        schoolId="20002",
        entityFilter="lastName = 'Featherstonehaugh'{page:0}",
    )["data"]
    assert {row["studentId"] for row in found} == {joined["pupil"]}
    malformed: list[Any] = [
        {"op": "join"},
        {"school": 1, "op": "join"},
        {"school": 20001, "op": "explode"},
        [],
    ]
    for wrong in malformed:
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            simulator.control("POST", "edit", wrong)
        caught.value.close()


def test_grants_are_withdrawn_and_given_per_school(simulator: Simulator) -> None:
    simulator.faults({"kind": "revoke", "entity": "Staff", "school": 20001})
    assert status_of(simulator, "Staff", schoolId="20001") == 403
    assert status_of(simulator, "Staff", schoolId="20002") == 200
    simulator.faults({"kind": "grant", "entity": "Staff", "school": 20001})
    assert status_of(simulator, "Staff", schoolId="20001") == 200


def test_credentials_expire_at_once_and_on_the_surface_that_is_named(simulator: Simulator) -> None:
    simulator.faults({"kind": "expire_credentials", "surface": "soap"})
    assert status_of(simulator, "Staff", schoolId="20001") == 200
    simulator.faults({"kind": "expire_credentials"})
    assert status_of(simulator, "Staff", schoolId="20001") == 401
    simulator.clear_faults()
    assert status_of(simulator, "Staff", schoolId="20001") == 200


def test_faults_strike_as_often_as_they_say(simulator: Simulator) -> None:
    simulator.faults({"kind": "status", "status": 502, "entity": "Staff", "school": 20001, "times": 2})
    assert [status_of(simulator, "Staff", schoolId="20001") for _ in range(3)] == [502, 502, 200]
    simulator.faults({"kind": "duplicate_rows", "entity": "Staff", "school": 20001})
    doubled = ask(simulator, "Staff", schoolId="20001")["data"]
    assert doubled[0] == doubled[1]
    simulator.faults({"kind": "other_school", "entity": "Staff", "school": 20001})
    assert ask(simulator, "Staff", schoolId="20001") == ask(simulator, "Staff", schoolId="20002")
    simulator.faults({"kind": "status", "times": None})
    simulator.clear_faults()
    assert status_of(simulator, "Staff", schoolId="20001") == 200
    for wrong in (
        {"kind": "flood"},
        {"kind": "status", "page": "1"},
        {"kind": "loop_page"},
        {"entity": "Staff"},
    ):
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            simulator.faults(wrong)
        caught.value.close()


def test_the_log_counts(simulator: Simulator) -> None:
    simulator.clear_log()
    rows = len(ask(simulator, "Collections", schoolId="20001")["data"])
    log = simulator.log()
    assert log["entities"] == {"Collections": {"requests": 1, "rows": rows}}
    assert log["latest"] == [
        {
            "surface": "partner",
            "entity": "Collections",
            "school": "20001",
            "page": 0,
            "status": 200,
            "rows": rows,
        }
    ]


def test_it_is_the_same_in_every_process(simulator: Simulator) -> None:
    with start_simulator(*SMALL) as again:
        for entity in ("StudentFlatView", "BasicAttendance", "CollectionExecutives"):
            one, other = (
                ask(each, entity, schoolId="20001", entityFilter="1=1{page:0}") for each in (again, simulator)
            )
            assert one == other


def test_sigterm_ends_it_with_status_0() -> None:
    with start_simulator("--pupils", "5", "--marks-until", "2026-09-05") as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--data", "nowhere"), 1),
        (("--page-size", "0"), 2),
        (("--today", "soon"), 2),
        (("--soap-grant", "Nonsense"), 2),
        (("--fault", "[]"), 2),
        (("--fault", '{"kind": "explode"}'), 2),
    ],
)
def test_a_wrong_command_line_is_told(arguments: tuple[str, ...], status: int) -> None:
    command = [sys.executable, "-m", "schoolgate_bromcom.simulator", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == status
    assert ended.stdout == ""
    assert ended.stderr


@pytest.mark.sds
@pytest.mark.skipif(not SDS.is_dir(), reason=f"{SDS} is not there")
def test_it_serves_the_schools_of_a_folder_of_csv_files() -> None:
    with (SDS / "Student.csv").open(encoding="utf-8-sig", newline="") as file:
        expected: dict[str, set[str]] = {}
        for row in csv.DictReader(file):
            expected.setdefault(row["School DfE Number"], set()).add(row["First Name"] + row["Last Name"])
    with start_simulator("--data", str(SDS), "--tidy") as running:
        assert {str(school) for school in running.schools} == set(expected)
        for school, names in expected.items():
            rows = ask(running, "StudentFlatView", schoolId=school)["data"]
            assert {row["firstName"] + row["lastName"] for row in rows} == names
            assert ask(running, "BasicAttendance", schoolId=school)["data"] == []
