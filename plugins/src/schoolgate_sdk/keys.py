"""Source keys: how a MIS identifies an entity.

A key is a namespace and a tuple of parts. Keys are compared part by part, with their types, and never as
joined text: ("a", "bc") is not ("ab", "c") and 1 is not "1" (guarantee G05).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import orjson

KeyPart: TypeAlias = int | str
"""One component of a key: an integer within 64 bits, or a text."""

_INT64 = 1 << 63

LONGEST_KEY = 500
"""Characters of a key's texts together; MISs have at most a few dozen, and every record carries its key."""

MOST_PARTS = 16
"""Parts of a key; the longest key of any kind names a pupil, a group, a day and a period."""


class SourceKey(NamedTuple):
    """A MIS's own key of one entity.

    ``namespace`` is the number space, by convention "<connector>/<space>" ("bromcom/student"); ``parts``
    holds at least one component. Build keys with :func:`source_key`, which checks them.
    """

    namespace: str
    parts: tuple[KeyPart, ...]


def source_key(namespace: str, *parts: KeyPart) -> SourceKey:
    """Return a checked key; raises as :func:`check_key` does."""
    key = SourceKey(namespace, parts)
    check_key(key)
    return key


def check_key(key: SourceKey) -> None:
    """Return if ``key`` is well formed.

    Raises:
        ValueError: the namespace or ``parts`` is empty, a text part is empty, an integer exceeds 64 bits, or
            the key is longer than any MIS's.
        TypeError: a part is neither ``int`` nor ``str`` (``bool`` counts as neither).
    """
    namespace, parts = key
    if not namespace or not parts:
        raise ValueError("a source key needs a namespace and at least one part")
    if len(parts) > MOST_PARTS:
        raise ValueError(f"a source key has more than {MOST_PARTS} parts")
    length = len(namespace)
    for part in parts:
        if type(part) is str:
            if not part:
                raise ValueError("a text part of a source key is empty")
            length += len(part)
        elif type(part) is int:
            if not -_INT64 <= part < _INT64:
                raise ValueError("an integer part of a source key exceeds 64 bits")
        else:
            raise TypeError(f"a part of a source key must be int or str, not {type(part).__name__[:80]}")
    if length > LONGEST_KEY:
        raise ValueError(f"the texts of a source key have more than {LONGEST_KEY} characters")


def encode_key(key: SourceKey) -> str:
    """Return the key as text, one text per key: a JSON array of the namespace and the parts."""
    return orjson.dumps((key.namespace, *key.parts)).decode()


def decode_key(text: str) -> SourceKey:
    """Return the key that :func:`encode_key` made ``text`` from.

    Raises:
        ValueError: ``text`` is no encoded key.
    """
    match orjson.loads(text):
        case [str(namespace), *parts] if parts:
            return source_key(namespace, *parts)
        case _:
            raise ValueError("not an encoded source key")
