"""What happened to a record between two of its states, in the words of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record, SourceKey
from schoolgate_server.model.groups import as_text


def changed_fields(before: Record, after: Record) -> list[str]:
    """Return the names of the body fields that differ between two versions, in the order of the message."""
    return [change.field for change in field_changes(before, after)]


def field_changes(before: Record, after: Record) -> list[q.FieldChange]:
    """Return the body fields that differ between two versions, in the order of the message, with values."""
    old, new = _body(before), _body(after)
    if old is None or new is None:
        return []
    values = [{field.name: value for field, value in message.ListFields()} for message in (old, new)]
    return [
        q.FieldChange(field=field.name, old_value=_text(old, field), new_value=_text(new, field))
        for field in cast("list[FieldDescriptor]", new.DESCRIPTOR.fields)
        if values[0].get(field.name) != values[1].get(field.name)
    ]


def _body(record: Record) -> Message | None:
    name = record.WhichOneof("body")
    return getattr(record, name) if name else None


def _text(message: Message, field: FieldDescriptor) -> str | None:
    """Return a field's value as filters write it, as JSON where they cannot; ``None`` where it has none."""
    if field.is_repeated or field.message_type is not None:
        shown = MessageToDict(message, preserving_proto_field_name=True).get(field.name)
        return None if shown is None else orjson.dumps(shown).decode()
    if not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return as_text(value)


def change_of(record: Record, before: Record | None) -> q.Change:
    """Return what made ``record`` of ``before``, which is ``None`` where the follower had nothing of it."""
    if before is None:
        return q.Change(record=record, types=[q.CHANGE_TYPE_CREATED, *_leaving(record)])
    fields = changed_fields(before, record)
    added = _without(record.source_keys, before.source_keys)
    removed = _without(before.source_keys, record.source_keys)
    types: list[q.ChangeType.ValueType] = []
    if fields:
        types.append(q.CHANGE_TYPE_UPDATED)
    if added or removed:
        types.append(q.CHANGE_TYPE_KEYS_CHANGED)
    if _left(record) != _left(before):
        types += _leaving(record) or [q.CHANGE_TYPE_RETURNED]
    return q.Change(
        record=record,
        # Something that was changed and changed back is a version all the same.
        types=types or [q.CHANGE_TYPE_UPDATED],
        changed_fields=fields,
        added_keys=added,
        removed_keys=removed,
    )


def _left(record: Record) -> tuple[bool, int, str]:
    return record.HasField("tombstone"), record.tombstone.reason, record.tombstone.merged_into


def _leaving(record: Record) -> list[q.ChangeType.ValueType]:
    if not record.HasField("tombstone"):
        return []
    merged = record.tombstone.reason == TOMBSTONE_REASON_MERGED
    return [q.CHANGE_TYPE_MERGED if merged else q.CHANGE_TYPE_LEFT]


def _without(keys: Sequence[SourceKey], others: Sequence[SourceKey]) -> list[SourceKey]:
    return [key for key in keys if key not in others]
