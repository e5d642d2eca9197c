"""How errors travel: reason → status code and text, and the ``google.rpc.Status`` that carries them."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate_server.model.checks import MOST_VIOLATIONS
from schoolgate_server.model.errors import ServiceError

DOMAIN = "schoolgate"
"""``ErrorInfo.domain`` of every error of this API."""

_PREFIX = "ERROR_REASON_"

# HTTP/2 peers refuse trailers above 8 KiB by default, and an error that is refused says nothing. The status
# is sent in base64, and its message a second time, so that these leave room for both.
_MESSAGE_CHARACTERS = 400
_VALUE_CHARACTERS = 120
_VIOLATIONS_BYTES = 2800


class Presentation(NamedTuple):
    """How one reason is shown.

    ``text`` is what a caller reads where the error brings no sentence of its own. ``retry_after`` is in
    seconds, and used where the error names no time itself.
    """

    code: int
    text: str
    retry_after: float | None = None


PRESENTATIONS: MappingProxyType[r.ErrorReason.ValueType, Presentation] = MappingProxyType(
    {
        r.ERROR_REASON_TOKEN_INVALID: Presentation(
            Code.UNAUTHENTICATED, "send `authorization: Bearer <token>` metadata with a known token"
        ),
        r.ERROR_REASON_ROLE_MISSING: Presentation(
            Code.PERMISSION_DENIED, "the caller's roles do not include the one that this method needs"
        ),
        r.ERROR_REASON_SCHOOL_FORBIDDEN: Presentation(
            Code.PERMISSION_DENIED, "the caller may not act for this school"
        ),
        r.ERROR_REASON_REQUEST_INVALID: Presentation(
            Code.INVALID_ARGUMENT, "the request is missing a field, or a field is malformed"
        ),
        r.ERROR_REASON_FILTER_INVALID: Presentation(
            Code.INVALID_ARGUMENT, "a filter asks for what the kind does not offer"
        ),
        r.ERROR_REASON_PAGE_SIZE_INVALID: Presentation(
            Code.INVALID_ARGUMENT, "a page size or limit is outside its bounds"
        ),
        r.ERROR_REASON_PAGE_TOKEN_INVALID: Presentation(
            Code.INVALID_ARGUMENT, "the page token belongs to another question; start again without one"
        ),
        r.ERROR_REASON_SCHOOL_NOT_FOUND: Presentation(
            Code.NOT_FOUND, "no school is registered under this id"
        ),
        r.ERROR_REASON_RECORD_NOT_FOUND: Presentation(Code.NOT_FOUND, "the school has no such record"),
        r.ERROR_REASON_RUN_NOT_FOUND: Presentation(Code.NOT_FOUND, "the school has no such run"),
        r.ERROR_REASON_SCHOOL_ALREADY_EXISTS: Presentation(
            Code.ALREADY_EXISTS, "a school is registered under this id already"
        ),
        r.ERROR_REASON_REQUEST_ID_REUSED: Presentation(
            Code.ALREADY_EXISTS, "this request_id came before with a different request; use a new one"
        ),
        r.ERROR_REASON_CONNECTOR_UNKNOWN: Presentation(
            Code.INVALID_ARGUMENT, "no connector of this name is configured and loaded; see ListConnectors"
        ),
        r.ERROR_REASON_DATASET_UNKNOWN: Presentation(
            Code.INVALID_ARGUMENT, "the connector has no dataset of this name; see ListConnectors"
        ),
        r.ERROR_REASON_CREDENTIALS_MISSING: Presentation(
            Code.FAILED_PRECONDITION, "the school has no credentials; store them with SetCredentials"
        ),
        r.ERROR_REASON_RUN_IN_PROGRESS: Presentation(
            Code.ABORTED, "the school is being synced already; follow that run with WatchRun"
        ),
        r.ERROR_REASON_ETAG_MISMATCH: Presentation(
            Code.ABORTED, "the school was changed since it was read; read it again and repeat the change"
        ),
        r.ERROR_REASON_METHOD_NOT_SERVED: Presentation(
            Code.UNIMPLEMENTED, "this method is part of the API and not yet served by this release"
        ),
        r.ERROR_REASON_STORE_UNAVAILABLE: Presentation(
            Code.UNAVAILABLE, "MongoDB cannot be reached or has no primary; try again", 2.0
        ),
        r.ERROR_REASON_VAULT_UNAVAILABLE: Presentation(
            Code.FAILED_PRECONDITION,
            "the key that protects credentials cannot be used; check the server's vault settings",
        ),
        r.ERROR_REASON_KNOWN_AT_UNSETTLED: Presentation(
            Code.UNAVAILABLE, "a commit of that time is under way; ask again", 1.0
        ),
        r.ERROR_REASON_SHUTTING_DOWN: Presentation(
            Code.UNAVAILABLE, "the server is stopping and takes no new work; try again", 2.0
        ),
        r.ERROR_REASON_HOLD_NOT_FOUND: Presentation(
            Code.NOT_FOUND, "the school has no open hold under this id; see ListHolds"
        ),
        r.ERROR_REASON_HOLD_DIGEST_MISMATCH: Presentation(
            Code.ABORTED, "the hold is over another change set than the digest names; look at it again"
        ),
        r.ERROR_REASON_TOO_MANY_CALLS: Presentation(
            Code.RESOURCE_EXHAUSTED, "as many calls of this method are open as the server takes; end some"
        ),
        r.ERROR_REASON_PROPOSAL_NOT_FOUND: Presentation(
            Code.NOT_FOUND, "the school has no open proposal under this id; see ListIdentityProposals"
        ),
        r.ERROR_REASON_RECORDS_NOT_MERGEABLE: Presentation(
            Code.FAILED_PRECONDITION, "these two records cannot be merged"
        ),
        r.ERROR_REASON_MIS_CHANGE_PLAN_NOT_FOUND: Presentation(
            Code.NOT_FOUND, "the school has no plan for a change of MIS; make one with PlanMisChange"
        ),
        r.ERROR_REASON_MIS_CHANGE_PLAN_STALE: Presentation(
            Code.ABORTED, "the plan is not the latest, or records have changed since; plan again"
        ),
        r.ERROR_REASON_PARSER_VERSION_UNKNOWN: Presentation(
            Code.INVALID_ARGUMENT, "the dataset's parser has no such version; see ListConnectors"
        ),
        r.ERROR_REASON_ROWS_NOT_RETAINED: Presentation(
            Code.FAILED_PRECONDITION, "no source rows are retained; sync the school in full first"
        ),
        r.ERROR_REASON_CURSOR_INVALID: Presentation(
            Code.INVALID_ARGUMENT, "the cursor is not one of WatchChanges; begin with a snapshot"
        ),
        r.ERROR_REASON_CURSOR_FOREIGN: Presentation(
            Code.INVALID_ARGUMENT,
            "the cursor is of another school or registration, or of other kinds; begin with a snapshot",
        ),
        r.ERROR_REASON_CURSOR_TOO_OLD: Presentation(
            Code.OUT_OF_RANGE, "what changed after the cursor is no longer known; begin with a snapshot"
        ),
        r.ERROR_REASON_CURSOR_FROM_FUTURE: Presentation(
            Code.OUT_OF_RANGE,
            "the cursor has seen what the store has not, which was restored since; begin with a snapshot",
        ),
        r.ERROR_REASON_FIELDS_NOT_KEPT: Presentation(
            Code.FAILED_PRECONDITION, "the school's data profile does not keep what the answer is made of"
        ),
        r.ERROR_REASON_DEADLINE_EXCEEDED: Presentation(
            Code.DEADLINE_EXCEEDED, "the answer takes longer than it may; ask for less"
        ),
        r.ERROR_REASON_WRITE_NOT_FOUND: Presentation(
            Code.NOT_FOUND, "the school has no write under this id; see ListWrites"
        ),
        r.ERROR_REASON_WRITE_POLICY_OFF: Presentation(
            Code.FAILED_PRECONDITION,
            "the school's policy does not let this operation be written; see SetWritePolicy",
        ),
        r.ERROR_REASON_WRITE_UNSUPPORTED: Presentation(
            Code.FAILED_PRECONDITION, "the school's connector cannot write this operation; see ListConnectors"
        ),
        r.ERROR_REASON_IDEMPOTENCY_KEY_REUSED: Presentation(
            Code.ALREADY_EXISTS, "this idempotency key came before with a different action; use another one"
        ),
        r.ERROR_REASON_APPROVER_IS_SUBMITTER: Presentation(
            Code.PERMISSION_DENIED, "a write is approved by somebody other than its submitter"
        ),
        r.ERROR_REASON_WRITE_STATE_MISMATCH: Presentation(
            Code.FAILED_PRECONDITION, "a write in this state does not allow that; see GetWrite"
        ),
        r.ERROR_REASON_WRITE_QUOTA_EXCEEDED: Presentation(
            Code.RESOURCE_EXHAUSTED,
            "as many writes of this operation were accepted within 24 hours as the policy lets through",
            3600.0,
        ),
        r.ERROR_REASON_INTERNAL: Presentation(
            Code.INTERNAL, "a defect of schoolgate; the server's log has it under the correlation id"
        ),
    }
)
"""One row per reason that can be sent."""


def reason_name(reason: r.ErrorReason.ValueType) -> str:
    """Return the name of ``reason`` as ``ErrorInfo`` carries it, for example "SCHOOL_NOT_FOUND"."""
    return r.ErrorReason.Name(reason).removeprefix(_PREFIX)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _packed(message: Message) -> AnyMessage:
    holder = AnyMessage()
    holder.Pack(message)
    return holder


def _bad_request(error: ServiceError) -> BadRequest:
    """Return the violations, as many as fit, ``MOST_VIOLATIONS`` at most; a last one counts the others."""
    result = BadRequest()
    for violation in error.violations[:MOST_VIOLATIONS]:
        result.field_violations.add(
            field=_cut(violation.field, _VALUE_CHARACTERS), description=_cut(violation.description, 300)
        )
        if result.ByteSize() > _VIOLATIONS_BYTES:
            del result.field_violations[-1]
            break
    left_out = len(error.violations) - len(result.field_violations)
    if left_out:
        result.field_violations.add(field="…", description=f"and {left_out} more")
    return result


def rich_status(error: ServiceError) -> Status:
    """Return what a caller is told about ``error``, small enough for the trailers of a call."""
    shown = PRESENTATIONS[error.reason]
    status = Status(code=shown.code, message=_cut(error.message or shown.text, _MESSAGE_CHARACTERS))
    metadata = {
        _cut(key, _VALUE_CHARACTERS): _cut(value, _VALUE_CHARACTERS) for key, value in error.metadata.items()
    }
    status.details.append(
        _packed(ErrorInfo(reason=reason_name(error.reason), domain=DOMAIN, metadata=metadata))
    )
    if error.violations:
        status.details.append(_packed(_bad_request(error)))
    wait = shown.retry_after if error.retry_after is None else error.retry_after
    if wait is not None:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(wait * 1000))
        status.details.append(_packed(retry))
    return status
