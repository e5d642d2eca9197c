"""Executes one run: opens the connector's session and syncs dataset after dataset."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, Page, SchoolConnection, Scope, Session
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.ingest.context import IngestContext
from schoolgate_server.ingest.identity import identities_of
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.ingest.totals import Totals
from schoolgate_server.mis.connections import (
    RunFailed,
    connection_of,
    connection_with,
    credentials_of,
    opened,
)
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import failure, from_defect
from schoolgate_server.model.profile import dropped_fields
from schoolgate_server.model.quiet import quiet_until
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.store.lease_holder import LeaseHolder
from schoolgate_server.store.store import Store
from schoolgate_server.sync.conclusion import UNFINISHED, conclude
from schoolgate_server.sync.context import CredentialsSuperseded, RunCancelled, RunContext
from schoolgate_server.sync.dataset import WHOLE_SNAPSHOTS, DatasetSync
from schoolgate_server.sync.dispatch import OPERATIONS
from schoolgate_server.sync.operations import OperationEnv, perform
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.refusals import REFUSED
from schoolgate_server.sync.surfaces import note_surfaces

_WHOLE_RUN = REFUSED | {failures.FAILURE_TYPE_RATE_LIMITED}
"""Failures after which further requests of the same run would only do harm."""

Post: TypeAlias = Callable[[bool], Awaitable[None]]
"""Shows the run's state to watchers, and stores it where the argument is true."""


class _Unasked:
    """Stands for the session of a run that asks the MIS nothing."""

    def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        raise RuntimeError(f"this run may not read {scope.dataset} from the MIS, after {cursor!r} or at all")


