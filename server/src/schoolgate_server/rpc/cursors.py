"""Cursors of the change feed: where a follower goes on, bound to a registration and the kinds it follows.

A cursor is opaque to callers. As with page tokens it needs no secrecy, but what is damaged must not pass for
a position; a checksum sees to that, and holds across restarts and servers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

import orjson

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.model.errors import ServiceError, Violation
from schoolgate_server.model.feed import Position

_DIGEST_BYTES = 12
_LONGEST = 1024
_TYPES = [int, int, str, int, int, int]
"""Of a position's fields."""


class Cursors:
    """Makes and reads the cursors of one registration of a school, for followers of some kinds."""

    def __init__(self, school: School, kinds: Iterable[Kind.ValueType]) -> None:
        self._school_id = school.school_id
        # A school that was removed and registered again counts from 1 again.
        self._owner = [school.school_id, school.created_at.ToMilliseconds(), sorted(kinds)]

    def make(self, position: Position) -> str:
        """Return the cursor of ``position``."""
        body = orjson.dumps([self._owner, astuple(position)])
        return base64.urlsafe_b64encode(_checksum(body) + body).decode().rstrip("=")

    def read(self, cursor: str) -> Position:
        """Return the position that :meth:`make` put into ``cursor``.

        Raises:
            ServiceError: CURSOR_INVALID; CURSOR_FOREIGN, it is another registration's or of other kinds.
        """
        owner, fields = _parts(cursor)
        if owner != self._owner:
            is_of_school = isinstance(owner, list) and owner[:1] == self._owner[:1]
            raise ServiceError(
                reasons.ERROR_REASON_CURSOR_FOREIGN,
                "",
                metadata={"school_id": self._school_id, "same_school": "true" if is_of_school else "false"},
                violations=[Violation("cursor", "must be one of this school and of the same kinds")],
            )
        return Position(*fields)


def _parts(cursor: str) -> tuple[object, list[Any]]:
    try:
        if len(cursor) > _LONGEST:
            raise ValueError
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if _checksum(raw[_DIGEST_BYTES:]) != raw[:_DIGEST_BYTES]:
            raise ValueError
        owner, fields = orjson.loads(raw[_DIGEST_BYTES:])
        if [type(field) for field in fields] != _TYPES:
            raise ValueError
    except (ValueError, TypeError):
        raise ServiceError(
            reasons.ERROR_REASON_CURSOR_INVALID,
            "",
            violations=[Violation("cursor", "must be the cursor of a response of WatchChanges")],
        ) from None
    return owner, fields


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, person=b"schoolgate-feed").digest()
