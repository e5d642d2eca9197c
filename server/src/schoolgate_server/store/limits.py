"""How long all operations of something may take together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pymongo

OPERATION_LIMIT = 30.0
"""Seconds that one store operation may take; MongoDB itself stops at the same limit (``maxTimeMS``)."""


@contextmanager
def shortened(seconds: float) -> Generator[None]:
    """Let operations in here take ``seconds`` in all, in MongoDB too, beside the limit that each one has."""
    with pymongo.timeout(seconds):
        yield
