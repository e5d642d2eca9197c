"""What requests and what is to be written are checked with: everything that is wrong is told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate_sdk import KINDS
from schoolgate_server.model.errors import ServiceError, Violation

_RECORD_ID = re.compile(r"[a-z]{3}_[0-9a-f]{32}")
_PREFIXES = frozenset(info.prefix for info in KINDS.values())
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

MOST_VIOLATIONS = 20
"""Violations that an error tells; of the others it tells the number."""


class _Found(NamedTuple):
    reason: r.ErrorReason.ValueType
    violation: Violation
    metadata: Mapping[str, str]


def has_form_of_record_id(text: str) -> bool:
    """Whether ``text`` looks like the id of a record, of whatever kind."""
    return bool(_RECORD_ID.fullmatch(text))


def is_record_id(text: str) -> bool:
    """Whether ``text`` is the id of a record of some kind, known or not."""
    return has_form_of_record_id(text) and text.partition("_")[0] in _PREFIXES


def is_iso_date(text: str) -> bool:
    """Whether ``text`` is a calendar date in the form YYYY-MM-DD."""
    if not _ISO_DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class FoundViolations:
    """What is wrong with one request.

    Descriptions name fields and limits; they never repeat values, which may be secrets or pupils' data.
    """

    def __init__(self) -> None:
        self._found: list[_Found] = []

    def add(
        self,
        field: str,
        description: str,
        reason: r.ErrorReason.ValueType = r.ERROR_REASON_REQUEST_INVALID,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Note that ``field`` is wrong; ``metadata`` is what ``reason`` documents."""
        self._found.append(_Found(reason, Violation(field, description), metadata or {}))

    @property
    def are_any(self) -> bool:
        """Whether anything was noted."""
        return bool(self._found)

    def raise_any(self) -> None:
        """Raise a :class:`ServiceError` with everything noted, if anything was.

        Its reason is the common one of all that was noted, else ``REQUEST_INVALID``.
        """
        if not self._found:
            return
        first = self._found[0]
        told = [f"{field}: {description}" for _, (field, description), _ in self._found[:MOST_VIOLATIONS]]
        if len(self._found) > len(told):
            told.append(f"and {len(self._found) - len(told)} more")
        alike = all(found.reason == first.reason for found in self._found)
        raise ServiceError(
            first.reason if alike else r.ERROR_REASON_REQUEST_INVALID,
            "; ".join(told),
            metadata=first.metadata if alike else None,
            violations=[found.violation for found in self._found],
        )
