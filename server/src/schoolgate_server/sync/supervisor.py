"""Starts, watches, cancels and resumes runs; sees to it that somebody is at work on every unfinished one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.diagnostics_service_pb2 import CompareParsersRequest, CompareParsersResponse
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import ConnectorError, SourceKey
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.blame import ConnectorDefect
from schoolgate_server.mis.connections import connection_of
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.mis.sessions import session_of
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import from_connector, from_defect, place_of
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.store.lease_holder import held_lease
from schoolgate_server.store.store import Store
from schoolgate_server.sync.check import check_grants
from schoolgate_server.sync.context import RunCancelled
from schoolgate_server.sync.layers import Wanted
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.progress import RunBoard, is_final
from schoolgate_server.sync.refusals import LOOKED_AT, condition_of
from schoolgate_server.sync.requests import RunRequests
from schoolgate_server.sync.runner import Runner
from schoolgate_server.sync.schedule import REQUESTED_BY, Scheduler
from schoolgate_server.sync.shadow import compare_parsers
from schoolgate_server.tasks import end_tasks

SCHEDULE_SECONDS = 15.0
"""Between two looks for due runs: the shortest interval of a schedule is a minute."""

POLL_SECONDS = 0.5
"""Between two looks at a run that another server works on, or at a lease that another server holds."""


@dataclass(slots=True)
class _Active:
    """A run that this server works on, or waits for."""

    board: RunBoard
    cancel: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """The runs of one server.

    Args:
        owner: names this server among those that share the store; differs at every start.
        new_id: makes the opaque part of run ids.
        traffic: what all schools share to be polite to MISs.
        partners: gives the credentials that schools have in common.
    """

    def __init__(
        self,
        store: Store,
        connectors: ConnectorHost,
        clock: Clock,
        options: SyncOptions,
        owner: str,
        new_id: Callable[[], str],
        *,
        traffic: Traffic | None = None,
        partners: Partners = NO_PARTNERS,
    ) -> None:
        self._partners = partners
        self._traffic = traffic or Traffic()
        self.connectors = connectors
        self._store = store
        self._clock = clock
        self._options = options
        self._owner = owner
        self._requests = RunRequests(store, connectors, clock, new_id, partners)
        self.scheduler = Scheduler(store, clock, self._start_scheduled, partners)
        self._runner = Runner(store, connectors, clock, options, self._traffic, partners)
        self._slots = asyncio.Semaphore(options.concurrency)
        self._active: dict[str, _Active] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._comparing = asyncio.Lock()

    def now(self) -> datetime:
        """Return the present moment by this server's clock."""
        return self._clock()

    async def start(self) -> None:
        """Take up unfinished runs, now and whenever another server leaves one behind, and start due ones."""
        self._loops = [
            asyncio.create_task(self._sweep(), name="adopt unfinished runs"),
            asyncio.create_task(self._keep_schedules(), name="start due runs"),
        ]

    async def stop(self) -> None:
        """Stop all work at once; runs stay unfinished in the store, and the next start resumes them."""
        self._stopping = True
        tasks = [active.task for active in self._active.values() if active.task is not None]
        await end_tasks(*tasks, *self._loops)

    async def start_sync(
        self,
        school_id: str,
        datasets: Sequence[str],
        request_id: str,
        requested_by: str,
        *,
        layer: pb.SyncLayer.ValueType = pb.SYNC_LAYER_FULL,
        date_from: str = "",
        date_to: str = "",
    ) -> pb.Run:
        """Accept a run and return it at once; a repeated ``request_id`` returns the first one's run.

        ``date_from`` and ``date_to`` are ISO dates, half-open, for the window layer.

        Raises:
            ServiceError: ``SHUTTING_DOWN``, and as :meth:`RunRequests.sync`.
        """
        self._refuse_while_stopping()
        wanted = Wanted(tuple(datasets), layer, date_from, date_to)
        return self._take(await self._requests.sync(school_id, wanted, request_id, requested_by))

    async def notify(
        self,
        school_id: str,
        kind: Kind.ValueType,
        keys: Sequence[SourceKey],
        request_id: str,
        requested_by: str,
    ) -> pb.Run:
        """Take a notification and return the run that will read what it names again.

        Raises:
            ServiceError: ``SHUTTING_DOWN``, and as :meth:`RunRequests.notify`.
        """
        self._refuse_while_stopping()
        return self._take(await self._requests.notify(school_id, kind, keys, request_id, requested_by))

    async def start_operation(
        self,
        school_id: str,
        operation: bytes,
        request_id: str,
        requested_by: str,
        *,
        request_digest: bytes = b"",
    ) -> pb.Run:
        """Accept a run of the identity layer and return it at once; see ``sync.operations``.

        ``request_digest`` tells two requests apart where ``operation`` is sealed and never the same twice.

        Raises:
            ServiceError: ``SHUTTING_DOWN``, and as :meth:`RunRequests.operation`.
        """
        self._refuse_while_stopping()
        return self._take(
            await self._requests.operation(school_id, operation, request_id, requested_by, request_digest)
        )

    async def _start_scheduled(self, school_id: str, wanted: Wanted, request_id: str) -> pb.Run:
        self._refuse_while_stopping()
        return self._take(
            await self._requests.sync(school_id, wanted, request_id, REQUESTED_BY, scheduled=True)
        )

    def _refuse_while_stopping(self) -> None:
        if self._stopping:
            raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "the server is stopping", retry_after=5)

    def _take(self, entry: RunEntry) -> pb.Run:
        """Work on an accepted run, and return it as it was accepted."""
        if not is_final(entry.run):
            self._launch(entry)
        copy = pb.Run()
        copy.CopyFrom(entry.run)
        return copy

    async def watch(self, school_id: str, run_id: str) -> AsyncGenerator[pb.Run]:
        """Yield the present state of a run, then later ones, and end after its final state.

        Raises:
            ServiceError: ``RUN_NOT_FOUND``.
        """
        shown = pb.Run()
        while True:
            entry = await self._store.runs.get(school_id, run_id)
            active = self._active.get(run_id)
            if active is not None:
                async with aclosing(active.board.watch()) as states:
                    async for shown in states:
                        yield shown
            elif entry.run != shown:
                shown = entry.run
                yield shown
            if is_final(shown):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def cancel(self, school_id: str, run_id: str) -> pb.Run:
        """Ask a run to stop at its next step; one that has ended is returned as it is.

        Another server that works on it hears of it with its lease's next renewal.

        Raises:
            ServiceError: ``RUN_NOT_FOUND``.
        """
        entry = await self._store.runs.get(school_id, run_id)
        if is_final(entry.run):
            return entry.run
        active = self._active.get(run_id)
        if active is not None:
            active.cancel = True
        entry = await self._store.runs.request_cancel(school_id, run_id)
        await self._store.leases.cancel(school_id, run_id)
        return entry.run

    async def check_connection(self, school_id: str) -> schools.CheckConnectionResponse:
        """Contact the school's MIS and say what is granted; an unreachable MIS is an answer.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``CREDENTIALS_MISSING``.
        """
        school = await self._store.schools.get(school_id)
        connector = self.connectors.get(school.connector)
        connection = await connection_of(
            self._store, self._clock, school, connector, self._traffic, partners=self._partners
        )
        limit = self._options.check_timeout
        try:
            async with session_of(connector, connection, limit, self._options.close_timeout) as session:
                return await check_grants(connector, session, limit)
        except ConnectorError as error:
            secrets = connection.credentials.values()
            return schools.CheckConnectionResponse(failure=from_connector(error, connector.name, secrets))
        except ConnectorDefect as error:
            return schools.CheckConnectionResponse(failure=from_defect(error.defect, connector.name))

    async def condition(self, school: schools.School) -> schools.SchoolCondition | None:
        """Return what keeps the school's runs from succeeding or starting; ``None`` where nothing does."""
        ended = await self._store.runs.finished(school.school_id, LOOKED_AT)
        return condition_of(ended, school, self._clock(), self._partners.changed_at(school.connector))

    async def compare_parsers(self, request: CompareParsersRequest) -> CompareParsersResponse:
        """Read retained rows with two versions of a parser; one comparison at a time, for they are work.

        Raises:
            ServiceError: see :func:`~schoolgate_server.sync.shadow.compare_parsers`.
        """
        async with self._comparing:
            return await compare_parsers(self._store, self.connectors, request)

    async def _sweep(self) -> None:
        """Launch every unfinished run of all servers; the lease decides who really works on it."""
        while True:
            try:
                for entry in await self._store.runs.unfinished():
                    self._launch(entry)
            except StoreUnavailable:
                logger.warning("cannot look for unfinished runs: the store does not answer")
            except Exception as error:  # noqa: BLE001 - without the sweep nobody would adopt a run any more
                logger.error("cannot look for unfinished runs: {}", place_of(error))
            await asyncio.sleep(self._options.lease_ttl.total_seconds())

    async def _keep_schedules(self) -> None:
        """Start what is due, on whichever server looks first."""
        while True:
            await asyncio.sleep(SCHEDULE_SECONDS)
            try:
                await self.scheduler.look()
            except StoreUnavailable:
                logger.warning("cannot look for due runs: the store does not answer")
            except Exception as error:  # noqa: BLE001 - without this loop no scheduled run would start any more
                logger.error("cannot look for due runs: {}", place_of(error))

    def _launch(self, entry: RunEntry) -> None:
        run_id = entry.run.run_id
        if run_id in self._active:
            return
        active = self._active[run_id] = _Active(RunBoard(entry.run))
        active.task = asyncio.create_task(self._work(entry, active), name=run_id)
        active.task.add_done_callback(lambda _: self._active.pop(run_id, None))

    async def _work(self, entry: RunEntry, active: _Active) -> None:
        """Work on a run, and leave no watcher waiting for a board that nobody writes on any more."""
        try:
            await self._drive(entry, active)
        finally:
            self._active.pop(entry.run.run_id, None)
            await active.board.close()

    async def _drive(self, entry: RunEntry, active: _Active) -> None:
        """See a run through to its end, whoever works on it."""
        school_id, run_id = entry.run.school_id, entry.run.run_id
        with logger.contextualize(school_id=school_id, run_id=run_id):
            while True:
                try:
                    # Only what is stored counts: a final state that could not be stored has not been reached.
                    run = await self._attempt(school_id, run_id, active)
                    await active.board.post(run)
                    if is_final(run):
                        return
                except LeaseLost:
                    logger.warning("lost the school to another server")
                except StoreUnavailable:
                    logger.warning("the store does not answer; trying again")
                except Exception as error:  # noqa: BLE001 - the sweep tries again later; the log must say why
                    logger.error("cannot work on the run for now: {}", place_of(error))
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def _attempt(self, school_id: str, run_id: str, active: _Active) -> pb.Run:
        """Work on the run if this server gets the school's lease; return it as it is stored afterwards."""
        ttl = self._options.lease_ttl
        lease = await self._store.leases.acquire(school_id, self._owner, ttl)
        if lease is None:
            return (await self._store.runs.get(school_id, run_id)).run
        async with held_lease(self._store.leases, lease, ttl) as holder, self._slots:
            await self._store.commits.recover(holder())
            entry = await self._store.runs.begin(school_id, run_id)
            active.cancel = active.cancel or entry.run.cancel_requested

            async def post(store: bool) -> None:
                active.cancel = active.cancel or run_id in holder().cancelled
                if active.cancel:
                    entry.run.cancel_requested = True
                if store:
                    await self._store.runs.save(entry, holder().epoch)
                await active.board.post(entry.run)
                if active.cancel:
                    entry.run.cancel_requested = True  # also where that came while it was stored
                    raise RunCancelled

            if not is_final(entry.run):
                logger.info("run begins")
                await self._runner.execute(entry, holder, post)
                await self._store.runs.save(entry, holder().epoch)
                logger.info("run ended: {}", pb.RunState.Name(entry.run.state))
        # Whoever sees the final state may start the next run at once, so the lease is released before.
        return entry.run
