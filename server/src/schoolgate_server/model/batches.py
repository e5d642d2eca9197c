"""Parts of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Yield ``items`` in order, in parts of ``size``; the last one may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))
