"""Puts the service together, from MongoDB to the gRPC server, and takes it apart."""

from __future__ import annotations

import asyncio
import secrets
import signal
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import uvloop
from loguru import logger
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from schoolgate_sdk.traffic import Traffic, TrafficLimits
from schoolgate_server.heap import collect_less, give_back_large
from schoolgate_server.log import Redactor, configure_logging, loop_exception_handler
from schoolgate_server.mis.connectors import load_connectors
from schoolgate_server.mis.partners import NO_PARTNERS, Partners, PartnersFile, PartnersInvalid
from schoolgate_server.model.clock import system_clock
from schoolgate_server.reconcile.holds import Thresholds
from schoolgate_server.rpc.callers import AnyoneLocal, Callers, CallersFile, CallersInvalid
from schoolgate_server.rpc.server import Listen, ListenRefused, RpcServer, Tls, build_server, check_exposure
from schoolgate_server.rpc.write_ports import Writing
from schoolgate_server.settings import (
    ListenSettings,
    Settings,
    SettingsInvalid,
    SyncSettings,
    TrafficSettings,
    WritebackSettings,
    load_settings,
)
from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions
from schoolgate_server.store.errors import EmbeddedError, StoreMisconfigured, StoreUnavailable
from schoolgate_server.store.handles import Document
from schoolgate_server.store.store import Store
from schoolgate_server.store.vault import CredentialVault, Kms
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from schoolgate_server.tasks import end_tasks
from schoolgate_server.vault_key import VaultKeyInvalid, local_key
from schoolgate_server.writeback.assembly import REQUESTED_BY, write_back
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.reach import Surroundings


class StartFailed(Exception):
    """The service cannot be started; the text says what to change, and holds no secret."""


_EXPECTED = (
    SettingsInvalid,
    ListenRefused,
    CallersInvalid,
    VaultKeyInvalid,
    PartnersInvalid,
    EmbeddedError,
    StoreMisconfigured,
    StoreUnavailable,
)
"""What can be wrong with a deployment; each text tells an operator what."""


class _RememberingVault:
    """The vault, telling the log's redactor every credential that it hands out."""

    def __init__(self, vault: CredentialVault, remember: Callable[[Iterable[str]], None]) -> None:
        self._vault = vault
        self._remember = remember

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        self._remember(credentials.values())
        return await self._vault.set(school_id, credentials, request_id)

    async def get(self, school_id: str) -> dict[str, str] | None:
        credentials = await self._vault.get(school_id)
        self._remember((credentials or {}).values())
        return credentials

    async def forget(self, school_id: str) -> None:
        await self._vault.forget(school_id)


@asynccontextmanager
async def running(settings: Settings, redactor: Redactor) -> AsyncGenerator[RpcServer]:
    """Start the service, give its server, and stop everything in order when the context ends.

    Raises:
        StartFailed: a part of it cannot be started.
    """
    async with AsyncExitStack() as stack:
        try:
            server = await _started(settings, redactor, stack)
        except _EXPECTED as error:
            raise StartFailed(redactor.clean(str(error))) from error
        yield server


async def _started(settings: Settings, redactor: Redactor, stack: AsyncExitStack) -> RpcServer:
    """Start part after part; each is stopped by ``stack``, the last one first."""
    callers = await _callers(settings, stack)
    listen = _listen(settings.listen)
    check_exposure(listen, callers)  # before anything is started in vain
    connectors = load_connectors(settings.connectors)
    store = await _store(settings, redactor, stack)
    owner = f"server-{uuid.uuid4().hex}"
    traffic = Traffic(_traffic_limits(settings.traffic))
    partners = _partners(settings.partners.file, redactor)
    supervisor = Supervisor(
        store,
        connectors,
        system_clock,
        _sync_options(settings.sync),
        owner=owner,
        new_id=lambda: uuid.uuid4().hex,
        traffic=traffic,
        partners=partners,
    )
    options = _write_options(settings.writeback)
    writing = write_back(
        Surroundings(store, connectors, system_clock, options, traffic, partners),
        owner,
        lambda: uuid.uuid4().hex,
        notify=partial(supervisor.notify, requested_by=REQUESTED_BY),
    )
    server = build_server(
        store,
        supervisor,
        Writing(*writing),
        callers=callers,
        listen=listen,
        new_id=lambda: uuid.uuid4().hex,
        remember_secrets=redactor.remember,
    )
    stack.push_async_callback(server.stop)
    await supervisor.start()
    stack.push_async_callback(supervisor.stop)
    await writing.dispatcher.start()
    stack.push_async_callback(writing.dispatcher.stop)
    stack.push_async_callback(server.close_to_new_calls)
    await server.start()
    return server


async def _callers(settings: Settings, stack: AsyncExitStack) -> Callers:
    path = settings.auth.callers_file
    if path is None:
        return AnyoneLocal()
    callers = CallersFile(path)
    following = asyncio.create_task(callers.follow(), name="follow callers file")
    stack.push_async_callback(end_tasks, following)
    return callers


def _listen(settings: ListenSettings) -> Listen:
    tls = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        authority = settings.tls_client_authority
        tls = Tls(
            certificate=_pem(settings.tls_certificate, "listen.tls_certificate"),
            key=_pem(settings.tls_key, "listen.tls_key"),
            client_authority=_pem(authority, "listen.tls_client_authority") if authority else None,
        )
    return Listen(
        address=settings.address,
        port=settings.port,
        tls=tls,
        request_bytes=settings.request_bytes,
        concurrent_calls=settings.concurrent_calls,
        read_s=settings.read_s,
        drain_s=settings.drain_s,
    )


