"""Changes, clocks and shorthand for tests of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from schoolgate.v1 import attendance_pb2, groups_pb2, people_pb2
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.record_pb2 import Record, TombstoneReason
from schoolgate_sdk.keys import encode_key, source_key
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.questions import Question
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store

TTL = timedelta(seconds=30)
EVERYTHING = Question(include_tombstones=True)


class SettableClock:
    def __init__(self) -> None:
        self.now = datetime(2026, 9, 7, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)


def student(
    number: int,
    surname: str,
    expected: int = 0,
    *,
    tombstone: TombstoneReason.ValueType | None = None,
    **fields: Any,
) -> Change:
    message = people_pb2.Student(surname=surname, **fields)
    wire = message.SerializeToString(deterministic=True)
    return Change(
        record_id=student_id(number),
        dataset="students",
        kind=kinds.KIND_STUDENT,
        keys=(encode_key(source_key("mis/student", number)),),
        wire=wire,
        digest=hashlib.blake2b(wire, digest_size=16).digest(),
        expected_version=expected,
        tombstone=tombstone,
    )


def student_id(number: int) -> str:
    return f"stu_{number:032x}"


def mark(number: int, day: str, code: str = "/", expected: int = 0) -> Change:
    message = attendance_pb2.AttendanceMark(student_id=student_id(number), date=day, code=code)
    wire = message.SerializeToString(deterministic=True)
    return Change(
        record_id=f"mrk_{number:022x}{day.replace('-', ''):0>10}",
        dataset="attendance_marks",
        kind=kinds.KIND_ATTENDANCE_MARK,
        keys=(encode_key(source_key("mis/mark", number, day)),),
        wire=wire,
        digest=hashlib.blake2b(wire, digest_size=16).digest(),
        expected_version=expected,
        valid_from=day,
    )


def membership(number: int, valid_from: str | None, valid_to: str | None) -> Change:
    message = groups_pb2.GroupMembership(student_id=student_id(number))
    wire = message.SerializeToString(deterministic=True)
    return Change(
        record_id=f"mem_{number:032x}",
        dataset="group_memberships",
        kind=kinds.KIND_GROUP_MEMBERSHIP,
        keys=(encode_key(source_key("mis/membership", number)),),
        wire=wire,
        digest=hashlib.blake2b(wire, digest_size=16).digest(),
        expected_version=0,
        valid_from=valid_from,
        valid_to=valid_to,
    )


async def leased(store: Store, school: str = "oak", owner: str = "server-1") -> Lease:
    lease = await store.leases.acquire(school, owner, TTL)
    assert lease is not None
    return lease


async def commit(store: Store, lease: Lease, *changes: Change, run: str = "run_1") -> int:
    return await store.commits.commit(lease, Commit(run, changes))


async def surnames(
    store: Store, seq: int, *, school: str = "oak", page: int = 1000, question: Question = EVERYTHING
) -> dict[str, str]:
    """Return id -> surname as of `seq`, read in pages of `page`; a tombstoned surname is in brackets."""
    found: dict[str, str] = {}
    after = ""
    while True:
        records = await store.records.query(school, kinds.KIND_STUDENT, question, seq, after, page)
        assert [record.id for record in records] == sorted(record.id for record in records)
        assert not found.keys() & {record.id for record in records}
        found.update((record.id, shown(record)) for record in records)
        if len(records) < page:
            return found
        after = records[-1].id


def shown(record: Record) -> str:
    surname = record.student.surname
    return f"({surname})" if record.HasField("tombstone") else surname


class RecordState(NamedTuple):
    record_id: str
    digest: bytes
    version: int
    live: bool


async def states(store: Store, dataset: str, *window: str | None, school: str = "oak") -> list[RecordState]:
    found: list[RecordState] = []
    async for columns in store.records.states(school, dataset, *window):
        found += map(RecordState._make, zip(*columns, strict=True))
    return sorted(found)


def ids(numbers: Sequence[int]) -> set[str]:
    return {student_id(number) for number in numbers}
