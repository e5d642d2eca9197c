"""What a connector gets to write: an operation's fields, with the MIS's keys in place of record ids."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from schoolgate.v1 import attendance_pb2 as a
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate_sdk import Connector, SourceKey, WriteValue, encode_key
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.wire_keys import from_wire
from schoolgate_server.model.writes import action_of, operation_name
from schoolgate_server.store.store import Store

References: TypeAlias = Mapping[str, SourceKey]
"""The MIS's key of each entity that an operation names, by the name of the field."""

_MOST_VERSIONS = 100
"""Versions of a record that are looked through for which of its keys came last."""

SESSIONS: Mapping[int, str] = {
    a.ATTENDANCE_SESSION_AM: "AM",
    a.ATTENDANCE_SESSION_PM: "PM",
    a.ATTENDANCE_SESSION_LESSON: "LESSON",
}
"""What connectors get to say which register is meant."""

_NOT_SENT = frozenset({"deactivate_record.reason"})

_KINDS: Mapping[str, k.Kind.ValueType] = {
    "student_id": k.KIND_STUDENT,
    "staff_id": k.KIND_STAFF,
    "subject_id": k.KIND_SUBJECT,
}


class ReferenceLost(Exception):
    """An entity that an operation names cannot be named to the school's MIS.

    ``field`` is the name of the field in the operation; ``why`` completes a sentence that begins with it, and
    holds no personal data.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def references_of(operation: pb.WriteOperation) -> Mapping[str, str]:
    """Return the record ids that an operation names, by the name of the field; those that are given."""
    return {name: str(value) for name, value in _fields(operation) if name.endswith("_id") and value != ""}


def kind_of_reference(field: str) -> k.Kind.ValueType | None:
    """Return the kind that a field of an operation refers to, ``None`` where its id says which."""
    return _KINDS.get(field)


def given_fields(operation: pb.WriteOperation) -> frozenset[str]:
    """Return the names of the fields that an operation gives a value: unset ones and empty texts do not."""
    return frozenset(name for name, value in _fields(operation) if value != "")


def values_of(operation: pb.WriteOperation, references: References) -> dict[str, WriteValue]:
    """Return an operation's values for a connector.

    Values bear the names of the operation's fields; those that are not given are left out. A session is "AM",
    "PM" or "LESSON"; record ids are the source keys that ``references`` has for their fields.

    Raises:
        KeyError: ``references`` lacks one.
    """
    values: dict[str, WriteValue] = {}
    given = references_of(operation)
    for name, value in _fields(operation):
        if name in given:
            values[name] = references[name]
        elif value != "" and f"{operation_name(operation)}.{name}" not in _NOT_SENT:
            values[name] = value
    return values


def _fields(operation: pb.WriteOperation) -> Iterator[tuple[str, str | int | bool]]:
    """Yield the names and values of the action's fields, but of optional ones that are not set."""
    action = action_of(operation)
    for field in action.DESCRIPTOR.fields:
        if not field.has_presence or action.HasField(field.name):
            value: str | int | bool = getattr(action, field.name)
            is_session = field.enum_type is not None
            yield field.name, SESSIONS.get(int(value), "") if is_session else value


def namespace_of(connector: Connector, kind: k.Kind.ValueType) -> str | None:
    """Return the number space in which a connector's datasets have the ids of ``kind``, if any has them."""
    for dataset in connector.datasets:
        for spec in dataset.kinds:
            if spec.kind == kind:
                return spec.namespace
    return None


async def dispatched_values(
    store: Store,
    connector: Connector,
    school_id: str,
    operation: pb.WriteOperation,
    *,
    may_have_gone: bool = False,
) -> dict[str, WriteValue]:
    """Return what :func:`values_of` says, with the keys that the school's MIS knows now.

    ``may_have_gone`` is for finding out what became of a write that has left: a pupil may have gone since,
    and what was to be taken back is to have gone. Of whom the copy has no more, nothing new is sent.

    Raises:
        ReferenceLost: an entity is gone, or the school's present MIS has never named it.
    """
    seq = await store.records.published(school_id)
    given = references_of(operation)
    records = await asyncio.gather(
        *(_record_now(store, school_id, *each, seq, may_have_gone=may_have_gone) for each in given.items())
    )
    keys = await asyncio.gather(
        *(key_in_mis(store, connector, *each, seq) for each in zip(given, records, strict=True))
    )
    return values_of(operation, dict(zip(given, keys, strict=True)))


async def _record_now(
    store: Store, school_id: str, field: str, record_id: str, seq: int, *, may_have_gone: bool
) -> Record:
    record = await store.records.get(school_id, record_id, seq)
    if record is not None:
        record = await store.redirects.follow(school_id, record, seq)
    if record is None:
        raise ReferenceLost(field, "there is no such record any more")
    if record.HasField("tombstone") and not may_have_gone:
        raise ReferenceLost(field, "the record is gone from the school's data")
    return record


async def key_in_mis(store: Store, connector: Connector, field: str, record: Record, seq: int) -> SourceKey:
    """Return the key under which the school's present MIS knows ``record``.

    A record has several keys after a change of MIS, a merge, or a new number. Of those in the number space of
    the connector's dataset the one that came last is the present one; a merged record's key is not, unless
    what it was merged into had gone before. Where that is wrong, both keys still mean the same entity, and
    the MIS refuses the one that it does not know any more.

    Raises:
        ReferenceLost: it has none there.
    """
    namespace = namespace_of(connector, record.kind)
    keys = [from_wire(key) for key in record.source_keys if key.namespace == namespace]
    if not keys:
        raise ReferenceLost(field, f"the school's MIS ({connector.name}) has no id for it")
    if len(keys) == 1:
        return keys[0]
    history = await store.records.versions(record.school_id, record.id, None, _MOST_VERSIONS, seq)
    minter = Minter(record.school_id)
    minted = {minter.mint(record.kind, encode_key(key)): key for key in keys}
    others = await asyncio.gather(
        *(store.records.get(record.school_id, one, seq) for one in minted if one != record.id)
    )
    merged = {minted[one.id] for one in others if one and one.tombstone.reason == TOMBSTONE_REASON_MERGED}
    return latest_key(keys, [version for version, _ in history], merged)


def latest_key(keys: Sequence[SourceKey], versions: Sequence[Record], merged: set[SourceKey]) -> SourceKey:
    """Return which of several keys in one number space is the present one.

    ``keys`` are the record's, the one that its id was made from first; ``versions`` are its versions, newest
    first; ``merged`` are the keys of records that were merged into it.
    """
    for newer, older in pairwise(versions):
        had = {from_wire(key) for key in older.source_keys}
        came = {from_wire(key) for key in newer.source_keys} - had
        added = [key for key in keys if key in came]
        if not older.HasField("tombstone"):
            added = [key for key in added if key not in merged]
        if added:
            return added[0]
    return keys[0]
