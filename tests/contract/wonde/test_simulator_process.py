"""The simulator as the command runs it: its own process, its ready line, its control interface, its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest


class Running:
    """The process, and what it said when it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.ready: dict[str, Any] = json.loads(process.stdout.readline())
        self.school: str = self.ready["schools"][0]

    def ask(self, path: str, body: object = None, method: str = "GET", token: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self.ready['token']}"}
        request = urllib.request.Request(self.ready["url"] + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def status(self, path: str, **given: Any) -> int:
        try:
            self.ask(path, **given)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200


@contextmanager
def start(*arguments: str) -> Generator[Running]:
    command = [sys.executable, "-m", "schoolgate_wonde.simulator", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def running() -> Generator[Running]:
    with start("--pupils", "30", "--write-delay", "0") as started:
        yield started


def test_edits_show_and_faults_strike(running: Running) -> None:
    path = f"/v1.0/schools/{running.school}/students?per_page=1"
    assert running.ask(path)["meta"]["pagination"]["more"] is True
    running.ask("/_simulator/edit", {"op": "rename", "pupil": 1, "surname": "Zeta"}, "POST")
    assert running.ask(path)["data"][0]["legal_surname"] == "Zeta"
    running.ask("/_simulator/faults", {"kind": "status", "entity": "students", "status": 503}, "POST")
    assert [running.status(path) for _ in range(2)] == [503, 200]
    running.ask("/_simulator/faults", {"kind": "null_data", "times": None}, "POST")
    assert running.ask(path)["data"] is None
    running.ask("/_simulator/faults", method="DELETE")
    assert running.ask(path)["data"]


def test_a_mid_read_edit_and_a_withdrawn_consent(running: Running) -> None:
    path = f"/v1.0/schools/{running.school}/students?per_page=100"
    before = len(running.ask(path)["data"])
    running.ask("/_simulator/faults", {"kind": "consent_withdrawn", "pupil": 2}, "POST")
    assert len(running.ask(path)["data"]) == before - 1
    joins = {"kind": "edit_mid_read", "edit": {"op": "join", "surname": "Newcomer"}}
    running.ask("/_simulator/faults", joins, "POST")
    assert len(running.ask(path)["data"]) == before


def test_approval_and_token(running: Running) -> None:
    path = f"/v1.0/schools/{running.school}/rooms"
    assert running.status(path, token="another") == 401
    running.ask("/_simulator/approval", {"state": "revoked"}, "POST")
    assert running.status(path) == 403
    listed = running.ask("/v1.0/schools/revoked")["data"]
    assert [school["id"] for school in listed] == [running.school]
    running.ask("/_simulator/approval", {"state": "approved"}, "POST")
    assert running.status(path) == 200


def test_a_behaviour_can_be_deleted(running: Running) -> None:
    path = f"/v1.0/schools/{running.school}/behaviours"
    rows = running.ask(path)["data"]
    running.ask(f"/v1.0/schools/{running.school}/counts/?include=students")
    assert running.ask(f"{path}/{rows[0]['id']}", method="DELETE")["writeback_id"]
    assert len(running.ask(path)["data"]) == len(rows) - 1
    gone = running.ask(f"/v1.0/schools/{running.school}/deletions")["data"]
    assert {"id": rows[0]["id"], "type": "behaviour"}.items() <= gone[-1].items()


def test_faults_come_from_the_command_line() -> None:
    status = '{"kind": "status", "entity": "rooms", "status": 503}'
    null = '{"kind": "null_data", "entity": "periods", "page": 0}'
    with start("--pupils", "5", "--fault", status, "--fault", null) as running:
        path = f"/v1.0/schools/{running.school}"
        assert [running.status(f"{path}/rooms") for _ in range(2)] == [503, 200]
        assert [bool(running.ask(f"{path}/periods")["data"]) for _ in range(2)] == [False, True]


def test_a_fault_of_the_command_line_strikes_the_school_that_it_names() -> None:
    fault = '{"kind": "status", "school": "A1930499545", "times": null}'
    with start("--pupils", "5", "--schools", "2", "--fault", fault) as running:
        schools = running.ready["schools"]
        assert [running.status(f"/v1.0/schools/{school}/rooms") for school in schools] == [200, 500]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fault", "[]"),
        ("--fault", "{"),
        ("--fault", '{"kind": "explode"}'),
        ("--fault", '{"kind": ["slow"]}'),
        ("--fault", '{"kind": "slow", "edit": {}}'),
        ("--fault", '{"kind": "slow", "school": "A1"}'),
        ("--schools", "2", "--fault", '{"kind": "slow"}'),
    ],
)
def test_a_wrong_fault_on_the_command_line_is_told(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "schoolgate_wonde.simulator", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "fault" in ended.stderr


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("edit", {"op": "no such"}),
        ("edit", [1]),
        ("approval", {"state": "perhaps"}),
        ("faults", {"kind": "no such"}),
        ("faults", {"kind": "slow", "what": 1}),
        ("faults", {"kind": "slow", "school": "A1"}),
    ],
)
def test_what_the_control_interface_refuses(running: Running, path: str, body: object) -> None:
    assert running.status(f"/_simulator/{path}", body=body, method="POST") == 400
