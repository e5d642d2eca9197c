"""The change that lets a record go."""

from __future__ import annotations

from google.protobuf.message import Message

from schoolgate.v1.record_pb2 import CHANGE_CAUSE_SOURCE, ChangeCause, Record, TombstoneReason
from schoolgate_sdk import kind_info
from schoolgate_server.model.changes import Change
from schoolgate_server.model.dates import validity
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.wire_keys import encode_wire_key


def body_of(record: Record) -> Message:
    """Return the message that the record is about."""
    body: Message = getattr(record, kind_info(record.kind).name)
    return body


def tombstone_of(
    record: Record,
    dataset: str,
    reason: TombstoneReason.ValueType,
    cause: ChangeCause.ValueType = CHANGE_CAUSE_SOURCE,
) -> Change:
    """Return the next version of ``record``: gone for ``reason``, with its last body."""
    message = body_of(record)
    valid_from, valid_to = validity(kind_info(record.kind), message)
    wire = message.SerializeToString(deterministic=True)
    keys = tuple(encode_wire_key(key) for key in record.source_keys)
    return Change(
        record_id=record.id,
        dataset=dataset,
        kind=record.kind,
        keys=keys,
        wire=wire,
        digest=content_digest(wire, keys),
        expected_version=record.version,
        valid_from=valid_from,
        valid_to=valid_to,
        tombstone=reason,
        cause=cause,
    )
