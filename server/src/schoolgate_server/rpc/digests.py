"""What tells one request from another."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message


def digest_of(request: Message) -> bytes:
    """Return what tells a request from others, and from those of other methods, whose fields are the same."""
    named = request.DESCRIPTOR.full_name.encode() + b"\0"
    return hashlib.sha256(named + request.SerializeToString(deterministic=True)).digest()
