"""Every row of the table of outcomes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import (
    AuthExpired,
    AuthInvalid,
    AuthRevoked,
    CircuitOpen,
    ConnectorError,
    CursorExpired,
    EntityDenied,
    Incomplete,
    RateLimited,
    SchemaChanged,
    Transient,
    Unsupported,
    WriteStopped,
)
from schoolgate_server.mis.blame import ConnectorDefect, ContractBroken
from schoolgate_server.writeback.outcomes import CutOff, Stop, Then, judge

UNTIL = datetime(2026, 11, 2, 7, 0, tzinfo=UTC)
ACCEPTED, REFUSED = pb.WriteAttempt.OUTCOME_ACCEPTED, pb.WriteAttempt.OUTCOME_REFUSED
NOT_SENT, UNKNOWN = pb.WriteAttempt.OUTCOME_NOT_SENT, pb.WriteAttempt.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    ("error", "outcome", "then"),
    [
        (None, ACCEPTED, Then.SENT),
        (Transient("cut"), UNKNOWN, Then.UNKNOWN),
        (CircuitOpen("open", until=UNTIL), UNKNOWN, Then.UNKNOWN),
        (Incomplete("torn"), UNKNOWN, Then.UNKNOWN),
        (CursorExpired("old"), UNKNOWN, Then.UNKNOWN),
        (ConnectorDefect(), UNKNOWN, Then.UNKNOWN),
        (ContractBroken("a rule"), UNKNOWN, Then.UNKNOWN),
        (CutOff(), UNKNOWN, Then.UNKNOWN),
        (WriteStopped("by itself"), UNKNOWN, Then.UNKNOWN),
        (RateLimited("pause", until=UNTIL), REFUSED, Then.AT),
        (RateLimited("pause"), REFUSED, Then.AT),
        (AuthInvalid("no"), REFUSED, Then.MENDED),
        (AuthExpired("no"), REFUSED, Then.MENDED),
        (AuthRevoked("no"), REFUSED, Then.MENDED),
        (EntityDenied("no", entity="Marks"), REFUSED, Then.MENDED),
        (Unsupported("no"), REFUSED, Then.REJECTED),
        (SchemaChanged("no"), REFUSED, Then.REJECTED),
        (ConnectorError("no"), REFUSED, Then.REJECTED),
    ],
)
def test_g11_what_left_had_no_effect_only_where_the_mis_refused_it(
    error: Exception | None, outcome: int, then: Then
) -> None:
    for stop in (None, *Stop):  # once something has left, a later stop takes nothing back
        verdict = judge(left=True, stop=stop, error=error)
        assert (verdict.outcome, verdict.then) == (outcome, then)


@pytest.mark.parametrize(
    ("error", "outcome", "then"),
    [
        (None, UNKNOWN, Then.UNKNOWN),
        (Transient("cut"), NOT_SENT, Then.AGAIN),
        (Incomplete("torn"), NOT_SENT, Then.AGAIN),
        (CircuitOpen("open", until=UNTIL), NOT_SENT, Then.AT),
        (RateLimited("pause", until=UNTIL), NOT_SENT, Then.AT),
        (ConnectorDefect(), NOT_SENT, Then.AGAIN),
        (CutOff(), NOT_SENT, Then.AGAIN),
        (SchemaChanged("odd"), NOT_SENT, Then.AGAIN),
        (AuthInvalid("no"), NOT_SENT, Then.MENDED),
        (EntityDenied("no", entity="Marks"), NOT_SENT, Then.MENDED),
        (Unsupported("no"), NOT_SENT, Then.REJECTED),
    ],
)
def test_what_never_left_is_sent_again_or_can_never_be(
    error: Exception | None, outcome: int, then: Then
) -> None:
    verdict = judge(left=False, stop=None, error=error)
    assert (verdict.outcome, verdict.then) == (outcome, then)


@pytest.mark.parametrize("stop", list(Stop))
def test_what_the_gate_stopped_is_known_not_to_have_left(stop: Stop) -> None:
    then = Then.HELD if stop is Stop.POLICY else Then.AGAIN
    for error in (WriteStopped("stopped"), CutOff()):
        assert judge(left=False, stop=stop, error=error) == (NOT_SENT, then, None)


@pytest.mark.parametrize("error", [None, Transient("cut"), Unsupported("no"), ConnectorDefect()])
def test_whoever_swallows_the_stop_is_believed_nothing(error: Exception | None) -> None:
    assert judge(left=False, stop=Stop.POLICY, error=error).then is Then.UNKNOWN


def test_a_pause_ends_when_the_mis_said() -> None:
    assert judge(left=False, stop=None, error=CircuitOpen("open", until=UNTIL)).until == UNTIL
    naive = RateLimited("pause", until=UNTIL.replace(tzinfo=None))
    assert judge(left=True, stop=None, error=naive).until is None