@dataclass(frozen=True, slots=True)
class Runner:
    """Executes runs with one server's store, connectors, options and traffic with MISs."""

    store: Store
    connectors: ConnectorHost
    clock: Clock
    options: SyncOptions
    traffic: Traffic = field(default_factory=Traffic)
    partners: Partners = NO_PARTNERS

    async def execute(self, entry: RunEntry, lease: LeaseHolder, post: Post) -> None:
        """Bring ``entry`` to a final state; ``post(store)`` shows it to watchers, and stores it where
        ``store`` is true; it may raise ``RunCancelled``.

        Raises:
            LeaseLost: another server owns the school now; the run is left for it.
            StoreUnavailable: MongoDB does not answer; the run is left to be taken up again.
        """
        run, stopped = entry.run, False
        try:
            await self._begin(entry)
            await self._announce(entry, post)
            if run.layer == pb.SYNC_LAYER_IDENTITY:
                await perform(self._environment(lease, post), entry, OPERATIONS)
            else:
                await self._sync(entry, lease, post)
        except (LeaseLost, StoreUnavailable):
            raise
        except RunCancelled:
            logger.info("run cancelled on request")
            stopped = True
        except RunFailed as error:
            run.failure.CopyFrom(error.failure)
        except ServiceError as error:
            run.failure.CopyFrom(_of_service(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must end in a state that says so
            logger.opt(exception=True).error("run failed")
            run.failure.CopyFrom(from_defect(error, None))
        head = await self.store.leases.head(run.school_id)
        run.seq_after = head.published
        conclude(run, self.clock(), stopped=stopped)

    async def _announce(self, entry: RunEntry, post: Post) -> None:
        """Store and show that the run is at work. An operation once begun is finished: half helps nobody."""
        try:
            await post(True)
        except RunCancelled:
            if not (entry.run.layer == pb.SYNC_LAYER_IDENTITY and entry.run.resumptions):
                raise

    async def _begin(self, entry: RunEntry) -> None:
        run = entry.run
        head = await self.store.leases.head(run.school_id)
        if run.HasField("started_at"):
            run.resumptions += 1
        else:
            run.started_at.FromDatetime(self.clock())
            run.seq_before = head.published
        run.state = pb.RUN_STATE_RUNNING

    def _environment(self, lease: LeaseHolder, post: Post) -> OperationEnv:
        return OperationEnv(
            store=self.store,
            connectors=self.connectors,
            clock=self.clock,
            options=self.options,
            lease=lease,
            save=partial(post, True),
            sessions=partial(opened, limits=self.options),
            traffic=self.traffic,
        )

    async def _sync(self, entry: RunEntry, lease: LeaseHolder, post: Post) -> None:
        """Sync the run's datasets; once with newer credentials, where they are replaced meanwhile."""
        try:
            await self._sync_with(entry, lease, post, renewable=True)
        except CredentialsSuperseded:
            logger.info("the MIS refused the credentials; going on with those that were stored since")
            entry.run.ClearField("failure")
            await self._sync_with(entry, lease, post, renewable=False)

    async def _sync_with(self, entry: RunEntry, lease: LeaseHolder, post: Post, *, renewable: bool) -> None:
        run = entry.run
        school = await self.store.schools.get(run.school_id)
        if run.connector != school.connector:
            why = "the school has another connector than when this run was accepted; ask for a new run"
            audience = failures.AUDIENCE_OPERATOR
            raise RunFailed(failure(failures.FAILURE_TYPE_UNSUPPORTED, why, audience=audience))
        connector = self.connectors.get(school.connector)
        async with self._connected(entry, school, connector, renewable=renewable) as (connection, session):
            context = RunContext(
                school=school,
                connector=connector,
                session=session,
                connection=connection,
                entry=entry,
                ingest=await self._ingest_context(run, lease),
                identities=await identities_of(self.store, run.school_id, connector.datasets),
                shaper=Shaper(
                    resolve_meanings(connector.code_meanings, school.code_mappings),
                    dropped_fields(school.data_profile),
                ),
                options=self.options,
                show=partial(post, False),
                save=partial(post, True),
                superseded=partial(self._superseded, connector, connection, renewable=renewable),
            )
            await self._sync_datasets(context)

    @asynccontextmanager
    async def _connected(
        self, entry: RunEntry, school: School, connector: Connector, *, renewable: bool
    ) -> AsyncGenerator[tuple[SchoolConnection, Session]]:
        """Open a session with the school's MIS; none, and without secrets, where the run asks it nothing."""
        run = entry.run
        if run.layer == pb.SYNC_LAYER_REPROJECTION:
            yield connection_with(connector, school.school_id, school.settings, {}, self.clock), _Unasked()
            return
        connection = await connection_of(
            self.store,
            self.clock,
            school,
            connector,
            self.traffic,
            background=entry.scheduled or run.layer == pb.SYNC_LAYER_TARGETED,
            partners=self.partners,
        )
        self._note_quiet_hours(entry, school)
        try:
            async with opened(connector, connection, self.options) as session:
                yield connection, session
        except RunFailed as error:
            refused = error.failure.type in REFUSED
            if refused and await self._superseded(connector, connection, renewable=renewable):
                raise CredentialsSuperseded from error
            raise

    async def _superseded(
        self, connector: Connector, connection: SchoolConnection, *, renewable: bool
    ) -> bool:
        """Whether there are other credentials now than ``connection`` has, and they may be tried still."""
        if not renewable:
            return False
        school_id, settings = connection.school_id, connection.settings
        now = await credentials_of(self.store, school_id, settings, connector, self.partners)
        return bool(now) and now != connection.credentials

    def _note_quiet_hours(self, entry: RunEntry, school: School) -> None:
        """Tell whoever looks at the run that it asks a MIS which is to be spared."""
        until = quiet_until(school, self.clock())
        if until is None or entry.run.HasField("quiet_until"):
            return
        entry.run.quiet_until.FromDatetime(until)
        logger.info("the school's quiet hours last until {:%H:%M} UTC", until)

    async def _sync_datasets(self, context: RunContext) -> None:
        run = context.entry.run
        for state in run.datasets:
            if state.state in UNFINISHED:
                await DatasetSync(context, state.dataset, state).run()
            if state.failure.type in _WHOLE_RUN:
                run.failure.CopyFrom(state.failure)
                return
        if run.layer in WHOLE_SNAPSHOTS:
            await note_surfaces(context)

    async def _ingest_context(self, run: pb.Run, lease: LeaseHolder) -> IngestContext:
        head = await self.store.leases.head(run.school_id)
        published = head.totals.get(run.run_id, {})
        return IngestContext(
            store=self.store,
            school_id=run.school_id,
            run_id=run.run_id,
            clock=self.clock,
            lease=lease,
            commit_batch=self.options.commit_batch,
            totals={dataset: Totals(**counters) for dataset, counters in published.items()},
        )


def _of_service(error: ServiceError) -> failures.Failure:
    """Return the failure of a run that the server itself could not begin or go on with."""
    if error.reason == reasons.ERROR_REASON_CREDENTIALS_MISSING:
        return failure(failures.FAILURE_TYPE_AUTH_INVALID, error.message)
    audience = failures.AUDIENCE_OPERATOR
    return failure(failures.FAILURE_TYPE_INTERNAL, error.message, audience=audience)
