"""A school's MIS within reach: one session for all its writes, opened when it is needed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schoolgate.v1.failure_pb2 import AUDIENCE_OPERATOR, FAILURE_TYPE_INTERNAL, Failure
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, ConnectorError, RateLimited, Session, Transient, WriteOperation
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.blame import ConnectorDefect
from schoolgate_server.mis.connections import connection_of
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.mis.sessions import session_of
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import failure, from_connector, from_defect
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.options import WriteOptions, backoff


@dataclass(frozen=True, slots=True)
class Mis:
    """What a write needs of a school's MIS. ``place`` says, opaque, which one it is."""

    school: School
    connector: Connector
    session: Session
    secrets: tuple[str, ...] = field(repr=False)
    place: str

    def operation(self, name: str) -> WriteOperation | None:
        """Return what the connector declares of an operation, ``None`` where it has none."""
        return operation_of(self.connector, name)

    def failure(self, error: ConnectorError | ConnectorDefect) -> Failure:
        """Return what is told of an error that the connector raised."""
        if isinstance(error, ConnectorDefect):
            return from_defect(error.defect, self.connector.name)
        return from_connector(error, self.connector.name, self.secrets)


def operation_of(connector: Connector, name: str) -> WriteOperation | None:
    """Return what a connector declares of an operation, ``None`` where it has none."""
    return next((each for each in connector.writes if each.name == name), None)


class NotOpened(Exception):
    """A connector could not open a session; ``is_passing`` says that nobody has to mend anything."""

    def __init__(self, why: Failure, *, is_passing: bool) -> None:
        super().__init__(why.message)
        self.failure = why
        self.is_passing = is_passing


class Unreachable(Exception):
    """The MIS cannot be written to for now; ``until`` is when it is tried again."""

    def __init__(self, why: Failure, until: datetime) -> None:
        super().__init__(why.message)
        self.failure = why
        self.until = until


@dataclass(slots=True)
class Trouble:
    """How often in a row a school's MIS could not be reached, and why it is left alone for now."""

    tries: int = 0
    error: Unreachable | None = None


@dataclass(slots=True)
class _Open:
    mis: Mis
    stack: AsyncExitStack
    users: int = 0
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What reaching any school's MIS needs.

    ``traffic`` is what all schools share to be polite to MISs; ``partners`` gives the credentials that
    schools have in common.
    """

    store: Store
    connectors: ConnectorHost
    clock: Clock
    options: WriteOptions
    traffic: Traffic = field(default_factory=Traffic)
    partners: Partners = NO_PARTNERS

    @asynccontextmanager
    async def opened(self, school: School) -> AsyncGenerator[Mis]:
        """Open a session with a school's MIS for the time of the block.

        Quiet hours hold no write back: somebody waits for it.

        Raises:
            ServiceError: CONNECTOR_UNKNOWN; as :func:`connection_of`.
            NotOpened: the connector cannot open it.
        """
        connector = self.connectors.get(school.connector)
        connection = await connection_of(
            self.store, self.clock, school, connector, self.traffic, partners=self.partners
        )
        secrets, options = tuple(connection.credentials.values()), self.options
        async with AsyncExitStack() as stack:
            held = session_of(connector, connection, options.page_timeout, options.close_timeout)
            try:
                session = await stack.enter_async_context(held)
            except ConnectorError as error:
                why = from_connector(error, connector.name, secrets)
                raise NotOpened(why, is_passing=isinstance(error, Transient | RateLimited)) from error
            except ConnectorDefect as error:
                raise NotOpened(from_defect(error.defect, connector.name), is_passing=False) from error
            yield Mis(school, connector, session, secrets, _place(connector, connection.settings))


class Reach:
    """One school's MIS, for those who write to it at once; ``trouble`` outlives it."""

    def __init__(self, around: Surroundings, school_id: str, trouble: Trouble) -> None:
        self._around = around
        self._school_id = school_id
        self._trouble = trouble
        self._lock = asyncio.Lock()
        self._open: _Open | None = None

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Mis]:
        """Give the MIS for the time of the block, by a session that fits the school's registration.

        Raises:
            Unreachable: there is none for now.
            StoreUnavailable: the registration cannot be read.
        """
        async with self._lock:
            held = await self._fitting()
            held.users += 1
        try:
            yield held.mis
        finally:
            held.users -= 1
            await self._close_unused(held)

    def renew(self) -> None:
        """Let the next user get a new session: the credentials may have changed."""
        if self._open is not None:
            self._open.is_stale = True

    async def close(self) -> None:
        """Close the session, once nobody uses it."""
        self.renew()
        if self._open is not None:
            await self._close_unused(self._open)

    async def _fitting(self) -> _Open:
        held = self._open
        if held is not None and not held.is_stale:
            school = await self._around.store.schools.get(self._school_id)
            if _same(school, held.mis.school):
                return held
        self.renew()
        if held is not None:
            await self._close_unused(held)
        self._open = None
        self._open = await self._try()
        return self._open

    async def _try(self) -> _Open:
        trouble, options = self._trouble, self._around.options
        now = self._around.clock()
        if trouble.error is not None and now < trouble.error.until:
            raise trouble.error
        stack = AsyncExitStack()
        try:
            school = await self._around.store.schools.get(self._school_id)
            mis = await stack.enter_async_context(self._around.opened(school))
        except ServiceError as error:
            why, is_passing = failure(FAILURE_TYPE_INTERNAL, error.message, audience=AUDIENCE_OPERATOR), False
        except NotOpened as error:
            why, is_passing = error.failure, error.is_passing
        else:
            trouble.tries, trouble.error = 0, None
            return _Open(mis, stack)
        trouble.tries += 1
        first, longest = options.refused_first, options.refused_longest
        if is_passing:
            first, longest = options.retry_first, options.retry_longest
        until = now + backoff(first, longest, trouble.tries)
        if why.HasField("retry_at"):
            until = max(until, why.retry_at.ToDatetime(tzinfo=UTC))
        trouble.error = Unreachable(why, until)
        raise trouble.error

    async def _close_unused(self, held: _Open) -> None:
        if held.is_stale and not held.users:
            await held.stack.aclose()


def _same(one: School, other: School) -> bool:
    return one.connector == other.connector and one.settings == other.settings


def _place(connector: Connector, settings: Mapping[str, str]) -> str:
    """Return what differs where a school's writes would go to another MIS."""
    names = sorted(spec.name for spec in connector.settings if spec.endpoint or spec.scope)
    parts = [connector.name, *(f"{name}={settings.get(name, '')}" for name in names)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
