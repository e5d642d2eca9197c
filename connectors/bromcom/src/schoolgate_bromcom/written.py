"""What the writers of Bromcom have in common: the ids that it takes, and how what was written is found."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from schoolgate_sdk import Row, SourceKey, Transient, Unsupported, WriteValue

LARGEST_ID: Final = 2**31 - 1


class Likeness(enum.Enum):
    """How like what Bromcom shows is to what was written. What is ``ALIKE`` may be it, changed since."""

    SAME = "same"
    ALIKE = "alike"
    OTHER = "other"


def id_of(given: Mapping[str, WriteValue], name: str, space: str) -> int:
    """Return Bromcom's id of somebody or something that a value names.

    Raises:
        Unsupported: the value is no key of the number space ``space``.
    """
    key = given.get(name)
    if isinstance(key, SourceKey) and key.namespace == space and len(key.parts) == 1:
        number = key.parts[0]
        if isinstance(number, int) and 0 < number <= LARGEST_ID:
            return number
    raise Unsupported(f"{name} must be a key of {space}")


async def read_twice(read: Callable[[], Awaitable[list[Row]]], what: str, entity: str) -> list[Row]:
    """Return the pupil's rows of two reads that agree: one read may be cut short without a sign of it.

    Raises:
        Transient: the reads do not agree.
    """
    rows = await read()
    if await read() != rows:
        raise Transient(f"two reads of the pupil's {what} do not agree", entity=entity)
    return rows