def _pem(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ListenRefused(f"{setting}: {path} cannot be read: {error.strerror}") from None


def _sync_options(settings: SyncSettings) -> SyncOptions:
    return SyncOptions(
        lease_ttl=timedelta(seconds=settings.lease_ttl_s),
        commit_batch=settings.commit_batch,
        concurrency=settings.concurrency,
        thresholds=Thresholds(
            deletions_fraction=settings.hold_deletions_fraction,
            deletions_count=settings.hold_deletions_count,
            updates_fraction=settings.hold_updates_fraction,
            updates_count=settings.hold_updates_count,
        ),
    )


def _write_options(settings: WritebackSettings) -> WriteOptions:
    return WriteOptions(
        environment=settings.environment,
        expires_after=timedelta(hours=settings.expires_h),
        attempt=timedelta(seconds=settings.send_s),
        settle=timedelta(seconds=settings.settle_s),
        concurrency=settings.concurrency,
        schools=settings.schools_at_work,
    )


def _partners(path: Path | None, redactor: Redactor) -> Partners:
    return NO_PARTNERS if path is None else PartnersFile(path, redactor.remember, system_clock)


def _traffic_limits(settings: TrafficSettings) -> TrafficLimits:
    return TrafficLimits(
        host_concurrency=settings.host_concurrency,
        school_concurrency=settings.school_concurrency,
        host_rate=settings.host_rate,
        host_burst=settings.host_burst,
        school_rate=settings.school_rate,
        school_burst=settings.school_burst,
        circuit_failures=settings.circuit_failures,
        circuit_open=settings.circuit_open_s,
        circuit_open_longest=settings.circuit_open_longest_s,
        quiet_interval=settings.quiet_interval_s,
    )


async def _store(settings: Settings, redactor: Redactor, stack: AsyncExitStack) -> Store:
    """Connect to the configured MongoDB, or start the embedded one and connect to that."""
    uri = settings.mongo.uri.get_secret_value() if settings.mongo.uri is not None else None
    data_dir = settings.embedded.data_dir
    kms = _kms(settings, redactor, fallback=None if uri else data_dir / "vault.key")
    if uri is None:
        options = EmbeddedOptions(
            folder=data_dir / "mongod",
            port=settings.embedded.port or None,
            cache_gb=settings.embedded.cache_gib,
        )
        embedded = await stack.enter_async_context(EmbeddedMongod(options))
        uri = embedded.uri
        logger.info("embedded MongoDB started; it is for evaluation and tests")
    client = _client(uri, settings, redactor)
    store = Store.open(client, settings.mongo.database, system_clock)
    stack.push_async_callback(store.close)
    await _answering(store, settings.mongo.server_selection_s)
    await store.prepare()
    vault = CredentialVault(client, settings.mongo.database, store.schools, kms, system_clock)
    stack.push_async_callback(vault.close)
    store.credentials = _RememberingVault(vault, redactor.remember)
    store.remember_secrets = redactor.remember
    store.row_seal = vault
    return store


async def _answering(store: Store, seconds: float) -> None:
    """Return if MongoDB answers; a start should not wait as long as a running service may."""
    try:
        async with asyncio.timeout(seconds):
            await store.ping()
    except TimeoutError:
        raise StoreUnavailable(f"MongoDB cannot be reached within {seconds:g} s (mongo.uri)") from None


def _client(uri: str, settings: Settings, redactor: Redactor) -> AsyncMongoClient[Document]:
    try:
        password = parse_uri(uri, warn=False)["password"]
        redactor.remember([uri, *([password] if password else [])])
        return AsyncMongoClient(
            uri,
            serverSelectionTimeoutMS=int(settings.mongo.server_selection_s * 1000),
            connectTimeoutMS=int(settings.mongo.connect_s * 1000),
            appname="schoolgate",
        )
    except (PyMongoError, ValueError) as error:
        # Texts of the driver may quote the URI, and with it the password.
        raise SettingsInvalid(f"mongo.uri cannot be used: {type(error).__name__}") from None


def _kms(settings: Settings, redactor: Redactor, fallback: Path | None) -> Kms:
    vault = settings.vault
    if vault.provider == "local":
        return Kms.local(local_key(vault, fallback, secrets.token_bytes))
    options = {name: value.get_secret_value() for name, value in vault.kms_credentials.items()}
    redactor.remember(options.values())
    return Kms(vault.provider, options, vault.kms_master_key)


async def serve(settings: Settings, redactor: Redactor, ready: Callable[[RpcServer], None]) -> None:
    """Run the service until SIGTERM or SIGINT; ``ready`` is called once it can be reached.

    Raises:
        StartFailed: it cannot be started.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(settings, redactor) as server:
            logger.info("serving", address=server.target)
            ready(server)
            await stop.wait()
            logger.info("stopping")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    logger.info("stopped")


def run(config: Path | None = None, ready: Callable[[RpcServer], None] = lambda _server: None) -> None:
    """Run the service as a process of its own: settings, logging, and :func:`serve`.

    ``config`` is a TOML file, or ``None`` for the one that the environment names, if it does.

    Raises:
        StartFailed: the settings or a part of the service cannot be used.
    """
    redactor = Redactor()
    try:
        settings = load_settings(config)
    except SettingsInvalid as error:
        raise StartFailed(str(error)) from None
    configure_logging(redactor, level=settings.log.level, json=settings.log.format == "json")
    give_back_large()
    collect_less()
    uvloop.run(serve(settings, redactor, ready))
