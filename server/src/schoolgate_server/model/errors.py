"""The errors that a caller of the API can meet, independent of how they travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schoolgate.v1 import error_reason_pb2 as reasons


class Violation(NamedTuple):
    """One field of a request that is wrong, and in which way."""

    field: str
    description: str


class ServiceError(Exception):
    """A request that cannot be served, for a reason that the API documents.

    Args:
        reason: a value of ``schoolgate.v1.ErrorReason``; it decides the gRPC status.
        message: one sentence for the caller, without secrets and personal data.
        metadata: what ``ErrorInfo.metadata`` carries.
        violations: the fields at fault, for ``BadRequest``.
        retry_after: seconds until a retry makes sense, for ``RetryInfo``.
    """

    def __init__(
        self,
        reason: reasons.ErrorReason.ValueType,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


def school_not_found(school_id: str) -> ServiceError:
    """Return the error for a school that is not registered."""
    return ServiceError(
        reasons.ERROR_REASON_SCHOOL_NOT_FOUND,
        f"no school {school_id!r} is registered",
        metadata={"school_id": school_id},
    )


def record_not_found(school_id: str) -> ServiceError:
    """Return the error for a record that the school does not have."""
    return ServiceError(reasons.ERROR_REASON_RECORD_NOT_FOUND, "", metadata={"school_id": school_id})


def invalid_request(*violations: Violation) -> ServiceError:
    """Return the error for a request with malformed fields; names every one."""
    named = "; ".join(f"{field}: {description}" for field, description in violations)
    return ServiceError(reasons.ERROR_REASON_REQUEST_INVALID, named, violations=violations)
