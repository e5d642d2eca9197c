"""What went wrong with a call, told so that the reader knows what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from rich.text import Text

from schoolgate.v1.failure_pb2 import Audience, Failure, FailureType
from schoolgate_server.cli import console

DOMAIN = "schoolgate"
"""The domain of every ErrorInfo that the service sends."""

NEXT_STEPS: Mapping[str, str] = {
    "TOKEN_INVALID": "give a token with --token-file or SCHOOLGATE_TOKEN; `schoolgate token new` makes one",
    "ROLE_MISSING": "use a token of a caller with the role {role}",
    "SCHOOL_FORBIDDEN": "use a token of a caller for this school; `schoolgate school list` shows yours",
    "REQUEST_INVALID": "correct what is named above",
    "FILTER_INVALID": "correct what is named above; docs/query.md has the fields of each kind",
    "PAGE_SIZE_INVALID": "ask for at most {maximum}",
    "PAGE_TOKEN_INVALID": "start again without a page token",
    "SCHOOL_NOT_FOUND": "`schoolgate school list` shows what is registered, `school add` registers",
    "RECORD_NOT_FOUND": "`schoolgate query` finds records and shows their ids",
    "RUN_NOT_FOUND": "`schoolgate runs` lists the runs of a school",
    "SCHOOL_ALREADY_EXISTS": "`schoolgate school show` shows the one that exists",
    "REQUEST_ID_REUSED": "repeat the command; each call makes a request id of its own",
    "CONNECTOR_UNKNOWN": "`schoolgate connectors` shows what this server has loaded",
    "DATASET_UNKNOWN": "`schoolgate connectors {connector}` lists its datasets",
    "CREDENTIALS_MISSING": "`schoolgate school set-credentials` stores them",
    "RUN_IN_PROGRESS": "`schoolgate run SCHOOL {run_id} --watch` follows the run at work",
    "HOLD_NOT_FOUND": "`schoolgate holds {school_id}` lists what is held now",
    "HOLD_DIGEST_MISMATCH": "`schoolgate holds {school_id}` shows what the hold is over now",
    "PROPOSAL_NOT_FOUND": "`schoolgate proposals {school_id}` lists what is proposed now",
    "RECORDS_NOT_MERGEABLE": "`schoolgate get` tells what each of the two records is",
    "MIS_CHANGE_PLAN_NOT_FOUND": "`schoolgate mis-change plan {school_id}` makes one",
    "MIS_CHANGE_PLAN_STALE": "`schoolgate mis-change plan {school_id}` makes a new one; look at it first",
    "PARSER_VERSION_UNKNOWN": "take one of {available}",
    "ROWS_NOT_RETAINED": "`schoolgate sync` reads the school in full; ask again after that",
    "CURSOR_INVALID": "begin with `schoolgate watch --snapshot`",
    "CURSOR_FOREIGN": "begin with `schoolgate watch {school_id} --snapshot`",
    "CURSOR_TOO_OLD": "begin with `schoolgate watch {school_id} --snapshot`",
    "CURSOR_FROM_FUTURE": "begin with `schoolgate watch {school_id} --snapshot`",
    "FIELDS_NOT_KEPT": "let the school's data profile keep {fields}, and sync the school in full",
    "ETAG_MISMATCH": "read the school again and repeat the change",
    "METHOD_NOT_SERVED": "this release of the server does not do that yet",
    "STORE_UNAVAILABLE": "check MongoDB and SCHOOLGATE_MONGO__URI of the server, then try again",
    "VAULT_UNAVAILABLE": "check the vault key of the server (docs/operations.md)",
    "KNOWN_AT_UNSETTLED": "ask again, or about an earlier time",
    "SHUTTING_DOWN": "try again when the server is back",
    "TOO_MANY_CALLS": "end some of the calls of {method} that are open on the server, then try again",
    "DEADLINE_EXCEEDED": "ask for less: a smaller page, fewer days, more filters",
    "WRITE_NOT_FOUND": "`schoolgate writes list {school_id}` lists the school's writes",
    "WRITE_POLICY_OFF": "`schoolgate policy set SCHOOL {operation} dry-run` shows what would be sent",
    "WRITE_UNSUPPORTED": "`schoolgate connectors {connector}` shows what it can write",
    "IDEMPOTENCY_KEY_REUSED": "`schoolgate writes get SCHOOL {write_id}` shows what has this key",
    "APPROVER_IS_SUBMITTER": "let another person approve it, with a token of their own and the role APPROVER",
    "WRITE_STATE_MISMATCH": "`schoolgate writes get SCHOOL {write_id}` shows where it stands",
    "WRITE_QUOTA_EXCEEDED": "wait; `schoolgate policy get SCHOOL` shows the quota of {operation}",
    "INTERNAL": "look for the correlation id {correlation_id} in the server's log, and report the defect",
}
"""ErrorInfo.reason to what to do about it. Braces name members of ErrorInfo.metadata."""


class CallFailed(Exception):
    """A call that the server refused or that did not reach it.

    ``reason`` is ErrorInfo.reason, or the name of the gRPC status where the server sent none. ``violations``
    are pairs of a request field and what is wrong with it.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        next_step: str = "",
        violations: Sequence[tuple[str, str]] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.next_step = next_step
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})


