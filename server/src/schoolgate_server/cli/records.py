"""Records for people: values, columns that fit, what a version changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.table import Table

from schoolgate.v1.record_pb2 import ChangeCause, Record, TombstoneReason
from schoolgate_sdk.kinds import KINDS, KindInfo
from schoolgate_server.cli import console

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "student": ("surname", "forename", "year_group_code", "date_of_birth", "upn", "admission_number"),
    "staff": ("staff_code", "surname", "forename", "job_title", "email"),
    "group": ("name", "type", "valid_from", "valid_to", "description"),
    "group_membership": ("group_id", "student_id", "valid_from", "valid_to"),
    "staff_assignment": ("group_id", "staff_id", "role", "valid_from", "valid_to"),
    "enrolment": ("student_id", "status", "valid_from", "valid_to", "year_group_code"),
    "attendance_mark": ("student_id", "date", "session", "code", "meaning", "comment"),
}
"""Fields that tell records of a kind apart, most telling first; other kinds show theirs in message order."""

_REFERENCE = 12
"""Characters of a record id that a table shows where it is not the record's own."""


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as protobuf's JSON, with the field names of the API."""
    return MessageToDict(message, preserving_proto_field_name=True)


def body(record: Record) -> Mapping[str, Any]:
    """Return the fields of the record's body that are set; enum values by name."""
    name = record.WhichOneof("body")
    return as_json(getattr(record, name)) if name else {}


def cell(info: KindInfo, name: str, value: object) -> str:
    """Return one value of a body for a table: enums without their prefix, references shortened."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    field = info.message.DESCRIPTOR.fields_by_name.get(name)
    if field is not None and field.enum_type is not None:
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        return text.removeprefix(prefix).lower().replace("_", " ")
    if name in info.references:
        return text[:_REFERENCE] + "…" if len(text) > _REFERENCE else text
    return console.clean(text)


def columns(info: KindInfo, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the body fields to show for a kind: ``wanted``, or the kind's own choice."""
    return tuple(wanted) or _COLUMNS.get(info.name) or tuple(f.name for f in info.message.DESCRIPTOR.fields)


def gone(record: Record) -> str:
    """Return why the record left, or nothing while it is live."""
    if not record.HasField("tombstone"):
        return ""
    return TombstoneReason.Name(record.tombstone.reason).removeprefix("TOMBSTONE_REASON_")


def cause(record: Record) -> str:
    """Return what made this version, in a word; nothing for one from before causes were recorded."""
    if not record.cause:
        return ""
    return ChangeCause.Name(record.cause).removeprefix("CHANGE_CAUSE_").lower()


def listing(records: Sequence[Record], info: KindInfo, shown: Sequence[str], width: int) -> tuple[Table, int]:
    """Return a table of records, and how many columns did not fit into ``width`` characters.

    Ids stand in full, because that is what other commands take; columns fall away from the right.
    """
    bodies = [body(record) for record in records]
    cells = [
        [r.id, *(cell(info, name, b.get(name)) for name in shown)]
        for r, b in zip(records, bodies, strict=True)
    ]
    heads = ["id", *shown]
    if any(gone(record) for record in records):
        heads.insert(1, "left")
        for row, record in zip(cells, records, strict=True):
            row.insert(1, gone(record))
    fitting = console.fitting(heads, cells, width)
    made = console.table(*heads[:fitting])
    for row in cells:
        console.add_row(made, row[:fitting])
    return made, len(heads) - fitting


def info_of(record: Record) -> KindInfo:
    """Return the kind of ``record``."""
    return KINDS[record.kind]
