"""Source keys as callers give them."""

from __future__ import annotations

from schoolgate.v1.record_pb2 import SourceKey as WireKey
from schoolgate_sdk import SourceKey
from schoolgate_sdk.keys import check_key
from schoolgate_server.model.wire_keys import from_wire
from schoolgate_server.rpc.checks import Violations

MOST_PARTS = 16
"""Parts of a key; MISs number their entities by one to four."""


def checked_key(key: WireKey, field: str, violations: Violations) -> SourceKey | None:
    """Return the key that ``field`` holds, or ``None`` after noting what is wrong with it."""
    if len(key.parts) > MOST_PARTS:
        violations.add(f"{field}.parts", f"must be at most {MOST_PARTS}")
        return None
    if any(part.WhichOneof("value") is None for part in key.parts):
        violations.add(f"{field}.parts", "must each be an integer or a text")
        return None
    checked = from_wire(key)
    try:
        check_key(checked)
    except ValueError as error:
        violations.add(field, str(error))
        return None
    return checked