class CommandFailed(Exception):
    """A command that cannot go on for a reason of its own; ``next_step`` says what to do."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class _Lenient(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def _details(call: grpc.Call) -> list[Message]:
    found: list[Message] = []
    for name, value in call.trailing_metadata() or ():
        if name != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        for packed in Status.FromString(value).details:
            for kind in (ErrorInfo, BadRequest, RetryInfo):
                message = kind()
                if packed.Unpack(message):
                    found.append(message)
    return found


def _unreached(code: grpc.StatusCode, server: str, text: str) -> CallFailed:
    if code is grpc.StatusCode.UNAVAILABLE and "handshake" in text.lower():
        step = "the server speaks TLS with another certificate authority, or none: see --ca"
        return CallFailed("UNAVAILABLE", f"no TLS connection to {server}", step)
    if code is grpc.StatusCode.UNAVAILABLE:
        step = (
            "start one with `schoolgate serve`, name another with --server or SCHOOLGATE_SERVER, "
            "or give --ca if it speaks TLS"
        )
        return CallFailed("UNAVAILABLE", f"no schoolgate server answers at {server}", step)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallFailed(
            "DEADLINE_EXCEEDED", f"{server} did not answer in time", "try again, or see its log"
        )
    return CallFailed(code.name, text)


def from_rpc(error: grpc.RpcError, server: str) -> CallFailed:
    """Return what ``error`` means; it may come from the service or from the way there."""
    call = cast("grpc.Call", error)  # what a stub raises is both
    reason, metadata, violations, retry = "", dict[str, str](), list[tuple[str, str]](), ""
    for detail in _details(call):
        match detail:
            case ErrorInfo() if detail.domain == DOMAIN:
                reason, metadata = detail.reason, dict(detail.metadata)
            case BadRequest():
                violations = [(v.field, v.description) for v in detail.field_violations]
            case RetryInfo():
                wait = detail.retry_delay.ToTimedelta()
                retry = f" (in {console.seconds(wait)})"
            case _:
                continue
    if not reason:
        return _unreached(call.code(), server, call.details() or "")
    step = NEXT_STEPS.get(reason, "").format_map(_Lenient(metadata)) + retry
    return CallFailed(reason, call.details() or "", step.strip(), violations, metadata)


def show(failure: CallFailed | CommandFailed) -> None:
    """Write a failed call or command to standard error."""
    printer = console.err()
    head = Text("error: ", style="bold red")
    message = failure.message
    if isinstance(failure, CallFailed):
        # The server's sentence usually is the violations in a row, which stand below one by one.
        repeated = failure.violations and all(field in message for field, _ in failure.violations)
        message = "" if repeated else message
        head.append(f"{failure.reason}: " if message else failure.reason, style="bold")
    head.append(console.clean(message), style="not bold default")
    printer.print(head)
    if isinstance(failure, CallFailed):
        for name, description in failure.violations:
            printer.print(f"  {console.clean(name)}: {console.clean(description)}")
    if failure.next_step:
        printer.print(
            Text("next:  ", style="bold").append(console.clean(failure.next_step), style="not bold")
        )


def describe(failure: Failure) -> list[str]:
    """Return a run's or a connection's failure in lines: type and sentence, then what to do and who can."""
    kind = FailureType.Name(failure.type).removeprefix("FAILURE_TYPE_")
    lines = [f"{kind}: {failure.message}"]
    if failure.remediation:
        who = ""
        if failure.audience not in (Audience.AUDIENCE_UNSPECIFIED, Audience.AUDIENCE_NOBODY):
            name = Audience.Name(failure.audience).removeprefix("AUDIENCE_").lower().replace("_", " ")
            who = f" ({name})"
        lines.append(f"  next: {failure.remediation}{who}")
    return [console.clean(line) for line in lines]
