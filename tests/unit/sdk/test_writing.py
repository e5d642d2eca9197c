"""What a connector declares about its writes is checked before anything can be written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from schoolgate_sdk import (
    Connector,
    FindWrite,
    Unsupported,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteRows,
    WriteSafety,
    WriteValue,
    source_key,
    written_moment,
)
from tests.unit.sdk.descriptions import connector

_EVENT = WriteOperation(
    "record_behaviour_event",
    WriteSafety.NATURAL_KEY_READBACK,
    required=("student_id", "occurred_at"),
    optional=("comment",),
    natural_key=("student_id", "occurred_at"),
)


class _Writer:
    async def write(self, request: WriteRequest) -> WriteReceipt:
        return WriteReceipt((request.idempotency_key,))


def test_a_session_that_only_writes_is_not_taken_for_one_that_can_find_out() -> None:
    assert isinstance(_Writer(), WriteRows)
    assert not isinstance(_Writer(), FindWrite)


def test_values_name_people_by_key() -> None:
    request = WriteRequest("record_behaviour_event", "k-1", {"student_id": source_key("mis/student", 7)})
    assert request.values["student_id"] == ("mis/student", (7,))
    assert WriteReceipt().pending is None


def test_reading_back_by_a_natural_key_needs_one() -> None:
    with pytest.raises(ValueError, match="and has none"):
        WriteOperation("x", WriteSafety.NATURAL_KEY_READBACK, required=("student",))
    WriteOperation("x", WriteSafety.NONE, required=("student",))


def test_a_natural_key_is_of_values_that_the_operation_reads() -> None:
    with pytest.raises(ValueError, match="names no values of it: day"):
        WriteOperation("x", WriteSafety.NATURAL_KEY_READBACK, required=("student",), natural_key=("day",))


def test_an_operation_is_declared_once() -> None:
    described: Connector = replace(connector(), writes=(_EVENT,))
    assert described.writes == (_EVENT,)
    with pytest.raises(ValueError, match="operation given more than once: record_behaviour_event"):
        replace(connector(), writes=(_EVENT, _EVENT))


def test_a_moment_is_read_in_utc() -> None:
    values: dict[str, WriteValue] = {"occurred_at": "2026-09-07T10:15:30+01:00"}
    found = written_moment(values, "occurred_at")
    assert (found, found.tzinfo) == (datetime(2026, 9, 7, 9, 15, 30, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    "value",
    [None, 5, "", "soon", "2026-09-07", "2026-09-07T10:15:30", "0001-01-01T00:00+01:00"],
)
def test_what_is_no_moment_cannot_be_written(value: WriteValue) -> None:
    """Seen to fail where a moment before the year 1 in UTC was an error of no type."""
    with pytest.raises(Unsupported, match="occurred_at must be a date and time with an offset"):
        written_moment({"occurred_at": value}, "occurred_at")
