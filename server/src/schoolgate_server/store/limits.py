"""How long operations of the store may take, and what is said where they do not come to their end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pymongo
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)

from schoolgate_server.store.errors import BulkFailed, StoreTooSlow, StoreUnavailable

OPERATION_LIMIT = 30.0
"""Seconds that one store operation may take; MongoDB itself stops at the same limit (``maxTimeMS``)."""

UNKNOWN_COMMIT = "UnknownTransactionCommitResult"
"""MongoDB's label for a commit of which nobody knows whether it took effect."""


@contextmanager
def shortened(seconds: float) -> Generator[None]:
    """Let operations in here take ``seconds`` in all, in MongoDB too, beside the limit that each one has."""
    with pymongo.timeout(seconds):
        yield


@contextmanager
def limited(seconds: float = OPERATION_LIMIT) -> Generator[None]:
    """Run driver calls under a time limit and translate unavailability.

    Limits nest: the shorter one counts. ``BulkWriteError`` quotes whole documents in its text, so it is
    replaced, without its cause, by :class:`BulkFailed`.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except BulkWriteError as error:
        if _may_be_repeated(error) or not error.details.get("writeErrors"):
            raise StoreUnavailable("MongoDB did not confirm a write in time") from None
        codes = [failure.get("code") for failure in error.details["writeErrors"]]
        duplicates = codes.count(11000)
        raise BulkFailed(duplicates, len(codes) - duplicates) from None
    except ConnectionFailure as error:
        raise StoreUnavailable(f"MongoDB cannot be reached: {type(error).__name__}") from error
    except ExecutionTimeout as error:
        raise StoreTooSlow("MongoDB did not get done in time") from error
    except PyMongoError as error:
        if _may_be_repeated(error):
            raise StoreUnavailable(f"MongoDB did not do it in time: {type(error).__name__}") from error
        raise


_PASSING = ("RetryableWriteError", "TransientTransactionError", UNKNOWN_COMMIT)
_INTERRUPTED = 11601
"""MongoDB's code for an operation that somebody ended, as a new owner does with the old one's."""


def _may_be_repeated(error: PyMongoError) -> bool:
    return (
        error.timeout
        or any(error.has_error_label(label) for label in _PASSING)
        or (isinstance(error, OperationFailure) and error.code == _INTERRUPTED)
    )
