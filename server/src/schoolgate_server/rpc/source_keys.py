"""Source keys as callers give them."""

from __future__ import annotations

from schoolgate.v1.record_pb2 import SourceKey as WireKey
from schoolgate_sdk import SourceKey, source_key
from schoolgate_server.model.wire_keys import from_wire
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations

MOST_PARTS = 16
"""Parts of a key; MISs number their entities by one to four."""

LONGEST_PART = 200
"""Characters of a text part."""


def checked_key(key: WireKey, field: str, violations: Violations) -> SourceKey | None:
    """Return the key that ``field`` holds, or ``None`` after noting what is wrong with it."""
    if len(key.parts) > MOST_PARTS:
        violations.add(f"{field}.parts", f"must be at most {MOST_PARTS}")
    elif any(part.WhichOneof("value") is None for part in key.parts):
        violations.add(f"{field}.parts", "must each be an integer or a text")
    elif len(key.namespace) > LONGEST_NAME or any(len(part.text) > LONGEST_PART for part in key.parts):
        what = f"must have at most {LONGEST_NAME} characters in its namespace and {LONGEST_PART} in a part"
        violations.add(field, what)
    else:
        return _well_formed(from_wire(key), field, violations)
    return None


def _well_formed(key: SourceKey, field: str, violations: Violations) -> SourceKey | None:
    try:
        return source_key(key.namespace, *key.parts)
    except ValueError as error:
        violations.add(field, str(error))
        return None
