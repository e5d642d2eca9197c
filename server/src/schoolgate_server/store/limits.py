"""How long all operations of something may take together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pymongo


@contextmanager
def shortened(seconds: float) -> Generator[None]:
    """Let operations in here take ``seconds`` in all, in MongoDB too, beside the limit that each one has."""
    with pymongo.timeout(seconds):
        yield
