from __future__ import annotations

import json

import grpc

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_STUDENT
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.record_pb2 import (
    TOMBSTONE_REASON_MERGED,
    KeyPart,
    Record,
    SourceKey,
    Tombstone,
)
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, refusal

A, B = (f"stu_{n:032x}" for n in (1, 2))
KEY = SourceKey(namespace="bromcom/student", parts=[KeyPart(integer=1)])


def record(record_id: str, seq: int, tombstone: Tombstone | None = None) -> Record:
    return Record(
        id=record_id, kind=KIND_STUDENT, seq=seq, student=Student(surname="Reid"), tombstone=tombstone
    )


RESPONSE = q.WatchChangesResponse(
    changes=[
        q.Change(
            record=record(A, 8, Tombstone(reason=TOMBSTONE_REASON_MERGED, merged_into=B)),
            types=[q.CHANGE_TYPE_MERGED],
        ),
        q.Change(
            record=record(B, 8),
            types=[q.CHANGE_TYPE_UPDATED, q.CHANGE_TYPE_KEYS_CHANGED],
            changed_fields=["surname"],
            added_keys=[KEY],
        ),
    ],
    cursor="later",
    seq=8,
    up_to_date=True,
)


def test_watch_tells_changes_in_lines_and_where_to_go_on(ask: Run, fake: FakeServer) -> None:
    fake.on("QueryService/WatchChanges", [RESPONSE])
    outcome = ask("watch", "oak", "--kind", "students", "--kind", "group", "--snapshot", "--once")
    assert outcome.status == 0
    assert outcome.out.splitlines() == [
        f"8  merged  student {A}  MERGED  into {B}",
        f"8  updated, keys changed  student {B}  surname  +bromcom/student:1",
    ]
    assert outcome.err.strip() == "go on with --cursor later"
    [request] = fake.requests
    assert (list(request.kinds), request.start) == ([KIND_STUDENT, KIND_GROUP], q.WATCH_START_SNAPSHOT)


def test_watch_goes_on_from_a_cursor_and_writes_responses_as_json(ask: Run, fake: FakeServer) -> None:
    heartbeat = q.WatchChangesResponse(cursor="later still", seq=9, up_to_date=True)
    fake.on("QueryService/WatchChanges", [RESPONSE, heartbeat])
    outcome = ask("watch", "oak", "--cursor", "before", "--json")
    assert [json.loads(line)["cursor"] for line in outcome.out.splitlines()] == ["later", "later still"]
    assert fake.requests[0].cursor == "before"
    assert ask("watch", "oak", "--cursor", "x", "--snapshot").status == 2


def test_a_refused_cursor_says_how_to_begin_anew(ask: Run, fake: FakeServer) -> None:
    def answer(_: object) -> q.WatchChangesResponse:
        raise refusal(
            grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TOO_OLD", "too old", school_id="oak", oldest_seq="7"
        )

    fake.on("QueryService/WatchChanges", answer)
    outcome = ask("watch", "oak", "--cursor", "before")
    assert outcome.status == 1
    assert "schoolgate watch oak --snapshot" in outcome.err
    assert "go on with --cursor before" in outcome.err
