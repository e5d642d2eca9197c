"""What WritebackService refuses by the looks of it (G18): everything that is wrong, at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import OPERATIONS, WriteConditions
from schoolgate_server.rpc import write_checks as checks

WRITE = "wrt_0123456789abcdef0123456789abcdef"
RECORD = "beh_0123456789abcdef0123456789abcdef"
UUID = "0b0e7a44-7f0d-4d35-9d4c-6d1d6a6c3f10"
NAMED: dict[str, Any] = {"school_id": "oak", "write_id": WRITE, "request_id": UUID}
TOOK_EFFECT = pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT
UNKNOWN: Any = 99
"""Of a newer client, or of a hostile one."""


def wrong(check: Callable[[Any], object], request: object) -> set[str]:
    """Return the fields that ``check`` complains of; no description repeats a value."""
    try:
        check(request)
    except ServiceError as error:
        refusal = error
    else:
        return set()
    assert refusal.reason in {reasons.ERROR_REASON_REQUEST_INVALID, reasons.ERROR_REASON_PAGE_SIZE_INVALID}
    assert "hostile" not in refusal.message
    return {violation.field for violation in refusal.violations}


def test_g18_everything_that_is_wrong_with_a_decision_is_told() -> None:
    for kind in (pb.ApproveWriteRequest, pb.CancelWriteRequest, pb.ReverseWriteRequest):
        bad = kind(school_id="no\n", write_id="hostile", request_id="1", comment="x" * 2001)
        assert wrong(checks.check_decision, bad) == {"school_id", "write_id", "request_id", "comment"}
        assert wrong(checks.check_decision, kind(**NAMED, comment="x" * 2000)) == set()
    settled = pb.ResolveWriteRequest(school_id="no\n", write_id="hostile", request_id="1", comment="x" * 2001)
    assert wrong(checks.check_decision, settled) == {
        *("school_id", "write_id", "request_id", "comment", "outcome"),
    }


@pytest.mark.parametrize(
    "write_id",
    ["", "wrt_", WRITE.upper(), f"{WRITE}0", f"{WRITE}\n", WRITE.replace("wrt", "run"), "wrt_" + "g" * 32],
)
def test_what_is_no_id_of_a_write(write_id: str) -> None:
    request = pb.GetWriteRequest(school_id="oak", write_id=write_id)
    assert wrong(checks.check_write, request) == {"write_id"}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"outcome": TOOK_EFFECT, "mis_ids": [str(n) for n in range(20)]}, set[str]()),
        ({"outcome": TOOK_EFFECT, "mis_ids": [str(n) for n in range(21)]}, {"mis_ids"}),
        ({"outcome": TOOK_EFFECT, "mis_ids": ["7", "7"]}, {"mis_ids"}),
        ({"outcome": TOOK_EFFECT, "mis_ids": ["7", "x" * 201]}, {"mis_ids[1]"}),
        ({"outcome": TOOK_EFFECT, "mis_ids": ["", "\x1b[2J"]}, {"mis_ids[0]", "mis_ids[1]"}),
        ({"outcome": pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_GIVE_UP, "mis_ids": ["7"]}, {"mis_ids"}),
        ({"outcome": UNKNOWN}, {"outcome"}),
    ],
)
def test_settlements(changes: Mapping[str, Any], fields: set[str]) -> None:
    assert wrong(checks.check_decision, pb.ResolveWriteRequest(**NAMED, **changes)) == fields


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, set[str]()),
        ({"operation": "record_consent", "environment": "staging-2", "daily_quota": 1}, set[str]()),
        ({"operation": "hostile"}, {"operation"}),
        ({"policy": 0}, {"policy"}),
        ({"policy": UNKNOWN}, {"policy"}),
        ({"daily_quota": -1}, {"daily_quota"}),
        ({"daily_quota": 2**31 - 1}, {"daily_quota"}),
        ({"environment": "x" * 64}, {"environment"}),
        ({"environment": "prod$where"}, {"environment"}),
        ({"cancel_queued": True}, {"cancel_queued"}),
        ({"cancel_queued": True, "policy": pb.WRITE_POLICY_OFF}, set[str]()),
        ({"school_id": "", "request_id": "", "comment": "x" * 2001}, {"school_id", "request_id", "comment"}),
    ],
)
def test_policies(changes: Mapping[str, Any], fields: set[str]) -> None:
    given: dict[str, Any] = {"school_id": "oak", "request_id": UUID, "policy": pb.WRITE_POLICY_ON}
    assert wrong(checks.check_policy, pb.SetWritePolicyRequest(**(given | dict(changes)))) == fields


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_policy(operation: str) -> None:
    request = pb.SetWritePolicyRequest(
        school_id="oak", request_id=UUID, policy=pb.WRITE_POLICY_ON, operation=operation
    )
    assert wrong(checks.check_policy, request) == set()


def test_questions_for_policies_and_for_all_writes_name_a_school() -> None:
    request = pb.GetWritePolicyRequest(school_id="no\n", environment="PROD")
    assert wrong(checks.check_question_of_policy, request) == {"school_id", "environment"}
    assert wrong(checks.check_school, pb.WatchWritesRequest()) == {"school_id"}
    assert wrong(checks.check_submission, pb.SubmitWriteRequest(school_id="x" * 64)) == {"school_id"}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"page_size": 1001}, {"page_size"}),
        ({"page_size": -1}, {"page_size"}),
        ({"states": [0]}, {"states[0]"}),
        ({"states": [pb.WRITE_STATE_SENT, UNKNOWN]}, {"states[1]"}),
        ({"states": [pb.WRITE_STATE_SENT] * 2}, {"states"}),
        ({"states": [pb.WRITE_STATE_SENT] * 100_000}, {"states"}),
        ({"mis_id": "x" * 201, "idempotency_key": "\x00"}, {"mis_id", "idempotency_key"}),
        ({"record_id": "hostile", "student_id": "stu_1"}, {"record_id", "student_id"}),
    ],
)
def test_lists(changes: Mapping[str, Any], fields: set[str]) -> None:
    given: dict[str, Any] = {"school_id": "oak"}
    request = pb.ListWritesRequest(**(given | dict(changes)))
    assert wrong(checks.conditions_of, request) == fields


def test_conditions_are_those_of_the_request() -> None:
    request = pb.ListWritesRequest(
        school_id="oak",
        states=[pb.WRITE_STATE_SENT],
        mis_id="4711",
        record_id=RECORD,
        student_id=RECORD,
        idempotency_key="k",
        page_size=7,
    )
    expected = WriteConditions(frozenset({pb.WRITE_STATE_SENT}), "4711", RECORD, RECORD, "k")
    assert checks.conditions_of(request) == (expected, 7)
    assert checks.conditions_of(pb.ListWritesRequest(school_id="oak")) == (WriteConditions(), 100)
