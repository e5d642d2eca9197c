"""What can go wrong between a connector and its MIS.

The type of an error says what is to happen next; its text says what a person needs to know. Texts never
hold secrets or pupils' data: cut response bodies before quoting them.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import ClassVar

from schoolgate.v1 import failure_pb2


class ConnectorError(Exception):
    """Base of all errors that a connector raises on purpose.

    Args:
        message: one sentence, without secrets and personal data.
        entity: the MIS entity concerned, if one is.
    """

    failure_type: ClassVar[failure_pb2.FailureType.ValueType]

    def __init__(self, message: str, *, entity: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.entity = entity


class Transient(ConnectorError):
    """The same request may succeed later: a reset, a timeout, HTTP 5xx, invalid JSON under HTTP 200."""

    failure_type = failure_pb2.FAILURE_TYPE_TRANSIENT


class CircuitOpen(Transient):
    """The MIS failed so often that it is left alone, until ``until`` (timezone-aware). Nothing was sent."""

    def __init__(self, message: str, *, until: datetime, entity: str | None = None) -> None:
        super().__init__(message, entity=entity)
        self.until = until


class RateLimited(ConnectorError):
    """The MIS asked for a pause; ``until`` says how long, where it said so (timezone-aware)."""

    failure_type = failure_pb2.FAILURE_TYPE_RATE_LIMITED

    def __init__(self, message: str, *, until: datetime | None = None, entity: str | None = None) -> None:
        super().__init__(message, entity=entity)
        self.until = until


class Identity(enum.Enum):
    """Whose credentials a MIS refuses: two parties prove who they are, and different people can help."""

    PARTNER = "partner"
    """Whoever runs schoolgate, as the MIS's partner: an application's id and secret."""
    SCHOOL = "school"
    """The school: its grant to the partner, a token, or an account that it manages."""


class AuthExpired(ConnectorError):
    """The credentials were accepted before and have expired; ``identity`` says whose, where that is known."""

    failure_type = failure_pb2.FAILURE_TYPE_AUTH_EXPIRED

    def __init__(self, message: str, *, identity: Identity | None = None, entity: str | None = None) -> None:
        super().__init__(message, entity=entity)
        self.identity = identity


class AuthInvalid(ConnectorError):
    """The MIS does not accept the credentials; ``identity`` says whose, where that is known."""

    failure_type = failure_pb2.FAILURE_TYPE_AUTH_INVALID

    def __init__(self, message: str, *, identity: Identity | None = None, entity: str | None = None) -> None:
        super().__init__(message, entity=entity)
        self.identity = identity


class AuthRevoked(AuthInvalid):
    """The MIS says that somebody has withdrawn what was accepted before: new secrets alone may not help."""

    failure_type = failure_pb2.FAILURE_TYPE_AUTH_REVOKED


class EntityDenied(ConnectorError):
    """The school has not granted ``entity``, or has withdrawn it."""

    failure_type = failure_pb2.FAILURE_TYPE_PERMISSION

    def __init__(self, message: str, *, entity: str) -> None:
        super().__init__(message, entity=entity)


class SchemaChanged(ConnectorError):
    """The MIS answered in a shape that the connector does not know."""

    failure_type = failure_pb2.FAILURE_TYPE_SCHEMA


class Incomplete(ConnectorError):
    """The read ended without proof of its end, or what was read contradicts itself."""

    failure_type = failure_pb2.FAILURE_TYPE_INCOMPLETE


class CursorExpired(Incomplete):
    """The MIS no longer knows the position from which changes were asked for; a full read heals it."""


class Unsupported(ConnectorError):
    """The MIS or this connector does not offer what was asked for."""

    failure_type = failure_pb2.FAILURE_TYPE_UNSUPPORTED


class WriteStopped(ConnectorError):
    """The server let a write not leave (``WriteRequest.leaving``); no connector raises it by itself.

    It says nothing of the MIS, so it has no type of failure.
    """
