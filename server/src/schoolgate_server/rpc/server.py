"""The server as a whole: servicers, interceptors, health, reflection, limits, and an orderly stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from schoolgate.v1 import (
    diagnostics_service_pb2_grpc,
    identity_service_pb2_grpc,
    query_service_pb2_grpc,
    reporting_service_pb2_grpc,
    school_service_pb2_grpc,
    sync_service_pb2_grpc,
    writeback_service_pb2_grpc,
)
from schoolgate_sdk.addresses import is_loopback
from schoolgate_server.rpc.callers import AnyoneLocal, Callers
from schoolgate_server.rpc.deadlines import DeadlineInterceptor
from schoolgate_server.rpc.diagnostics import Diagnostics
from schoolgate_server.rpc.health import HealthMonitor
from schoolgate_server.rpc.identity import Identity
from schoolgate_server.rpc.interceptors import (
    AuthInterceptor,
    CorrelationInterceptor,
    ErrorInterceptor,
    HealthInterceptor,
)
from schoolgate_server.rpc.ports import Store, Supervisor
from schoolgate_server.rpc.query import Query
from schoolgate_server.rpc.reporting import Reporting
from schoolgate_server.rpc.roles import METHOD_ROLES
from schoolgate_server.rpc.schools import Schools
from schoolgate_server.rpc.sync import Sync
from schoolgate_server.rpc.watchers import WatchInterceptor
from schoolgate_server.rpc.write_ports import Writing
from schoolgate_server.rpc.writeback import Writeback
from schoolgate_server.tasks import end_tasks

PACKAGE = "schoolgate.v1"

DESCRIBED_FOR_CLIENTS = error_details_pb2.DESCRIPTOR.name
"""Importing it puts ErrorInfo, BadRequest and RetryInfo into the pool that reflection answers from."""

_MOST_HEALTH_CALLS = 32
"""Calls of one method of health at once: more than all that look after one server need. They carry no token,
so what is left of the limit on all calls is for those that do.
"""


class ListenRefused(ValueError):
    """The server does not open this port; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts for TLS; with ``client_authority`` only clients with a certificate from it get in."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_authority: bytes | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and how much to take in.

    ``port`` 0 takes a free one. ``request_bytes`` bounds one request, ``concurrent_calls`` the calls at work
    at once, streams included; what exceeds either is answered with RESOURCE_EXHAUSTED. Half of these may
    watch, and an eighth watch one school. ``read_s`` is how many seconds a read may take, ``drain_s`` how
    many calls at work get to end when the server stops.
    """

    address: str = "127.0.0.1"
    port: int = 0
    tls: Tls | None = None
    request_bytes: int = 4 * 1024 * 1024
    concurrent_calls: int = 256
    read_s: float = 60.0
    drain_s: float = 10.0


def check_exposure(listen: Listen, callers: Callers) -> None:
    """Refuse to be reachable from elsewhere without TLS and known callers.

    Raises:
        ListenRefused: with the settings that are missing.
    """
    if is_loopback(listen.address):
        return
    missing: list[str] = []
    if listen.tls is None:
        missing.append("TLS (listen.tls_certificate and listen.tls_key)")
    if isinstance(callers, AnyoneLocal):
        missing.append("callers (auth.callers_file)")
    if missing:
        raise ListenRefused(
            f"listening on {listen.address} needs {' and '.join(missing)}; without both the server listens "
            "on loopback only (listen.address 127.0.0.1)"
        )


class RpcServer:
    """A gRPC server that has been put together; :meth:`start` opens the port."""

    def __init__(
        self, server: grpc.aio.Server, health: HealthMonitor, closing: asyncio.Event, listen: Listen
    ) -> None:
        self._server = server
        self._health = health
        self._closing = closing
        self._listen = listen
        self._monitor: asyncio.Task[None] | None = None
        self.port = 0
        """The port that was opened; 0 before :meth:`start`."""

    @property
    def target(self) -> str:
        """What clients connect to, for example "127.0.0.1:50551"."""
        address = self._listen.address
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    async def start(self) -> None:
        """Ask the store for its state, open the port and serve.

        Raises:
            ListenRefused: the port cannot be opened.
        """
        await self._health.prepare()
        address = self._listen.address
        target = f"[{address}]:{self._listen.port}" if ":" in address else f"{address}:{self._listen.port}"
        tls = self._listen.tls
        try:
            if tls is None:
                self.port = self._server.add_insecure_port(target)
            else:
                credentials = grpc.ssl_server_credentials(
                    [(tls.key, tls.certificate)],
                    root_certificates=tls.client_authority,
                    require_client_auth=tls.client_authority is not None,
                )
                self.port = self._server.add_secure_port(target, credentials)
        except (RuntimeError, ValueError) as error:
            raise ListenRefused(
                f"cannot listen on {target}: the port is taken, the address is not of this machine, "
                "or the certificate and key do not belong together"
            ) from error
        await self._server.start()
        self._monitor = asyncio.create_task(self._health.run(), name="health monitor")

    async def close_to_new_calls(self) -> None:
        """Say NOT_SERVING, answer new calls with SHUTTING_DOWN, and end the streams that wait for news."""
        self._health.stop_serving()
        self._closing.set()

    async def stop(self) -> None:
        """Let calls at work end, for the listen settings' ``drain_s`` at most, and close the port."""
        await self.close_to_new_calls()
        await self._server.stop(self._listen.drain_s)
        if self._monitor is not None:
            await end_tasks(self._monitor)


