"""What the datasets of one run share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date

from schoolgate.v1.failure_pb2 import Failure
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, ConnectorError, SchoolConnection, Session
from schoolgate_server.ingest.context import IngestContext
from schoolgate_server.ingest.identity import Identities
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.model.failures import from_connector
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.sync.options import SyncOptions


class RunCancelled(Exception):
    """Somebody asked the run to stop."""


class CredentialsSuperseded(Exception):
    """The MIS refused the session's credentials, and newer ones are stored."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the datasets of one run share.

    ``show`` shows the run's state to watchers; ``save`` stores it too. Both raise :class:`RunCancelled` where
    the run is to stop. ``superseded`` says whether newer credentials are stored than the session has, and are
    worth another session.
    """

    school: School
    connector: Connector
    session: Session
    connection: SchoolConnection
    entry: RunEntry
    ingest: IngestContext
    identities: Identities
    shaper: Shaper
    options: SyncOptions
    show: Callable[[], Awaitable[None]]
    save: Callable[[], Awaitable[None]]
    superseded: Callable[[], Awaitable[bool]]

    def failure(self, error: ConnectorError) -> Failure:
        """Return the failure for an error of the run's connector."""
        return from_connector(error, self.connector.name, self.connection.credentials.values())

    @property
    def today(self) -> date:
        """The present day (UTC)."""
        return self.ingest.clock().date()
