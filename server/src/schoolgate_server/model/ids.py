"""Record ids: minted from the first source key seen, so that a crashed run mints the same id again."""

from __future__ import annotations

import hashlib
import uuid

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import KINDS

SCHOOLS = uuid.UUID("6f0f6c4e-3a52-5b0e-9d0c-0c8a4d2a7a11")
"""Namespace of all schools; changing it would change every id."""


class Minter:
    """Mints the ids of one school's records.

    An id is the kind's prefix and the UUIDv5 (RFC 9562) of the kind's name and the encoded key, under a
    namespace of the school. ``hashlib`` is used instead of ``uuid.uuid5`` because a first load mints
    hundreds of thousands, and the namespace need be hashed only once.
    """

    def __init__(self, school_id: str) -> None:
        namespace = uuid.uuid5(SCHOOLS, school_id).bytes
        self._begun = {
            kind: (
                f"{info.prefix}_",
                hashlib.sha1(namespace + f"{info.name}\n".encode(), usedforsecurity=False),
            )
            for kind, info in KINDS.items()
        }

    def mint(self, kind: Kind.ValueType, encoded_key: str) -> str:
        """Return the id of the record of ``kind`` whose first key is ``encoded_key``."""
        prefix, begun = self._begun[kind]
        sha = begun.copy()
        sha.update(encoded_key.encode())
        digest = sha.hexdigest()
        return f"{prefix}{digest[:12]}5{digest[13:16]}{_VARIANT[digest[16]]}{digest[17:32]}"


_VARIANT = {digit: f"{int(digit, 16) & 0x3 | 0x8:x}" for digit in "0123456789abcdef"}
"""The RFC's two variant bits set in a hexadecimal digit."""

_KIND_BY_PREFIX = {info.prefix: kind for kind, info in KINDS.items()}
_PREFIX_BY_KIND = {kind: f"{info.prefix}_" for kind, info in KINDS.items()}

ID_BYTES = 16
"""Length of the opaque part of a record id once it is packed."""


def kind_of(record_id: str) -> Kind.ValueType:
    """Return the kind that a record id names by its prefix.

    Raises:
        ValueError: it is no record id.
    """
    kind = _KIND_BY_PREFIX.get(record_id.partition("_")[0])
    if kind is None:
        raise ValueError(f"{record_id!r} is no record id")
    return kind


def pack_id(record_id: str) -> tuple[Kind.ValueType, bytes]:
    """Return the kind of a record id and its opaque part in 16 bytes, a seventh of what the text takes.

    Raises:
        ValueError: it is no record id.
    """
    prefix, _, digits = record_id.partition("_")
    packed = bytes.fromhex(digits)
    if prefix not in _KIND_BY_PREFIX or len(packed) != ID_BYTES:
        raise ValueError(f"{record_id!r} is no record id")
    return _KIND_BY_PREFIX[prefix], packed


def unpack_id(kind: int, packed: bytes) -> str:
    """Return the record id that :func:`pack_id` took apart."""
    return _PREFIX_BY_KIND[Kind.ValueType(kind)] + packed.hex()
