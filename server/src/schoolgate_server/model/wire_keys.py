"""Source keys as they stand in messages, and as the SDK has them."""

from __future__ import annotations

from schoolgate.v1.record_pb2 import SourceKey as WireKey
from schoolgate_sdk import SourceKey, encode_key


def from_wire(key: WireKey) -> SourceKey:
    """Return the key that a message holds."""
    parts = tuple(part.integer if part.WhichOneof("value") == "integer" else part.text for part in key.parts)
    return SourceKey(key.namespace, parts)


def encode_wire_key(key: WireKey) -> str:
    """Return the key that a message holds, encoded."""
    return encode_key(from_wire(key))
