"""Checking the requests of WritebackService, but for what is to be written: that is held against the copy."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TypeAlias

from google.protobuf.unknown_fields import UnknownFieldSet

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import OPERATIONS, WriteConditions, action_of, operation_name
from schoolgate_server.rpc.checks import Violations

_ENVIRONMENT = re.compile(r"[a-z0-9-]{1,63}")
_LONGEST_ID = 200
"""Characters of ids that the MIS or the caller chose."""
_MOST_MIS_IDS = 20
_LARGEST_QUOTA = 1_000_000

DecisionOnWrite: TypeAlias = (
    pb.ApproveWriteRequest | pb.CancelWriteRequest | pb.ReverseWriteRequest | pb.ResolveWriteRequest
)
"""Request of a person's decision about one write."""


def check_submission(request: pb.SubmitWriteRequest) -> None:
    """Raise what is wrong with the frame of a submission; the rest is told with what it is about.

    A field that a newer caller knows and this server does not may change what is meant: such an action is
    refused rather than written without it.
    """
    violations = Violations()
    violations.school_id(request.school_id)
    name = operation_name(request.operation)
    parts = [request.operation, *([action_of(request.operation)] if name else [])]
    if any(len(UnknownFieldSet(part)) for part in parts):
        violations.add("operation", "must hold no fields that this server does not know")
    violations.raise_any()


def check_write(request: pb.GetWriteRequest) -> None:
    """Raise what is wrong with the name of a write."""
    violations = Violations()
    _check_name(request, violations)
    violations.raise_any()


def check_school(request: pb.WatchWritesRequest) -> None:
    """Raise what is wrong with the name of a school."""
    violations = Violations()
    violations.school_id(request.school_id)
    violations.raise_any()


def check_decision(request: DecisionOnWrite) -> None:
    """Raise what is wrong with a decision about one write."""
    violations = Violations()
    _check_name(request, violations)
    violations.request_id(request.request_id)
    violations.comment(request.comment)
    if isinstance(request, pb.ResolveWriteRequest):
        known = pb.ResolveWriteRequest.Outcome
        _check_enum(request.outcome, "outcome", known.values(), list(known.keys()), violations)
        violations.each_once(request.mis_ids, "mis_ids", maximum=_MOST_MIS_IDS, what="id")
        for index, mis_id in enumerate(request.mis_ids[:_MOST_MIS_IDS]):
            violations.text(mis_id, f"mis_ids[{index}]", maximum=_LONGEST_ID, required=True)
        if request.mis_ids and request.outcome != known.OUTCOME_TOOK_EFFECT:
            violations.add("mis_ids", "must not be given, except for OUTCOME_TOOK_EFFECT")
    violations.raise_any()


def check_policy(request: pb.SetWritePolicyRequest) -> None:
    """Raise what is wrong with a policy that is to be set."""
    violations = Violations()
    violations.school_id(request.school_id)
    violations.request_id(request.request_id)
    violations.comment(request.comment)
    _check_environment(request.environment, violations)
    if request.operation and request.operation not in OPERATIONS:
        violations.add("operation", f"must be empty, for all, or one of {', '.join(OPERATIONS)}")
    known = pb.WritePolicy
    _check_enum(request.policy, "policy", known.values(), list(known.keys()), violations)
    if not 0 <= request.daily_quota <= _LARGEST_QUOTA:
        violations.add("daily_quota", f"must be between 1 and {_LARGEST_QUOTA}; 0 means no limit")
    if request.cancel_queued and request.policy != pb.WRITE_POLICY_OFF:
        violations.add("cancel_queued", "must not be given, except with WRITE_POLICY_OFF")
    violations.raise_any()


def check_question_of_policy(request: pb.GetWritePolicyRequest) -> None:
    """Raise what is wrong with a question for policies."""
    violations = Violations()
    violations.school_id(request.school_id)
    _check_environment(request.environment, violations)
    violations.raise_any()


def conditions_of(request: pb.ListWritesRequest) -> tuple[WriteConditions, int]:
    """Return what is asked for and how much of it at once; raises what is wrong with the request."""
    violations = Violations()
    violations.school_id(request.school_id)
    known = pb.WriteState.values()
    violations.each_once(request.states, "states", maximum=len(known), what="state")
    for index, state in enumerate(request.states[: len(known)]):
        if not state or state not in known:
            violations.add(f"states[{index}]", "must be a state of a write, for example WRITE_STATE_PENDING")
    for name in ("record_id", "student_id"):
        if getattr(request, name):
            violations.record_id(getattr(request, name), name)
    for name in ("mis_id", "idempotency_key"):
        violations.text(getattr(request, name), name, maximum=_LONGEST_ID)
    limit = violations.size(request.page_size, default=100, maximum=1000)
    violations.raise_any()
    conditions = WriteConditions(
        states=frozenset(request.states),
        mis_id=request.mis_id,
        record_id=request.record_id,
        student_id=request.student_id,
        idempotency_key=request.idempotency_key,
    )
    return conditions, limit


def _check_name(request: pb.GetWriteRequest | DecisionOnWrite, violations: Violations) -> None:
    violations.school_id(request.school_id)
    violations.write_id(request.write_id)


def _check_environment(environment: str, violations: Violations) -> None:
    if environment and not _ENVIRONMENT.fullmatch(environment):
        violations.add("environment", "must be empty, or 1 to 63 lower-case letters, digits and hyphens")


def _check_enum(
    value: int, field: str, known: Container[int], names: list[str], violations: Violations
) -> None:
    if not value or value not in known:
        violations.add(field, f"must be one of {', '.join(names[1:])}")
