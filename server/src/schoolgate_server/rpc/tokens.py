"""Page tokens: where a question goes on, bound to the school and the very question.

A token is opaque to callers. It holds nothing that its bearer could not ask for otherwise, and the school is
always the one of the request, so what it needs is not secrecy but that a mangled token, or one of another
question or school, is refused. A checksum over position, school and question does that, and holds across
restarts and servers.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TypeVar, overload

import orjson
from google.protobuf.message import Message

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError, Violation

_First = TypeVar("_First", str, int)
_Second = TypeVar("_Second", str, int)

_DIGEST_BYTES = 16
_PERSON = b"schoolgate-page2"
"""Raised whenever an order changes, so that a token of before is refused, and not taken for another place.

BLAKE2b takes 16 bytes.
"""
_LONGEST = 1024
_GREATEST = (1 << 63) - 1
"""Integer that the store can compare with. The checksum is no secret: anybody can make a token."""
_NOT_THE_QUESTION = ("page_token", "page_size")


def question_of(request: Message) -> bytes:
    """Return what a token of ``request`` is bound to: every field but how much is asked for at once."""
    asked = type(request)()
    asked.CopyFrom(request)
    for name in _NOT_THE_QUESTION:
        asked.ClearField(name)
    return asked.DESCRIPTOR.full_name.encode() + b"\0" + asked.SerializeToString(deterministic=True)


def _checksum(question: bytes, position: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=_PERSON)
    digest.update(len(question).to_bytes(8, "big"))
    digest.update(question)
    digest.update(position)
    return digest.digest()


def make_token(question: bytes, *position: str | int) -> str:
    """Return the token that leads back to ``position`` of ``question``."""
    body = orjson.dumps(position)
    return base64.urlsafe_b64encode(_checksum(question, body) + body).decode().rstrip("=")


@overload
def read_token(question: bytes, token: str, first: type[_First], /) -> tuple[_First]: ...
@overload
def read_token(
    question: bytes, token: str, first: type[_First], second: type[_Second], /
) -> tuple[_First, _Second]: ...
def read_token(question: bytes, token: str, /, *types: type) -> tuple[object, ...]:
    """Return the position, of these ``types``, that :func:`make_token` put into ``token``.

    Raises:
        ServiceError: ``PAGE_TOKEN_INVALID``; the token is malformed or belongs to another question.
    """
    try:
        if len(token) > _LONGEST:
            raise ValueError
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if _checksum(question, raw[_DIGEST_BYTES:]) != raw[:_DIGEST_BYTES]:
            raise ValueError
        position = orjson.loads(raw[_DIGEST_BYTES:])
        if [type(part) for part in position] != list(types):
            raise ValueError
        if not all(0 <= part <= _GREATEST for part in position if type(part) is int):
            raise ValueError
    except ValueError:
        raise not_the_token() from None
    return tuple(position)


def not_the_token() -> ServiceError:
    """Return the refusal of a token that no answer to the question gave."""
    return ServiceError(
        reasons.ERROR_REASON_PAGE_TOKEN_INVALID,
        "",
        violations=[Violation("page_token", "must be the next_page_token of the same question")],
    )
