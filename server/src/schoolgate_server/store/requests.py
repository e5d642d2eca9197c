"""Requests that may come twice: the second one gets the first one's result."""

from __future__ import annotations

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError


def reused() -> ServiceError:
    """Return the error for a request id that came before with a different request."""
    return ServiceError(
        reasons.ERROR_REASON_REQUEST_ID_REUSED,
        "this request_id came before with a different request; use a new one",
    )
