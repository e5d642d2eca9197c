"""The simulator's SOAP side as another client sees it: its account, its grants, its tables, its faults."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Generator
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from tests.support.simulator import Simulator, start_simulator

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator, None, None]:
    with start_simulator(
        *("--pupils", "40", "--marks-until", "2026-09-19", "--school", "20001", "--school", "20002"),
        *("--soap-grant", "Staff", "--soap-grant", "StudentFlatView"),
    ) as running:
        yield running


def post(simulator: Simulator, operation: str, action: str = "", **arguments: str) -> tuple[int, bytes]:
    given = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
    body = (
        f'<soap:Envelope xmlns:soap="{_SOAP}"><soap:Body><{operation} xmlns="http://tempuri.org/">{given}'
        f"</{operation}></soap:Body></soap:Envelope>"
    )
    headers = {"Content-Type": "text/xml", "SOAPAction": action or f'"http://tempuri.org/{operation}"'}
    request = urllib.request.Request(simulator.soap_url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def ask(simulator: Simulator, entity: str, school: str = "20001", **given: str) -> tuple[int, bytes]:
    account = {"schoolID": school, **simulator.accounts[school]} | given
    return post(simulator, "getEntityDataBySchoolID", entityName=entity, **{"entityFilter": ""} | account)


def rows(answer: tuple[int, bytes]) -> list[dict[str, str | None]]:
    assert answer[0] == 200
    return [{column.tag: column.text for column in row} for row in ET.fromstring(answer[1]).iter("Table")]


def test_rows_are_a_data_set(simulator: Simulator) -> None:
    found = rows(ask(simulator, "StudentFlatView", entityFilter="studentId IN (1,2,3)"))
    assert found
    first = found[0]
    assert first["enrolmentStartDate"] is not None
    assert first["enrolmentStartDate"].endswith("T00:00:00+01:00")
    assert first["premiumPupilFlag"] in {"true", "false"}


def test_an_empty_result_has_no_new_data_set(simulator: Simulator) -> None:
    status, text = ask(simulator, "Staff", entityFilter="1=0")
    assert status == 200
    assert b"NewDataSet xmlns" not in text
    assert rows((status, text)) == []


def test_nothing_is_enabled_until_it_is_ticked(simulator: Simulator) -> None:
    assert ask(simulator, "Collections")[0] == 500
    listed = post(simulator, "findEntitiesBySchoolID", schoolID="20001", **simulator.accounts["20001"])
    assert [row["EntityName"] for row in rows(listed)] == ["Staff", "StudentFlatView"]
    simulator.faults({"kind": "grant", "entity": "Collections", "surface": "soap", "school": 20001})
    assert ask(simulator, "Collections")[0] == 200
    assert ask(simulator, "Collections", "20002")[0] == 500
    simulator.faults({"kind": "revoke", "entity": "Collections", "surface": "soap", "school": 20001})
    assert ask(simulator, "Collections")[0] == 500


def test_each_school_has_an_account_of_its_own(simulator: Simulator) -> None:
    assert simulator.accounts["20001"] != simulator.accounts["20002"]
    assert ask(simulator, "Staff", "20001", **simulator.accounts["20002"])[0] == 500
    assert ask(simulator, "Staff", password="wrong")[0] == 500
    assert ask(simulator, "Staff", "20002")[0] == 200


def test_the_connection_is_tested_without_an_account(simulator: Simulator) -> None:
    status, text = post(simulator, "testDatabaseConnection", schoolID="20001")
    assert (status, b"<testDatabaseConnectionResult>true" in text) == (200, True)
    assert post(simulator, "testDatabaseConnection", schoolID="3")[0] == 500


def test_what_is_no_call_is_refused(simulator: Simulator) -> None:
    assert ask(simulator, "Staff", entityFilter="1=1{page:0}")[0] == 500
    assert ask(simulator, "Staff", entityFilter="firstName LIKE 'A%'")[0] == 500
    assert post(simulator, "saveStaff", schoolID="20001")[0] == 500
    assert post(simulator, "testDatabaseConnection", "http://tempuri.org/other", schoolID="20001")[0] == 500


def test_faults_strike_the_surface_that_they_name(simulator: Simulator) -> None:
    simulator.faults({"kind": "status", "status": 503, "surface": "partner", "entity": "Staff"})
    assert ask(simulator, "Staff")[0] == 200
    simulator.clear_faults()
    simulator.faults({"kind": "status", "status": 503, "surface": "soap", "entity": "Staff"})
    assert ask(simulator, "Staff")[0] == 503
    assert ask(simulator, "Staff")[0] == 200


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_an_answer_breaks_off(simulator: Simulator, kind: str) -> None:
    simulator.faults({"kind": kind, "entity": "Staff"})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(simulator, "Staff")


def test_a_document_is_not_well_formed(simulator: Simulator) -> None:
    simulator.faults({"kind": "invalid_json", "entity": "Staff"})
    with pytest.raises(ET.ParseError):
        rows(ask(simulator, "Staff"))


def test_rows_are_lost_doubled_padded_and_another_schools(simulator: Simulator) -> None:
    whole = rows(ask(simulator, "StudentFlatView"))
    simulator.faults(
        {"kind": "truncate_page", "keep": 3},
        {"kind": "duplicate_rows"},
        {"kind": "padded_rows"},
        {"kind": "other_school"},
    )
    assert rows(ask(simulator, "StudentFlatView")) == whole[:3]
    assert rows(ask(simulator, "StudentFlatView"))[:4] == [whole[0], whole[0], whole[1], whole[1]]
    padded = rows(ask(simulator, "StudentFlatView"))[0]["firstName"]
    assert padded is not None
    assert padded.endswith("     ")
    assert rows(ask(simulator, "StudentFlatView")) == rows(ask(simulator, "StudentFlatView", "20002"))


def test_the_registration_hour_is_slow_and_refuses_every_third(simulator: Simulator) -> None:
    simulator.faults({"kind": "registration_hour", "seconds": 0.01})
    assert [ask(simulator, "Staff")[0] for _ in range(6)] == [200, 200, 429, 200, 200, 429]
    simulator.clear_faults()
    assert ask(simulator, "Staff")[0] == 200


def test_the_school_changes_when_it_is_read(simulator: Simulator) -> None:
    simulator.faults({"kind": "edit_mid_read", "edit": {"op": "join", "surname": "Midread"}})
    before = rows(ask(simulator, "StudentFlatView"))
    assert len(rows(ask(simulator, "StudentFlatView"))) == len(before) + 1
    pupil = int(str(before[0]["studentId"]))
    simulator.faults({"kind": "consent_withdrawn", "pupil": pupil})
    rows(ask(simulator, "StudentFlatView"))
    world = simulator.control("GET", "")
    assert world["schools"][0]["revision"] >= 2


def test_faults_come_from_the_command_line() -> None:
    fault = '{"kind": "status", "status": 503, "times": null}'
    with start_simulator("--pupils", "5", "--soap-grant", "all", "--fault", fault) as running:
        assert ask(running, "Staff", str(running.schools[0]))[0] == 503
        running.clear_faults()
        assert ask(running, "Staff", str(running.schools[0]))[0] == 200
