from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import record_pb2
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.record_pb2 import KeyPart, Record, SourceKey, Tombstone
from schoolgate_server.rpc.changes import change_of

LEFT = Tombstone(reason=record_pb2.TOMBSTONE_REASON_LEFT)
DELETED = Tombstone(reason=record_pb2.TOMBSTONE_REASON_DELETED_IN_MIS)
MERGED = Tombstone(reason=record_pb2.TOMBSTONE_REASON_MERGED, merged_into="stu_b")


def key(number: int) -> SourceKey:
    return SourceKey(namespace="mis/student", parts=[KeyPart(integer=number)])


def record(surname: str = "Ash", *keys: int, tombstone: Tombstone | None = None) -> Record:
    return Record(
        id="stu_a",
        source_keys=[key(number) for number in keys or (1,)],
        student=Student(surname=surname),
        tombstone=tombstone,
    )


@pytest.mark.parametrize(
    ("before", "after", "types"),
    [
        (None, record(), [q.CHANGE_TYPE_CREATED]),
        (None, record(tombstone=LEFT), [q.CHANGE_TYPE_CREATED, q.CHANGE_TYPE_LEFT]),
        (None, record(tombstone=MERGED), [q.CHANGE_TYPE_CREATED, q.CHANGE_TYPE_MERGED]),
        (record(), record("Bly"), [q.CHANGE_TYPE_UPDATED]),
        (record(), record(), [q.CHANGE_TYPE_UPDATED]),
        (record(), record("Ash", 1, 2), [q.CHANGE_TYPE_KEYS_CHANGED]),
        (record(), record("Bly", 2), [q.CHANGE_TYPE_UPDATED, q.CHANGE_TYPE_KEYS_CHANGED]),
        (record(), record(tombstone=LEFT), [q.CHANGE_TYPE_LEFT]),
        (record(), record(tombstone=MERGED), [q.CHANGE_TYPE_MERGED]),
        (record(tombstone=LEFT), record(tombstone=DELETED), [q.CHANGE_TYPE_LEFT]),
        (record(tombstone=LEFT), record(tombstone=MERGED), [q.CHANGE_TYPE_MERGED]),
        (record(tombstone=LEFT), record("Bly"), [q.CHANGE_TYPE_UPDATED, q.CHANGE_TYPE_RETURNED]),
    ],
)
def test_a_change_is_called_what_it_is(before: Record | None, after: Record, types: list[Any]) -> None:
    change = change_of(after, before)
    assert list(change.types) == types
    assert change.record == after


def test_a_change_says_where() -> None:
    change = change_of(record("Bly", 2, 3), record("Ash", 1, 2))
    assert list(change.changed_fields) == ["surname"]
    assert list(change.added_keys) == [key(3)]
    assert list(change.removed_keys) == [key(1)]
