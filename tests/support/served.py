"""The real gRPC server on a free loopback port, over any store, with stubs to call it by."""

from __future__ import annotations

import functools
import itertools
import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from schoolgate.v1 import diagnostics_service_pb2_grpc as diagnostics_grpc
from schoolgate.v1 import identity_service_pb2_grpc as identity_grpc
from schoolgate.v1 import query_service_pb2_grpc as query_grpc
from schoolgate.v1 import reporting_service_pb2_grpc as reporting_grpc
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import school_service_pb2_grpc as schools_grpc
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1 import sync_service_pb2_grpc as sync_grpc
from schoolgate.v1 import writeback_service_pb2_grpc as writeback_grpc
from schoolgate_sdk import Connector
from schoolgate_server.log import Redactor
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.rpc.callers import AnyoneLocal, Callers
from schoolgate_server.rpc.server import Listen, RpcServer, build_server
from schoolgate_server.rpc.write_ports import Writing
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from schoolgate_server.writeback.assembly import REQUESTED_BY, write_back
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.reach import Surroundings


def new_request_id() -> str:
    return str(uuid.uuid4())


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@dataclass
class Failure:
    """What a caller is told about a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    violations: dict[str, str] = field(default_factory=dict[str, str])
    retry_after: float | None = None


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Decode the rich status of a failed call; every error of this API has one."""
    trailers: dict[str, Any] = dict(error.trailing_metadata())
    assert "grpc-status-details-bin" in trailers, f"no google.rpc.Status: {error}"
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    failure = Failure(error.code(), status.message, "")
    for detail in status.details:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            assert info.domain == "schoolgate"
            failure.reason, failure.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            failure.violations = {v.field: v.description for v in bad.field_violations}
        elif detail.Unpack(retry):
            failure.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return failure


async def refused(call: Any) -> Failure:
    """Return the failure of a call that must fail; takes a unary call or a stream."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError("the call did not fail")


class Client:
    """All stubs over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.schools = schools_grpc.SchoolServiceStub(channel)
        self.sync = sync_grpc.SyncServiceStub(channel)
        self.query = query_grpc.QueryServiceStub(channel)
        self.reporting = reporting_grpc.ReportingServiceStub(channel)
        self.diagnostics = diagnostics_grpc.DiagnosticsServiceStub(channel)
        self.identity = identity_grpc.IdentityServiceStub(channel)
        self.writeback = writeback_grpc.WritebackServiceStub(channel)

    async def create_school(
        self,
        school_id: str,
        connector: str,
        settings: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        **school: Any,
    ) -> schools.School:
        response = await self.schools.CreateSchool(
            schools.CreateSchoolRequest(
                school=schools.School(
                    school_id=school_id, connector=connector, settings=dict(settings or {}), **school
                ),
                credentials=dict(credentials or {}),
                request_id=new_request_id(),
            )
        )
        return response.school

    async def sync_to_the_end(self, school_id: str, metadata: Any = ()) -> sync.Run:
        started = await self.sync.StartSync(
            sync.StartSyncRequest(school_id=school_id, request_id=new_request_id()), metadata=metadata
        )
        latest = started.run
        async for state in self.sync.WatchRun(
            sync.WatchRunRequest(school_id=school_id, run_id=latest.run_id), metadata=metadata
        ):
            latest = state.run
        return latest


def health_stub(client: Client) -> Any:
    """Return the stub of grpc.health.v1.Health; the published types know its messages only."""
    from grpc_health.v1 import health_pb2_grpc

    return health_pb2_grpc.HealthStub(client.channel)


class MemoryVault:
    """A vault for stores in memory, which have no encryption: it reads backwards what it keeps in them."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        sealed = json.dumps(dict(credentials)).encode()[::-1]
        at: datetime = await self._store.schools.put_credentials(
            school_id, sealed, datetime(2026, 11, 2, tzinfo=UTC), request_id
        )
        return at

    async def get(self, school_id: str) -> dict[str, str] | None:
        sealed = await self._store.schools.credentials(school_id)
        kept: dict[str, str] | None = None if sealed is None else json.loads(sealed[::-1])
        return kept

    async def forget(self, school_id: str) -> None:
        await self._store.schools.drop_credentials(school_id)

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        return plain[::-1]

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        return sealed[::-1]


@dataclass
class Served:
    server: RpcServer
    supervisor: Supervisor
    client: Client
    redactor: Redactor


@asynccontextmanager
async def served(
    store: Any,
    *connectors: Connector,
    callers: Callers | None = None,
    listen: Listen | None = None,
    clock: Any,
    writing: Writing | None = None,
    write_options: WriteOptions | None = None,
) -> AsyncGenerator[Served]:
    """Serve ``store`` with ``connectors`` until the block is left.

    ``writing`` stands in for what accepts and sends writes; nothing is sent then.
    """
    numbers = itertools.count(1)
    redactor = Redactor()
    host = ConnectorHost({connector.name: connector for connector in connectors}, {})
    supervisor = Supervisor(
        store, host, clock, SyncOptions(commit_batch=50), f"test-{uuid.uuid4()}", lambda: uuid.uuid4().hex
    )
    made = write_back(
        Surroundings(store, host, clock, write_options or WriteOptions()),
        f"test-{uuid.uuid4()}",
        lambda: uuid.uuid4().hex,
        notify=functools.partial(supervisor.notify, requested_by=REQUESTED_BY),
    )
    server = build_server(
        store,
        supervisor,
        writing or Writing(*made),
        callers=callers or AnyoneLocal(),
        listen=listen or Listen(drain_s=2),
        new_id=lambda: f"call-{next(numbers)}",
        remember_secrets=redactor.remember,
    )
    await supervisor.start()
    if writing is None:
        await made.dispatcher.start()
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.target) as channel:
            yield Served(server, supervisor, Client(channel), redactor)
    finally:
        await server.close_to_new_calls()
        await made.dispatcher.stop()
        await supervisor.stop()
        await server.stop()


def message_bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
