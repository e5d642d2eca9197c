"""The content hash by which two states of a record are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

DIGEST_BYTES = 16
"""128 bits: an accidental collision among a school's millions of records is out of the question."""


def content_digest(wire: bytes, keys: Sequence[str]) -> bytes:
    """Return the digest of a record's deterministic serialisation and its encoded keys, in order.

    Encoded keys are JSON and hold no raw newline, so the parts cannot run into each other.
    """
    joined = keys[0] if len(keys) == 1 else "\n".join(keys)
    return hashlib.blake2b(b"%b\n%b" % (joined.encode(), wire), digest_size=DIGEST_BYTES).digest()


def rows_digest(payload: bytes) -> bytes:
    """Return the digest under which encoded source rows are retained."""
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()
