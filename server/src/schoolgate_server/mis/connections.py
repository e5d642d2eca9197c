"""Connections to schools' MISs: what a connector needs, and its session with every error as a failure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.failure_pb2 import Failure
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, ConnectorError, SchoolConnection, Session
from schoolgate_sdk.traffic import Traffic
from schoolgate_server.mis.blame import ConnectorDefect
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.mis.sessions import SessionLimits, session_of
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import from_connector, from_defect
from schoolgate_server.model.quiet import quiet_until
from schoolgate_server.store.store import Store


class RunFailed(Exception):
    """The run as a whole cannot go on; ``failure`` says why, and who can act."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def connection_with(
    connector: Connector,
    school_id: str,
    settings: Mapping[str, str],
    credentials: Mapping[str, str],
    clock: Clock,
    traffic: Traffic | None = None,
    quiet: Callable[[], bool] = lambda: False,
) -> SchoolConnection:
    """Return what ``connector`` needs to open a session, with the settings' defaults filled in.

    ``traffic`` is the server's, shared by all schools; without one the session is on its own. ``quiet`` says
    whether the MIS is to be spared.
    """
    defaults = {spec.name: spec.default for spec in connector.settings if spec.default}
    return SchoolConnection(
        school_id=school_id,
        settings=defaults | dict(settings),
        now=clock,
        credentials=credentials,
        traffic=traffic or Traffic(),
        quiet=quiet,
    )


async def connection_of(
    store: Store,
    clock: Clock,
    school: School,
    connector: Connector,
    traffic: Traffic | None = None,
    *,
    background: bool = False,
    partners: Partners = NO_PARTNERS,
) -> SchoolConnection:
    """Return what ``connector`` needs to open a session with ``school``'s MIS.

    A ``background`` session spares the MIS in the school's quiet hours: nobody waits for it. ``partners``
    gives the credentials that all schools of a connector have in common; a school's own go before them.

    Raises:
        ServiceError: ``CREDENTIALS_MISSING``, or the vault cannot be opened.
    """
    credentials = await credentials_of(store, school.school_id, school.settings, connector, partners)
    # Also where each is optional: which of several are needed may be up to the settings.
    missing = not credentials and connector.credentials
    if missing or any(spec.required and not credentials.get(spec.name) for spec in connector.credentials):
        raise ServiceError(
            reasons.ERROR_REASON_CREDENTIALS_MISSING,
            f"school {school.school_id!r} has no credentials; set them with SchoolService.SetCredentials",
            metadata={"school_id": school.school_id},
        )
    latest = await store.schools.get(school.school_id)
    if latest.settings != school.settings:
        # The school moved meanwhile, and what was read may be its new secrets: never to the old address.
        return await connection_of(
            store, clock, latest, connector, traffic, background=background, partners=partners
        )

    def quiet() -> bool:
        return background and quiet_until(school, clock()) is not None

    school_id, settings = school.school_id, school.settings
    return connection_with(connector, school_id, settings, credentials, clock, traffic, quiet)


async def credentials_of(
    store: Store, school_id: str, settings: Mapping[str, str], connector: Connector, partners: Partners
) -> Mapping[str, str]:
    """Return the credentials for a school with ``settings`` as they are now, the partner's among them.

    Raises:
        ServiceError: the vault cannot be opened.
    """
    own = await store.credentials.get(school_id)
    return {**partners.credentials(connector, school_id, settings), **(own or {})}


@asynccontextmanager
async def opened(
    connector: Connector, connection: SchoolConnection, limits: SessionLimits
) -> AsyncGenerator[Session]:
    """Open a session for the time of the block.

    Raises:
        RunFailed: it could not be opened, or the block let an error of the connector pass.
    """
    try:
        async with session_of(connector, connection, limits.page_timeout, limits.close_timeout) as session:
            yield session
    except ConnectorError as error:
        secrets = connection.credentials.values()
        raise RunFailed(from_connector(error, connector.name, secrets)) from error
    except ConnectorDefect as error:
        raise RunFailed(from_defect(error.defect, connector.name)) from error
