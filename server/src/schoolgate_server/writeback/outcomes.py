"""What an attempt came to, and what follows: a pure function of whether it left and how the call ended.

"Left" is what the gate knows: the connector announced that the write leaves, and was let. An operation that
does not announce counts as left from the call on. What may have left is never called not sent, whatever a
connector says: only a refusal by the MIS, or a receipt, says more.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import NamedTuple

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import (
    AuthExpired,
    AuthInvalid,
    CircuitOpen,
    ConnectorError,
    EntityDenied,
    Incomplete,
    RateLimited,
    Transient,
    Unsupported,
    WriteStopped,
)
from schoolgate_server.mis.blame import ContractBroken


class Stop(enum.Enum):
    """Why the gate let a write not leave."""

    POLICY = "policy"
    """The policy forbids it."""
    UNSURE = "unsure"
    """The policy has not been read of late, for the store does not answer, say."""
    LEASE = "lease"
    """Another server may own the school by now, or this one is stopping."""
    LATE = "late"
    """The attempt's time is over."""


class Then(enum.Enum):
    """What follows an attempt."""

    SENT = "sent"
    AGAIN = "again"
    """It is sent again after a pause that grows."""
    AT = "at"
    """The same, but not before the moment that the MIS named, where it did."""
    MENDED = "mended"
    """The same after longer pauses: a person has to mend something first."""
    HELD = "held"
    """It waits for another policy."""
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class CutOff(Exception):
    """The server itself broke an attempt off: its time was over, or the server stops."""


class Verdict(NamedTuple):
    """What came of an attempt, what follows, and from when on, where something says so."""

    outcome: pb.WriteAttempt.Outcome.ValueType
    then: Then
    until: datetime | None = None


_ACCEPTED = Verdict(pb.WriteAttempt.OUTCOME_ACCEPTED, Then.SENT)
UNKNOWN = Verdict(pb.WriteAttempt.OUTCOME_UNKNOWN, Then.UNKNOWN)
_REFUSED, _NOT_SENT = pb.WriteAttempt.OUTCOME_REFUSED, pb.WriteAttempt.OUTCOME_NOT_SENT

_DOUBTFUL = (Transient, Incomplete, WriteStopped, ContractBroken)
"""After these a write that has left may have taken effect."""
_MENDED = (AuthExpired, AuthInvalid, EntityDenied)
"""After these a person can do something, and then it may succeed."""


def judge(*, left: bool, stop: Stop | None, error: Exception | None) -> Verdict:
    """Return the verdict on an attempt that ended with ``error``, or ``None``: with a receipt."""
    if left:
        return _of_one_that_left(error)
    if stop is not None:
        # Whoever swallows what the gate raised may have sent all the same.
        if not isinstance(error, WriteStopped | CutOff):
            return UNKNOWN
        return Verdict(_NOT_SENT, Then.HELD if stop is Stop.POLICY else Then.AGAIN)
    match error:
        case None:
            return UNKNOWN  # a receipt for what never was announced
        case Unsupported():
            return Verdict(_NOT_SENT, Then.REJECTED)
        case RateLimited() | CircuitOpen():
            return Verdict(_NOT_SENT, Then.AT, _moment(error.until))
        case _ if isinstance(error, _MENDED):
            return Verdict(_NOT_SENT, Then.MENDED)
        case _:
            return Verdict(_NOT_SENT, Then.AGAIN)


def _of_one_that_left(error: Exception | None) -> Verdict:
    if error is None:
        return _ACCEPTED
    if isinstance(error, RateLimited):
        return Verdict(_REFUSED, Then.AT, _moment(error.until))
    if isinstance(error, _MENDED):
        return Verdict(_REFUSED, Then.MENDED)
    if isinstance(error, _DOUBTFUL) or not isinstance(error, ConnectorError):
        return UNKNOWN
    return Verdict(_REFUSED, Then.REJECTED)


def _moment(until: object) -> datetime | None:
    """Return a stranger's moment, if it is one."""
    return until if isinstance(until, datetime) and until.utcoffset() is not None else None
