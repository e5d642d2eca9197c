from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate_server.model.errors import ServiceError, Violation
from schoolgate_server.rpc.errors import PRESENTATIONS, reason_name, rich_status

PROTO = Path(__file__).parents[4] / "proto" / "schoolgate" / "v1" / "error_reason.proto"
SENT = [value for value in r.ErrorReason.values() if value != r.ERROR_REASON_UNSPECIFIED]


def documented() -> dict[str, str]:
    """Comment of every reason in the proto, by the name that travels."""
    comments: dict[str, str] = {}
    lines: list[str] = []
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            lines.append(text.removeprefix("//").strip())
        elif match := re.fullmatch(r"ERROR_REASON_(\w+) = \d+;", text):
            comments[match[1]] = "\n".join(lines)
            lines = []
        else:
            lines = []
    return comments


def test_the_table_covers_the_enum() -> None:
    assert set(PRESENTATIONS) == set(SENT)


@pytest.mark.parametrize("reason", SENT, ids=reason_name)
def test_every_reason_is_documented_as_it_is_sent(reason: r.ErrorReason.ValueType) -> None:
    comment, shown = documented()[reason_name(reason)], PRESENTATIONS[reason]
    assert f'"reason": "{reason_name(reason)}", "domain": "schoolgate"' in comment, "the sample"
    assert re.search(rf"^{Code.Name(shown.code)}\b", comment, re.MULTILINE), "the status code"
    assert ("RetryInfo" in comment) == (shown.retry_after is not None)


@pytest.mark.parametrize("reason", SENT, ids=reason_name)
def test_an_error_without_words_gets_the_public_text(reason: r.ErrorReason.ValueType) -> None:
    status = rich_status(ServiceError(reason, ""))
    assert status.message == PRESENTATIONS[reason].text
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason_name(reason), "schoolgate")


def test_violations_and_times_are_carried() -> None:
    error = ServiceError(
        r.ERROR_REASON_STORE_UNAVAILABLE, "later", violations=[Violation("a", "is wrong")], retry_after=0.25
    )
    bad, retry = BadRequest(), RetryInfo()
    _, first, second = rich_status(error).details
    assert first.Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("a", "is wrong")]
    assert second.Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250


def test_a_status_fits_into_trailers() -> None:
    error = ServiceError(
        r.ERROR_REASON_REQUEST_INVALID,
        "🦉" * 10_000,
        metadata={"🦉" * 1000: "🦉" * 10_000},
        violations=[Violation("🦉" * 1000, "🦉" * 1000)] * 1000,
    )
    status = rich_status(error)
    percent_encoded = 3 * len(status.message.encode())
    in_base64 = 4 * status.ByteSize() // 3
    assert percent_encoded + in_base64 < 12 * 1024
    bad = BadRequest()
    assert status.details[1].Unpack(bad)
    shown = len(bad.field_violations) - 1
    assert bad.field_violations[-1].description == f"and {1000 - shown} more"
