"""Documents of ``records`` and ``history``: made from changes, turned back into ``Record`` messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import ChangeCause, KeyPart, Record, SourceKey, TombstoneReason
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.changes import Change
from schoolgate_server.model.wire import embedded, field_tag
from schoolgate_server.store.errors import RecordTooLarge
from schoolgate_server.store.handles import Document

HISTORY_FIELDS = ("id", "until", "until_at")
"""What a document of ``history`` has beside the fields of ``records``."""

READ_FIELDS: dict[str, int] = {"wire": 1, "id": 1}
"""Projection for reading records: the message, and the id, which a superseded version has here."""

_LARGEST = 7 * 1024 * 1024
"""Bytes of a serialised body that surely fit: ``body`` holds the same once more, and a document 16 MB."""

_REASONS = {value: name.removeprefix("TOMBSTONE_REASON_") for name, value in TombstoneReason.items()}
_CAUSES = {value: name.removeprefix("CHANGE_CAUSE_") for name, value in ChangeCause.items()}

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
    document["body"] = body_of(KINDS[change.kind].message.FromString(change.wire))
    document["wire"] = _wire(change, school_id=school_id, seq=seq, at=at, run_id=run_id)
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


def record_of(document: Document) -> Record:
    """Return the ``Record`` of a document of ``records`` or ``history``."""
    return Record.FromString(document["wire"])


def body_wire(document: Document) -> bytes:
    """Return the body of a document's record serialised, as its digest was made of it."""
    body: Message = getattr(record_of(document), document["kind"])
    return body.SerializeToString(deterministic=True)


def _wire(change: Change, *, school_id: str, seq: int, at: datetime, run_id: str) -> bytes:
    """Return the serialised ``Record`` of ``change``.

    It is put together from serialised parts, of which nearly all repeat from record to record; that is what
    makes it cheap. Parts of one message that follow each other are read as one
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    parts = [embedded(_ID_TAG, change.record_id.encode())]
    parts += [embedded(_KEYS_TAG, _source_key(encoded)) for encoded in change.keys]
    parts.append(_versioned(change.expected_version + 1))
    if change.tombstone is not None:
        gone = Record()
        gone.tombstone.reason = change.tombstone
        gone.tombstone.at.FromDatetime(at)
        if change.merged_into is not None:
            gone.tombstone.merged_into = change.merged_into
        parts.append(gone.SerializeToString())
    parts.append(_shared(change.kind, school_id, seq, at, run_id, change.cause))
    parts.append(embedded(_BODY_TAGS[change.kind], change.wire))
    return b"".join(parts)


@lru_cache(maxsize=256)
def _shared(
    kind: Kind.ValueType, school_id: str, seq: int, at: datetime, run_id: str, cause: ChangeCause.ValueType
) -> bytes:
    """Return, serialised, what the records of one commit have in common."""
    record = Record(kind=kind, school_id=school_id, seq=seq, run_id=run_id, cause=cause)
    record.committed_at.FromDatetime(at)
    return record.SerializeToString()


@lru_cache(maxsize=256)
def _versioned(version: int) -> bytes:
    return Record(version=version).SerializeToString()


_FIELDS = Record.DESCRIPTOR.fields_by_name
_ID_TAG = field_tag(_FIELDS["id"].number)
_KEYS_TAG = field_tag(_FIELDS["source_keys"].number)
_BODY_TAGS = {kind: field_tag(_FIELDS[info.name].number) for kind, info in KINDS.items()}
_PARTS_TAG = field_tag(SourceKey.DESCRIPTOR.fields_by_name["parts"].number)


def _source_key(encoded: str) -> bytes:
    """Return an encoded key as a serialised ``SourceKey``."""
    namespace, *parts = orjson.loads(encoded)
    return _namespace(namespace) + b"".join([_part(part) for part in parts])


@lru_cache(maxsize=1_024)
def _namespace(namespace: str) -> bytes:
    return SourceKey(namespace=namespace).SerializeToString()


@lru_cache(maxsize=16_384)
def _part(part: int | str) -> bytes:
    """Return one of the ``parts`` of a key; the pupils, days and periods in them repeat very often."""
    message = KeyPart(text=part) if isinstance(part, str) else KeyPart(integer=part)
    return embedded(_PARTS_TAG, message.SerializeToString())
