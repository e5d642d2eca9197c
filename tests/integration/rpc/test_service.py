"""The whole service in this process, on a real MongoDB: restarts, a silent MongoDB, starts that must fail."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from schoolgate.v1 import school_service_pb2 as s
from schoolgate_server.log import Redactor
from schoolgate_server.main import StartFailed, running
from schoolgate_server.settings import load_settings
from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions
from tests.support.served import Client, health_stub, new_request_id, refused

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(120)]

CREDENTIALS = {"application_id": "an-application", "application_secret": "a-secret-of-the-mis"}
SETTINGS = {"school_number": "20001", "base_url": "http://127.0.0.1:1/v2", "retry_wait_seconds": "0.01"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SCHOOLGATE_")]:
        monkeypatch.delenv(name)


@asynccontextmanager
async def service(redactor: Redactor | None = None, **settings: Any) -> AsyncGenerator[Client]:
    chosen = load_settings(overrides={"listen": {"port": 0, "drain_s": 1}, **settings})
    async with (
        running(chosen, redactor or Redactor()) as server,
        grpc.aio.insecure_channel(server.target) as channel,
    ):
        yield Client(channel)


async def test_data_and_credentials_outlive_the_process_and_need_the_key(tmp_path: Path) -> None:
    embedded = {"data_dir": tmp_path}
    redactor = Redactor()
    async with service(redactor, embedded=embedded) as client:
        created = await client.create_school("oak", "bromcom", SETTINGS, CREDENTIALS)
        assert created.has_credentials
    assert redactor.clean("x a-secret-of-the-mis x") == "x [redacted] x"

    fresh = Redactor()
    async with service(fresh, embedded=embedded) as client:
        got = await client.schools.GetSchool(s.GetSchoolRequest(school_id="oak"))
        assert got.school == created
        check = s.CheckConnectionRequest(school_id="oak")
        await client.schools.CheckConnection(check)
        assert fresh.clean("a-secret-of-the-mis") == "[redacted]", (
            "remembered when it is taken from the vault"
        )

    (tmp_path / "vault.key").write_bytes(bytes(96))
    async with service(embedded=embedded) as client:
        failure = await refused(client.schools.CheckConnection(check))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VAULT_UNAVAILABLE")
        request = s.SetCredentialsRequest(
            school_id="oak", credentials=CREDENTIALS, request_id=new_request_id()
        )
        assert (await refused(client.schools.SetCredentials(request))).reason == "VAULT_UNAVAILABLE"


async def test_health_sees_a_silent_mongod_go_and_come_back(tmp_path: Path) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(bytes(range(96)))
    mongod = EmbeddedMongod(EmbeddedOptions(folder=tmp_path / "mongod", cache_gb=0.25))
    await mongod.start()
    try:
        mongo = {"uri": mongod.uri, "server_selection_s": 5}
        async with service(mongo=mongo, vault={"key_file": key}) as client:
            await client.create_school("oak", "bromcom", SETTINGS, CREDENTIALS)
            watch = health_stub(client).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            assert mongod.pid is not None
            os.kill(mongod.pid, signal.SIGSTOP)
            try:
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            finally:
                os.kill(mongod.pid, signal.SIGCONT)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
    finally:
        await mongod.stop()


async def test_what_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match="cannot listen on"):
            async with service(embedded={"data_dir": tmp_path}, listen={"port": port}):
                pass
    async with service(embedded={"data_dir": tmp_path}) as client:
        assert not (await client.schools.ListSchools(s.ListSchoolsRequest())).schools


async def test_a_mongodb_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    key = tmp_path / "vault.key"
    key.write_bytes(bytes(96))
    mongo = {"uri": "mongodb://user:hunter2@127.0.0.1:1/?directConnection=true", "server_selection_s": 0.2}
    with pytest.raises(StartFailed, match="MongoDB cannot be reached") as failure:
        async with service(mongo=mongo, vault={"key_file": key}):
            pass
    assert "hunter2" not in str(failure.value)