def _served_paths(service: str, servicer: object, base: type) -> set[str]:
    """Return the paths of the methods that ``servicer`` defines itself."""
    names = [path.rpartition("/")[2] for path in METHOD_ROLES if path.startswith(f"/{service}/")]
    return {
        f"/{service}/{name}" for name in names if getattr(type(servicer), name) is not getattr(base, name)
    }


def _servicers(
    store: Store,
    supervisor: Supervisor,
    writing: Writing,
    closing: asyncio.Event,
    remember_secrets: Callable[[Iterable[str]], None],
) -> dict[str, tuple[Any, type, Callable[[Any, Any], None]]]:
    """Return, by service: its servicer, the generated base with all of its methods, and what adds it."""
    return {
        "SchoolService": (
            Schools(store, supervisor, remember_secrets),
            school_service_pb2_grpc.SchoolServiceServicer,
            school_service_pb2_grpc.add_SchoolServiceServicer_to_server,
        ),
        "SyncService": (
            Sync(store, supervisor, closing),
            sync_service_pb2_grpc.SyncServiceServicer,
            sync_service_pb2_grpc.add_SyncServiceServicer_to_server,
        ),
        "QueryService": (
            Query(store, closing),
            query_service_pb2_grpc.QueryServiceServicer,
            query_service_pb2_grpc.add_QueryServiceServicer_to_server,
        ),
        "ReportingService": (
            Reporting(store),
            reporting_service_pb2_grpc.ReportingServiceServicer,
            reporting_service_pb2_grpc.add_ReportingServiceServicer_to_server,
        ),
        "IdentityService": (
            Identity(store, supervisor, remember_secrets),
            identity_service_pb2_grpc.IdentityServiceServicer,
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
        ),
        "WritebackService": (
            Writeback(store, writing, supervisor.now, closing),
            writeback_service_pb2_grpc.WritebackServiceServicer,
            writeback_service_pb2_grpc.add_WritebackServiceServicer_to_server,
        ),
        "DiagnosticsService": (
            Diagnostics(store, supervisor),
            diagnostics_service_pb2_grpc.DiagnosticsServiceServicer,
            diagnostics_service_pb2_grpc.add_DiagnosticsServiceServicer_to_server,
        ),
    }


def build_server(
    store: Store,
    supervisor: Supervisor,
    writing: Writing,
    *,
    callers: Callers,
    listen: Listen,
    new_id: Callable[[], str],
    remember_secrets: Callable[[Iterable[str]], None],
) -> RpcServer:
    """Put the server together.

    ``new_id`` makes correlation ids; ``remember_secrets`` is told every secret that a caller sends.

    Raises:
        ListenRefused: the server would be reachable from elsewhere without TLS and callers.
    """
    check_exposure(listen, callers)
    closing = asyncio.Event()
    servicers = _servicers(store, supervisor, writing, closing, remember_secrets)
    served = {
        f"{PACKAGE}.{name}": _served_paths(f"{PACKAGE}.{name}", servicer, base)
        for name, (servicer, base, _) in servicers.items()
    }
    health = HealthMonitor(
        store,
        serving=[name for name, paths in served.items() if paths],
        unserved=[name for name, paths in served.items() if not paths],
    )
    server = grpc.aio.server(
        interceptors=[
            CorrelationInterceptor(new_id),
            ErrorInterceptor(health.suspect),
            HealthInterceptor(max(1, min(_MOST_HEALTH_CALLS, listen.concurrent_calls // 4))),
            AuthInterceptor(callers, frozenset[str]().union(*served.values()), closing),
            DeadlineInterceptor(listen.read_s),
            WatchInterceptor(max(1, listen.concurrent_calls // 2), max(1, listen.concurrent_calls // 8)),
        ],
        options=_options(listen),
        maximum_concurrent_rpcs=listen.concurrent_calls,
    )
    for servicer, _, add in servicers.values():
        add(servicer, server)
    add_HealthServicer_to_server(health.servicer, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection([*served, health_name, reflection.SERVICE_NAME], server)
    return RpcServer(server, health, closing, listen)


def _options(listen: Listen) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", listen.request_bytes),
        ("grpc.max_metadata_size", 16 * 1024),
        # Two servers on one port would each get half of the calls.
        ("grpc.so_reuseport", 0),
        # A client that vanished is noticed within a minute and a half, and its streams end.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Clients may ping as often as our own, also while a watcher waits without data.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", listen.concurrent_calls),
    ]
