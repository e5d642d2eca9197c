"""Stored credentials stay with the address that they were set for, whoever changes the settings."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Generator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from tests.e2e.conftest import Service
from tests.support.live import Live, live, refused
from tests.support.served import new_request_id
from tests.support.simulator import Simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SCHOOL = "moved"


class Thief(http.server.ThreadingHTTPServer):
    """Keeps the secrets that it is sent, and knows no entity."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ThiefHandler)
        self.secrets: list[str | None] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v2"


class _ThiefHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Thief)
        self.server.secrets.append(self.headers["ApplicationSecret"])
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the parent's name
        """Say nothing."""


@pytest.fixture
def thief() -> Generator[Thief]:
    with Thief() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def service(open_service: Service) -> Generator[Live]:
    with live(open_service.target, open_service.log.parent / "data") as connected:
        yield connected


def move(service: Live, simulator: Simulator, base_url: str) -> s.School:
    """Change nothing but the address."""
    request = s.UpdateSchoolRequest(
        school=s.School(school_id=SCHOOL, settings=simulator.settings | {"base_url": base_url}),
        update_mask=FieldMask(paths=["settings"]),
        request_id=new_request_id(),
    )
    return service.schools.UpdateSchool(request).school


def test_a_changed_address_gets_no_stored_secret(service: Live, simulator: Simulator, thief: Thief) -> None:
    service.register(SCHOOL, simulator)
    check = s.CheckConnectionRequest(school_id=SCHOOL)
    assert service.schools.CheckConnection(check).ok
    assert move(service, simulator, simulator.base_url).has_credentials, "it is the same address"

    assert not move(service, simulator, thief.base_url).has_credentials
    start = pb.StartSyncRequest(school_id=SCHOOL, request_id=new_request_id())
    for call in (lambda: service.schools.CheckConnection(check), lambda: service.runs.StartSync(start)):
        failure = refused(call)
        assert (failure.reason, failure.code) == (
            "CREDENTIALS_MISSING",
            grpc.StatusCode.FAILED_PRECONDITION,
        )
    assert thief.secrets == []

    service.set_credentials(SCHOOL, {"application_id": "new", "application_secret": "meant-for-here"})
    service.schools.CheckConnection(check)
    assert set(thief.secrets) == {"meant-for-here"}

    assert not move(service, simulator, "http://192.0.2.1/v2").has_credentials
    service.set_credentials(SCHOOL, simulator.credentials)
    told = service.schools.CheckConnection(check).failure
    assert told.type == failures.FAILURE_TYPE_UNSUPPORTED
    assert "setting base_url must be an https address" in told.message
