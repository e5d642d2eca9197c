"""A MIS that is away fails a run by its type, loses nothing, and is asked again once it is back."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Sequence

import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from tests.e2e.conftest import Service
from tests.support.live import CLOSED_YEAR, Live, live
from tests.support.ports import kept_ports
from tests.support.simulator import start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SETTINGS = {"page_size": "50", "read_attempts": "3", "retry_wait_seconds": "0.05"}
WORLD = ("--academic-year-start", "2024-09-01", "--marks-until", "2024-09-07", "--page-size", "50")


@pytest.fixture(scope="module")
def service(open_service: Service) -> Generator[Live]:
    with live(open_service.target, open_service.log.parent / "data") as connected:
        yield connected


@pytest.fixture
def place() -> Generator[Sequence[str]]:
    """Where a simulator listens, and after it another one."""
    with kept_ports(1) as [port]:
        yield ("--port", str(port))


def wait_until_asked_again(run: pb.Run) -> None:
    """Wait until the MIS, which was left alone since ``run``, is asked again."""
    moments = [part.failure.retry_at.ToDatetime() for part in run.datasets]
    time.sleep(max(0.0, max(moments).timestamp() - time.time()) + 0.1)


def test_a_mis_that_cannot_be_reached(service: Live, place: Sequence[str]) -> None:
    school_id = "bad-input-closed-port"
    world = ("--pupils", "12", "--school", "20003", *WORLD)
    with start_simulator(*world, *place) as mis:
        service.register(school_id, mis, settings=SETTINGS, academic_year=CLOSED_YEAR)
        assert service.sync(school_id).state == pb.RUN_STATE_SUCCEEDED
        before = service.data()
        mis.process.send_signal(signal.SIGTERM)
        mis.process.wait(10)
        checked = service.schools.CheckConnection(s.CheckConnectionRequest(school_id=school_id))
        run = service.sync(school_id)
    assert not checked.ok
    assert checked.failure.type == failures.FAILURE_TYPE_TRANSIENT
    assert (run.state, run.failure.type) == (pb.RUN_STATE_FAILED, failures.FAILURE_TYPE_TRANSIENT)
    assert {d.failure.type for d in run.datasets} == {failures.FAILURE_TYPE_TRANSIENT}
    assert service.data() == before
    # Joined, for a secret may begin with a hyphen.
    same = (f"--application-id={mis.application_id}", f"--application-secret={mis.application_secret}")
    with start_simulator(*world, *place, *same):
        wait_until_asked_again(run)
        run = service.sync(school_id)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    assert service.data() == before
