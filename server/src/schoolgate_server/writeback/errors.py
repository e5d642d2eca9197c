"""The errors that are writing's own."""

from __future__ import annotations

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError

_QUOTA_RETRY_S = 3600.0
"""Places come free over a day; asking every hour is enough."""


def write_unsupported(operation: str, connector: str) -> ServiceError:
    """Return the error for an operation that the school's connector cannot write."""
    return ServiceError(
        reasons.ERROR_REASON_WRITE_UNSUPPORTED,
        f"the school's connector, {connector}, cannot write {operation}; see ListConnectors",
        metadata={"operation": operation, "connector": connector},
    )


def policy_forbids(operation: str, environment: str, policy: pb.WritePolicy.ValueType) -> ServiceError:
    """Return the error for an operation that ``policy`` does not let through."""
    named = pb.WritePolicy.Name(policy).removeprefix("WRITE_POLICY_")
    return ServiceError(
        reasons.ERROR_REASON_WRITE_POLICY_OFF,
        f"the school's policy for {operation} in environment {environment} is {named}; see SetWritePolicy",
        metadata={"operation": operation, "environment": environment},
    )


def quota_exceeded(operation: str, quota: int) -> ServiceError:
    """Return the error for one write more than the school's policy takes within 24 hours."""
    return ServiceError(
        reasons.ERROR_REASON_WRITE_QUOTA_EXCEEDED,
        f"{quota} writes of {operation} were accepted within 24 hours, as many as the school's policy takes",
        metadata={"operation": operation, "daily_quota": str(quota)},
        retry_after=_QUOTA_RETRY_S,
    )


def key_reused(write_id: str) -> ServiceError:
    """Return the error for an idempotency key that came before with another action."""
    return ServiceError(
        reasons.ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
        f"this idempotency key came before with another action, {write_id}; take another key",
        metadata={"write_id": write_id},
    )


def approver_is_submitter(write_id: str) -> ServiceError:
    """Return the error for who would approve what they submitted."""
    return ServiceError(
        reasons.ERROR_REASON_APPROVER_IS_SUBMITTER,
        f"{write_id} was submitted by this caller, and another one must approve it; on a server without a "
        "callers file everybody is the same caller, so that nothing can be approved there",
        metadata={"write_id": write_id},
    )


def wrong_state(write: pb.Write, why: str) -> ServiceError:
    """Return the error for what cannot be done with a write as it stands; ``why`` follows its id."""
    state = pb.WriteState.Name(write.state).removeprefix("WRITE_STATE_")
    return ServiceError(
        reasons.ERROR_REASON_WRITE_STATE_MISMATCH,
        f"{write.write_id} {why}; it is {state}",
        metadata={"write_id": write.write_id, "state": state},
    )
