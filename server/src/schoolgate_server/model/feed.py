"""The change feed: where a follower stands, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from schoolgate.v1.record_pb2 import Record


@dataclass(frozen=True, slots=True)
class Position:
    """How far a follower has got: it has every record whose seq and id stand before ``seq`` and ``after_id``.

    ``base`` is the seq as of which it last had everything, 0 where it never had. ``as_of`` is the latest
    published seq that it has seen, and ``as_of_ms`` when that was published (milliseconds since 1970), 0
    where nobody knows. Tombstones of up to the seq ``snapshot`` are left out: what had left when the follower
    began it never had.
    """

    base: int
    seq: int
    after_id: str = ""
    snapshot: int = 0
    as_of: int = 0
    as_of_ms: int = 0

    @classmethod
    def complete(cls, published: int, at_ms: int) -> Position:
        """Return where a follower stands that has everything as of the seq ``published``."""
        return cls(published, published + 1, as_of=published, as_of_ms=at_ms)

    def passed(self, record: Record, published: int, at_ms: int) -> Position:
        """Return the position just after ``record``, of a page as of the seq ``published``."""
        return replace(self, seq=record.seq, after_id=record.id, as_of=published, as_of_ms=at_ms)


class Changed(NamedTuple):
    """A changed record, and the state that the follower had of it; ``None`` where it had none."""

    record: Record
    before: Record | None


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Changes in order of their seq, all as of ``seq``, and where a follower stands that has them.

    ``is_last`` says that as of ``seq`` there are no more. ``oldest`` is the oldest seq from which changes can
    be told, ``published_ms`` when ``seq`` was published.
    """

    changes: Sequence[Changed]
    position: Position
    seq: int
    published_ms: int
    is_last: bool
    oldest: int
