"""Decisions: why a source row, or a part of it, was not taken over as it came (G09)."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import orjson

from schoolgate.v1.diagnostics_service_pb2 import (
    DECISION_REASON_UNSPECIFIED,
    Decision,
    DecisionReason,
)
from schoolgate.v1.record_pb2 import KeyPart
from schoolgate_sdk import Row, SourceKey, encode_key

LONGEST_DETAIL = 200
LONGEST_FIELD = 80
"""Characters of what a parser says about a row that a decision keeps: whole rows are no detail (G16)."""


class Finding(NamedTuple):
    """Something to decide about a row; where the row has no ``key``, ``row`` tells it from others.

    ``field`` and ``detail`` may be a stranger's words; the decision keeps their beginnings alone.
    """

    reason: DecisionReason.ValueType
    field: str
    detail: str
    key: SourceKey | None = None
    row: bytes = b""


def row_fingerprint(row: Row) -> bytes:
    """Return what tells a row without a key from others: a digest, since the row itself is personal data."""
    try:
        payload = orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)
    except TypeError:  # not even so: half a surrogate pair, or nested too deep, for which repr() has no limit
        payload = reprlib.repr(row).encode(errors="surrogatepass")
    return hashlib.blake2b(payload, digest_size=16).digest()


def check_words(reason: object, field: object, detail: object) -> None:
    """Return if a decision can hold what a stranger's parser says of a row.

    Raises:
        ValueError: the reason is none, or a text has what no text may.
        TypeError: they are of another type.
    """
    if not isinstance(reason, int) or not isinstance(field, str) or not isinstance(detail, str):
        raise TypeError("a reason is one of those that there are, and the rest is text")
    if reason == DECISION_REASON_UNSPECIFIED or reason not in DecisionReason.values():
        raise ValueError("the reason is none of those that there are")
    for text in (field, detail):
        text.encode()


class DecisionLog:
    """The decisions of one dataset in one run; a decision that was taken in an earlier run is not new."""

    def __init__(self, school_id: str, dataset: str, run_id: str, known: Iterable[str]) -> None:
        self._school_id = school_id
        self._dataset = dataset
        self._run_id = run_id
        self._known = set(known)
        self._new: list[Decision] = []

    def record(self, finding: Finding, now: datetime) -> None:
        """Take note of ``finding``."""
        finding = finding._replace(
            field=finding.field[:LONGEST_FIELD], detail=finding.detail[:LONGEST_DETAIL]
        )
        decision_id = self._identify(finding)
        if decision_id in self._known:
            return
        self._known.add(decision_id)
        decision = Decision(
            decision_id=decision_id,
            school_id=self._school_id,
            dataset=self._dataset,
            reason=finding.reason,
            field=finding.field,
            detail=finding.detail,
            first_run_id=self._run_id,
        )
        decision.first_seen_at.FromDatetime(now)
        if finding.key is not None:
            decision.source_key.namespace = finding.key.namespace
            decision.source_key.parts.extend(
                KeyPart(integer=part) if isinstance(part, int) else KeyPart(text=part)
                for part in finding.key.parts
            )
        self._new.append(decision)

    def take_new(self) -> list[Decision]:
        """Return the decisions recorded since the last call."""
        new, self._new = self._new, []
        return new

    def _identify(self, finding: Finding) -> str:
        sha = hashlib.blake2b(digest_size=16)
        which = finding.row if finding.key is None else encode_key(finding.key).encode()
        for part in (self._school_id, self._dataset, DecisionReason.Name(finding.reason), finding.field):
            sha.update(part.encode() + b"\0")
        sha.update(which)
        return f"dec_{sha.hexdigest()}"
