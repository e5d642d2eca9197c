"""Record ids: minted from the first source key seen, so that a crashed run mints the same id again."""

from __future__ import annotations

import hashlib
import uuid

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import KINDS, kind_info

SCHOOLS = uuid.UUID("6f0f6c4e-3a52-5b0e-9d0c-0c8a4d2a7a11")
"""Namespace of all schools; changing it would change every id."""


class Minter:
    """Mints the ids of one school's records.

    An id is the kind's prefix and the UUIDv5 (RFC 9562) of the kind's name and the encoded key, under a
    namespace of the school. ``hashlib`` is used instead of ``uuid.uuid5`` because a first load mints
    hundreds of thousands, and the namespace need be hashed only once.
    """

    def __init__(self, school_id: str) -> None:
        self._base = hashlib.sha1(uuid.uuid5(SCHOOLS, school_id).bytes, usedforsecurity=False)

    def mint(self, kind: Kind.ValueType, encoded_key: str) -> str:
        """Return the id of the record of ``kind`` whose first key is ``encoded_key``."""
        info = kind_info(kind)
        sha = self._base.copy()
        sha.update(f"{info.name}\n{encoded_key}".encode())
        raw = bytearray(sha.digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x50
        raw[8] = raw[8] & 0x3F | 0x80
        return f"{info.prefix}_{raw.hex()}"


_KIND_BY_PREFIX = {info.prefix: kind for kind, info in KINDS.items()}


def kind_of(record_id: str) -> Kind.ValueType:
    """Return the kind that a record id names by its prefix.

    Raises:
        ValueError: it is no record id.
    """
    kind = _KIND_BY_PREFIX.get(record_id.partition("_")[0])
    if kind is None:
        raise ValueError(f"{record_id!r} is no record id")
    return kind
