"""Documents of records: what is beside the serialised record says the same as the record."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schoolgate.v1 import record_pb2
from schoolgate_sdk.keys import SourceKey, decode_key, source_key
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.changes import Change
from schoolgate_server.store.documents import body_wire, document_of, record_of
from tests.support.store_samples import mark, student

AT = datetime(2026, 9, 7, 8, 30, 0, 125_000, tzinfo=UTC)
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 500
BOTH = ('["mis/student",7]', '["mis/person","0007",-3]')


@pytest.mark.parametrize(
    "change",
    [
        student(1, "Ash"),
        student(2, LONG, 300),
        student(3, "Cole")._replace(keys=BOTH, cause=record_pb2.CHANGE_CAUSE_IDENTITY),
        student(4, "Dee", 1, tombstone=record_pb2.TOMBSTONE_REASON_LEFT),
        student(5, "Eze", 2, tombstone=record_pb2.TOMBSTONE_REASON_MERGED)._replace(
            merged_into="stu_" + 32 * "0"
        ),
        mark(6, "2026-09-07"),
        mark(7, "2026-09-07")._replace(wire=b""),
    ],
    ids=["new", "long", "keys", "left", "merged", "mark", "empty"],
)
def test_the_serialised_record_says_what_stands_beside_it(change: Change) -> None:
    document = document_of(change, school_id="oak", seq=70_000, at=AT, run_id="run_1")
    record = record_of(document)
    keys = [decode_key(encoded) for encoded in document["keys"]]
    assert (record.id, record.school_id, record.run_id) == (
        document["_id"],
        document["school"],
        document["run"],
    )
    assert (record.version, record.seq) == (document["version"], document["seq"])
    assert record.committed_at.ToDatetime(UTC) == document["at"]
    assert KINDS[record.kind].name == record.WhichOneof("body") == document["kind"]
    assert record.cause == change.cause
    assert [_key(key) for key in record.source_keys] == keys
    assert getattr(record, document["kind"]) == KINDS[change.kind].message.FromString(change.wire)
    assert body_wire(document) == change.wire
    assert record.HasField("tombstone") == (not document["live"])
    if not document["live"]:
        stored = document["tombstone"]
        reason = record_pb2.TombstoneReason.Name(record.tombstone.reason)
        assert reason == f"TOMBSTONE_REASON_{stored['reason']}"
        assert record.tombstone.at.ToDatetime(UTC) == stored["at"]
        assert record.tombstone.merged_into == stored.get("merged_into", "")
    assert record == type(record).FromString(record.SerializeToString(deterministic=True))


def _key(key: record_pb2.SourceKey) -> SourceKey:
    parts = [part.text if part.WhichOneof("value") == "text" else part.integer for part in key.parts]
    return source_key(key.namespace, *parts)
