"""Documents of ``records`` and ``history``: made from changes, turned back into ``Record`` messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1.record_pb2 import ChangeCause, Record, TombstoneReason
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.changes import Change
from schoolgate_server.store.errors import RecordTooLarge
from schoolgate_server.store.handles import Document

HISTORY_FIELDS = ("id", "until", "until_at")
"""What a document of ``history`` has beside the fields of ``records``."""

READ_FIELDS: dict[str, int] = dict.fromkeys(
    ("kind", "keys", "version", "seq", "at", "run", "cause", "tombstone", "wire", *HISTORY_FIELDS), 1
)
"""Projection for reading records: what a ``Record`` is made of, and where a superseded version ended."""

_LARGEST = 7 * 1024 * 1024
"""Bytes of ``wire`` that surely fit: ``body`` holds the same once more, and a document 16 MB."""

_REASONS = {value: name.removeprefix("TOMBSTONE_REASON_") for name, value in TombstoneReason.items()}
_CAUSES = {value: name.removeprefix("CHANGE_CAUSE_") for name, value in ChangeCause.items()}
_CAUSE_VALUES = {name: value for value, name in _CAUSES.items()}
_REASON_VALUES = {name: TombstoneReason.Value(f"TOMBSTONE_REASON_{name}") for name in _REASONS.values()}

Reader = Callable[[Any], object]


def _enum_reader(descriptor: EnumDescriptor) -> Reader:
    names = {value.number: value.name for value in descriptor.values}
    # A number that this release does not know stays a number.
    return lambda number: names.get(number, number)


def _reader(field: FieldDescriptor) -> Reader | None:
    """Return what turns a field's value into BSON; ``None`` where it can stay as it is."""
    one: Reader | None = None
    if field.enum_type is not None:
        one = _enum_reader(field.enum_type)
    elif field.message_type is not None:
        one = body_of
    if field.is_repeated:
        return lambda values: [one(value) if one else value for value in values]
    return one


_readers: dict[FieldDescriptor, tuple[str, Reader | None]] = {}


def body_of(message: Message) -> Document:
    """Return the fields that ``message`` has, by name, enum values by name."""
    body: Document = {}
    for field, value in message.ListFields():
        known = _readers.get(field)
        if known is None:
            known = _readers[field] = (field.name, _reader(field))
        name, reader = known
        body[name] = reader(value) if reader else value
    return body


def check_size(change: Change) -> None:
    """Raise :class:`RecordTooLarge` where the document of ``change`` might not fit into MongoDB's 16 MB."""
    if len(change.wire) > _LARGEST:
        raise RecordTooLarge(f"record {change.record_id} has {len(change.wire)} bytes, more than {_LARGEST}")


def document_of(change: Change, *, school_id: str, seq: int, at: datetime, run_id: str) -> Document:
    """Return the document that ``change`` makes current in commit ``seq``."""
    document: Document = {
        "_id": change.record_id,
        "school": school_id,
        "dataset": change.dataset,
        "kind": KINDS[change.kind].name,
        "keys": list(change.keys),
        "version": change.expected_version + 1,
        "seq": seq,
        "at": at,
        "run": run_id,
        "cause": _CAUSES[change.cause],
        "hash": change.digest,
        "live": change.tombstone is None,
    }
    if change.tombstone is not None:
        tombstone: Document = {"reason": _REASONS[change.tombstone], "at": at}
        if change.merged_into is not None:
            tombstone["merged_into"] = change.merged_into
        document["tombstone"] = tombstone
    if change.valid_from is not None:
        document["from"] = change.valid_from
    if change.valid_to is not None:
        document["to"] = change.valid_to
    document["body"] = body_of(change.message)
    document["wire"] = change.wire
    return document


def superseded(document: Document, *, seq: int, at: datetime) -> Document:
    """Return the history document of a current ``document`` that commit ``seq`` replaces."""
    record_id, version = document["_id"], document["version"]
    return {**document, "_id": f"{record_id}:{version}", "id": record_id, "until": seq, "until_at": at}


def restored(history: Document) -> Document:
    """Return the current document that a history document was made from."""
    document = {name: value for name, value in history.items() if name not in HISTORY_FIELDS}
    document["_id"] = history["id"]
    return document


def record_of(document: Document, school_id: str) -> Record:
    """Return the ``Record`` of a document of ``records`` or ``history``."""
    name = document["kind"]
    # As dictionaries: that is by half faster than making the parts first.
    fields: dict[str, Any] = {
        "id": document.get("id") or document["_id"],
        "kind": KINDS_BY_NAME[name].kind,
        "school_id": school_id,
        "source_keys": [_source_key(encoded) for encoded in document["keys"]],
        "version": document["version"],
        "seq": document["seq"],
        "committed_at": _timestamp(document["at"]),
        "run_id": document["run"],
        "cause": _CAUSE_VALUES[document.get("cause", "UNSPECIFIED")],
    }
    record = Record(**fields)
    body: Message = getattr(record, name)
    body.SetInParent()  # a message without any field is a body too
    body.MergeFromString(document["wire"])
    tombstone = document.get("tombstone")
    if tombstone is not None:
        record.tombstone.reason = _REASON_VALUES[tombstone["reason"]]
        record.tombstone.at.FromDatetime(tombstone["at"])
        if "merged_into" in tombstone:
            record.tombstone.merged_into = tombstone["merged_into"]
    return record


@lru_cache(maxsize=4096)
def _timestamp(time: datetime) -> dict[str, int]:
    # All records of a commit share one.
    made = Timestamp()
    made.FromDatetime(time)
    return {"seconds": made.seconds, "nanos": made.nanos}


def _source_key(encoded: str) -> dict[str, Any]:
    namespace, *parts = orjson.loads(encoded)
    return {
        "namespace": namespace,
        "parts": [{"text": part} if isinstance(part, str) else {"integer": part} for part in parts],
    }
