"""Records of every kind that refer to one another along every reference that there is."""

from __future__ import annotations

import hashlib
from typing import Any

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.record_pb2 import TombstoneReason
from schoolgate_sdk import KINDS, KindInfo, encode_key, source_key
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_server.model.changes import Change
from schoolgate_server.model.dates import validity

_DAYS = {"attendance_mark": "2026-09-07", "assessment_result": "2026-09-07"}


def id_of(info: KindInfo, number: int) -> str:
    return f"{info.prefix}_{number:032x}"


def related(
    kind: k.Kind.ValueType,
    number: int,
    to: int = 0,
    expected: int = 0,
    tombstone: TombstoneReason.ValueType | None = None,
    merged_into: int = 0,
    **fields: Any,
) -> Change:
    """Return record ``number`` of a kind, every reference of which names ``to`` of its kind, none for 0."""
    info = KINDS[kind]
    message = info.message(**fields)
    if to:
        for field in info.references:
            setattr(message, field, id_of(KINDS_BY_NAME[field.removesuffix("_id")], to))
    if info.on is not None and not message.HasField(info.on):
        setattr(message, info.on, _DAYS.get(info.name, "2026-09-07T09:00:00Z"))
    keys = (encode_key(source_key(f"mis/{info.name}", number)),)
    wire = message.SerializeToString(deterministic=True)
    begins, ends = validity(info, message)
    return Change(
        record_id=id_of(info, number),
        dataset=info.name,
        kind=kind,
        keys=keys,
        wire=wire,
        digest=hashlib.blake2b(wire + keys[0].encode(), digest_size=16).digest(),
        expected_version=expected,
        valid_from=begins,
        valid_to=ends,
        tombstone=tombstone,
        merged_into=id_of(info, merged_into) if merged_into else None,
    )
