"""Writing through Wonde, which says at once that it has a write, and whose MIS takes it later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate_sdk.kinds import KINDS
from tests.e2e.conftest import service
from tests.support.asking import Asking
from tests.support.live import Live, live
from tests.support.served import new_request_id

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]


@pytest.fixture
def through_wonde(tmp_path: Path) -> Generator[tuple[Live, str]]:
    """A service with a school behind Wonde, and where it is."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "schoolgate_wonde.simulator", "--seed", "5", "--pupils", "40"),
            *("--marks-until", "2026-09-26", "--write-delay", "2"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        mis = json.loads(process.stdout.readline())
        with (
            service(tmp_path, {"SCHOOLGATE_CONNECTORS": "wonde"}) as running,
            live(running.target, tmp_path / "data") as oak,
        ):
            school = schools.School(
                school_id="oak",
                connector="wonde",
                settings={"base_url": mis["base_url"], "school_id": mis["schools"][0]},
                data_profile=[f"{info.name}.*" for info in KINDS.values()],
            )
            oak.schools.CreateSchool(
                schools.CreateSchoolRequest(
                    school=school, credentials={"token": mis["token"]}, request_id=new_request_id()
                )
            )
            oak.sync("oak")
            yield oak, running.target
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def test_a_mark_through_wonde_is_taken_at_once_and_synced_once_the_mis_has_it(
    through_wonde: tuple[Live, str], grpcurl_path: str
) -> None:
    oak, target = through_wonde
    pupil, *_ = [record.id for record in oak.records("oak", kinds.KIND_STUDENT)]
    office = Asking(target, grpcurl_path)
    office.policy("ON", "record_attendance_mark")
    mark = {"student_id": pupil, "date": "2026-09-24", "session": "ATTENDANCE_SESSION_AM", "code": "L"}
    operation = {"record_attendance_mark": mark | {"comment": "Bus was late"}}
    write = office.ask("anybody", "SubmitWrite", operation=operation)["write"]
    sent = office.until(write, "SENT")
    assert sent["attempts"][0]["receipt"], "what Wonde calls it until the MIS has it"
    assert sent["status"] == "WRITE_STATUS_PENDING_MIS_SYNC"
    done = office.until(write, "CONFIRMED", 120)
    [record_id] = done["record_ids"]
    [record] = [r for r in oak.records("oak", kinds.KIND_ATTENDANCE_MARK) if r.id == record_id]
    assert (record.attendance_mark.code, record.attendance_mark.comment) == ("L", "Bus was late")
