"""Says what is being measured while it takes its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

_began = time.perf_counter()


def say(text: str) -> None:
    """Print a line with the seconds since the start, to standard error: the output is the table's."""
    print(f"{time.perf_counter() - _began:6.0f} s  {text}", file=sys.stderr, flush=True)


def rounds(what: str, number: int) -> Iterator[int]:
    """Yield the numbers from 0 to below ``number``, and say before each which round of ``what`` begins."""
    for done in range(number):
        say(f"{what}: round {done + 1} of {number}")
        yield done
