"""What becomes of a write in the ledger: pure changes of its entry, which are stored by compare-and-set.

An attempt is known by its correlation id. What is learnt of it may come late, from a server that stalled and
woke up: it is told of the entry as it stands by then, and counts as far as it is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import Failure
from schoolgate_sdk import Departure, SourceKey, WriteReceipt, WriteSafety, decode_key, encode_key
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.writeback import advice
from schoolgate_server.writeback.options import WriteOptions, backoff
from schoolgate_server.writeback.outcomes import Then, Verdict

_ACCEPTED, _UNKNOWN = pb.WriteAttempt.OUTCOME_ACCEPTED, pb.WriteAttempt.OUTCOME_UNKNOWN
_NO_EFFECT = (pb.WriteAttempt.OUTCOME_REFUSED, pb.WriteAttempt.OUTCOME_NOT_SENT)
_CORRIGIBLE = frozenset(
    {
        pb.WRITE_STATE_UNKNOWN,
        pb.WRITE_STATE_NEEDS_ATTENTION,
        pb.WRITE_STATE_PENDING,
        pb.WRITE_STATE_FAILED,
        pb.WRITE_STATE_CANCELLED,
    }
)
"""States that say of an attempt what a receipt that comes late proves wrong."""

_AGAIN = timedelta(minutes=1)
"""Until the next look at a policy for what is not queued: nobody makes that due again."""


class Ending(NamedTuple):
    """How an attempt ended: the verdict, and what is known of it."""

    verdict: Verdict
    failure: Failure | None = None
    receipt: WriteReceipt | None = None
    departure: Departure | None = None


def begin(entry: WriteEntry, now: datetime, options: WriteOptions, correlation_id: str, seq: int) -> None:
    """Go into SENDING with a new attempt; ``seq`` is what the school has published."""
    write = entry.write
    if write.state == pb.WRITE_STATE_PENDING:
        entry.settles_at = None  # all that was sent before is known to have had no effect
    number = write.attempts[-1].number + 1 if write.attempts else 1
    attempt = write.attempts.add(number=number, correlation_id=correlation_id)
    attempt.started_at.FromDatetime(now)
    until = now + options.attempt
    # Looked at by others only when the slowest clock says that it must have ended.
    entry.move(pb.WRITE_STATE_SENDING, now, due_at=until + options.skew)
    entry.sending_until, entry.seq_sent = until, seq
    entry.first_left_at = entry.first_left_at or now
    write.waits_for = ""


def conclude(
    entry: WriteEntry,
    correlation_id: str,
    ending: Ending,
    safety: WriteSafety,
    now: datetime,
    options: WriteOptions,
) -> bool:
    """Take note of how an attempt ended; false where that is known already, or the attempt is not kept."""
    attempt = attempt_of(entry, correlation_id)
    if attempt is None or attempt.outcome == _ACCEPTED or attempt.outcome in _NO_EFFECT:
        return False
    lapsed = attempt.outcome == _UNKNOWN
    is_latest = entry.attempt.correlation_id == correlation_id
    if lapsed and ending.verdict.outcome == _UNKNOWN:
        return False
    _note(attempt, ending, now)
    entry.touch(now)
    under_way = entry.write.state == pb.WRITE_STATE_SENDING and is_latest
    if attempt.outcome == _ACCEPTED:
        entry.voided = min(entry.voided, attempt.number - 1)  # the person who said otherwise did not know
    if any(each.outcome == _ACCEPTED for each in counting(entry)):
        if under_way or entry.write.state in _CORRIGIBLE:
            _accepted(entry, ending, safety, now, options)
        elif entry.write.state == pb.WRITE_STATE_SENDING:
            _take(entry, ending.receipt)  # the attempt under way says what follows
        elif _taken_twice(entry, safety) and entry.write.state == pb.WRITE_STATE_SENT:
            entry.move(pb.WRITE_STATE_NEEDS_ATTENTION, now, failure=advice.taken_twice())
    elif under_way:
        _go_on(entry, attempt, ending, safety, now, options)
    elif lapsed and is_latest and safety is not WriteSafety.NATIVE_KEY and _waits_to_be_settled(entry):
        absent(entry, now)  # it had no effect after all, and nothing earlier is unsettled
    return True


def lapse(entry: WriteEntry, safety: WriteSafety, now: datetime, options: WriteOptions) -> None:
    """Take note that the attempt under way must have ended, and nobody said how."""
    attempt = entry.attempt
    attempt.outcome = _UNKNOWN
    attempt.ended_at.FromDatetime(now)
    attempt.failure.CopyFrom(advice.server_gone())
    _doubt(entry, attempt.failure, safety, now, options)


def expire(entry: WriteEntry, now: datetime) -> None:
    """Give up a write that was not sent in time."""
    before = entry.write.failure if entry.write.HasField("failure") else None
    entry.move(pb.WRITE_STATE_FAILED, now, failure=advice.too_late(before))


def hold(entry: WriteEntry, failure: Failure, now: datetime) -> None:
    """Leave a write where it is until somebody decides otherwise, or it expires."""
    if entry.write.failure != failure:
        entry.move(entry.write.state, now, failure=failure)
    entry.due_at = expiry_of(entry) if entry.write.state == pb.WRITE_STATE_PENDING else now + _AGAIN


def wait_for(entry: WriteEntry, other: str, now: datetime, options: WriteOptions) -> None:
    """Leave a write in its slot behind another one; only a change of that is told."""
    if entry.write.waits_for != other:
        entry.write.waits_for = other
        entry.looks = 0
        entry.touch(now)
    entry.looks += 1
    due = now + backoff(options.look_first, options.blocked_longest, entry.looks)
    entry.due_at = in_time(entry, due)


def postpone(entry: WriteEntry, failure: Failure | None, due: datetime, now: datetime) -> None:
    """Look at a write again at ``due``; a failure that is new is told."""
    entry.looks += 1
    if failure is not None and entry.write.failure != failure:
        looks = entry.looks
        entry.move(entry.write.state, now, failure=failure)
        entry.looks = looks
    entry.due_at = in_time(entry, due)


def look_again(
    entry: WriteEntry,
    failure: Failure | None,
    now: datetime,
    options: WriteOptions,
    at: datetime | None = None,
) -> None:
    """Look at a write again after a pause that grows, or at ``at`` where that is sooner."""
    due = now + backoff(options.look_first, options.look_longest, entry.looks + 1)
    postpone(entry, failure, min(due, at) if at is not None and at > now else due, now)


def found(entry: WriteEntry, receipt: WriteReceipt, now: datetime) -> None:
    """Take note that the MIS has what was written."""
    _take(entry, receipt)
    entry.found, entry.settles_at = True, None
    entry.move(pb.WRITE_STATE_SENT, now, due_at=now)
    entry.looks = 0


def accepted_later(entry: WriteEntry, receipt: WriteReceipt, now: datetime, options: WriteOptions) -> None:
    """Take note that the MIS has taken it, and has yet to do it."""
    attempt = entry.attempt
    attempt.receipt = receipt.pending or attempt.receipt
    entry.move(pb.WRITE_STATE_SENT, now, due_at=now + options.look_first)


def send_again(entry: WriteEntry, safety: WriteSafety, now: datetime, wait: timedelta) -> None:
    """Take a person's word that nothing of what was sent took effect: it is queued as if it were new.

    It waits until whatever was on its way has arrived, unless the MIS heeds its key, and has ``wait`` to go
    from then on where its time is over.
    """
    write = entry.write
    entry.voided = write.attempts[-1].number if write.attempts else 0
    if safety is WriteSafety.NATIVE_KEY:
        entry.settles_at = None
    due = max(now, entry.settles_at or now)
    if expiry_of(entry) <= due:
        write.expires_at.FromDatetime(due + wait)
    entry.first_left_at, entry.found, entry.vouched = None, False, False
    entry.requeued_at = now
    entry.keys.clear()
    del write.mis_ids[:]
    entry.move(pb.WRITE_STATE_PENDING, now, due_at=due)


def absent(entry: WriteEntry, now: datetime) -> None:
    """Take note that nothing of what was sent took effect: it may be sent again."""
    entry.settles_at = entry.first_left_at = None
    entry.move(pb.WRITE_STATE_PENDING, now, due_at=now)


def need_attention(entry: WriteEntry, failure: Failure, now: datetime) -> None:
    """Leave a write to a person."""
    entry.move(pb.WRITE_STATE_NEEDS_ATTENTION, now, failure=failure)


def reject(entry: WriteEntry, failure: Failure, now: datetime) -> None:
    """End a write that can never be sent; a person decides where an attempt may have taken effect."""
    if entry.settles_at is not None or entry.write.state != pb.WRITE_STATE_PENDING:
        need_attention(entry, advice.undecided(failure.message), now)
    else:
        entry.move(pb.WRITE_STATE_REJECTED, now, failure=failure)


def confirm(entry: WriteEntry, record_ids: Sequence[str], seq: int, now: datetime) -> None:
    """Take note that the school's own data says what was written."""
    entry.write.record_ids[:] = record_ids
    entry.write.confirmed_seq = seq
    entry.move(pb.WRITE_STATE_CONFIRMED, now)


def diverge(entry: WriteEntry, record_ids: Sequence[str], fields: str, now: datetime) -> None:
    """Take note that the school's own data says otherwise."""
    if record_ids:
        entry.write.record_ids[:] = record_ids
    entry.move(pb.WRITE_STATE_DIVERGED, now, failure=advice.says_otherwise(fields))


def expiry_of(entry: WriteEntry) -> datetime:
    """Return when it is too late to send a write."""
    return utc(entry.write.expires_at)


def in_time(entry: WriteEntry, due: datetime) -> datetime:
    """Return ``due``, but for a write that is queued no later than when it expires."""
    return min(due, expiry_of(entry)) if entry.write.state == pb.WRITE_STATE_PENDING else due


def receipt_of(entry: WriteEntry) -> WriteReceipt | None:
    """Return what the MIS answered, ``None`` where no attempt that counts was accepted."""
    taken = [each for each in counting(entry) if each.outcome == _ACCEPTED or each.receipt]
    if not taken:
        return None
    return WriteReceipt(
        tuple(entry.write.mis_ids), taken[-1].receipt or None, keys_of(entry), taken[-1].response
    )


def counting(entry: WriteEntry) -> list[pb.WriteAttempt]:
    """Return the attempts of which no person has said that they had no effect."""
    return [each for each in entry.write.attempts if each.number > entry.voided]


def is_hopeless(entry: WriteEntry, now: datetime, options: WriteOptions) -> bool:
    """Say whether what became of a write has been looked for so long that a person is asked."""
    return now >= (entry.first_left_at or utc(entry.write.submitted_at)) + options.give_up


def keys_of(entry: WriteEntry) -> tuple[SourceKey, ...]:
    """Return the source keys of what came to be."""
    return tuple(decode_key(key) for key in entry.keys)


def utc(stamp: Timestamp) -> datetime:
    """Return a message's time."""
    return stamp.ToDatetime(tzinfo=UTC)


def attempt_of(entry: WriteEntry, correlation_id: str) -> pb.WriteAttempt | None:
    """Return the attempt with this correlation id, ``None`` where it is not kept."""
    for attempt in entry.write.attempts:
        if attempt.correlation_id == correlation_id:
            return attempt
    return None


def _note(attempt: pb.WriteAttempt, ending: Ending, now: datetime) -> None:
    attempt.ended_at.FromDatetime(now)
    attempt.outcome = ending.verdict.outcome
    attempt.ClearField("failure")
    if ending.failure is not None:
        attempt.failure.CopyFrom(ending.failure)
    if ending.departure is not None:
        attempt.sent.target, attempt.sent.body = ending.departure
    if ending.receipt is not None:
        attempt.response = ending.receipt.response
        attempt.receipt = ending.receipt.pending or ""


def _accepted(
    entry: WriteEntry, ending: Ending, safety: WriteSafety, now: datetime, options: WriteOptions
) -> None:
    """Go into SENT, whatever state said otherwise: the MIS took an attempt."""
    _take(entry, ending.receipt)
    entry.settles_at = (entry.sending_until or now) + options.settle
    if _taken_twice(entry, safety):
        entry.move(pb.WRITE_STATE_NEEDS_ATTENTION, now, failure=advice.taken_twice())
    else:
        entry.move(pb.WRITE_STATE_SENT, now, due_at=now)


def _take(entry: WriteEntry, receipt: WriteReceipt | None) -> None:
    """Take over what a receipt tells; one that tells nothing takes nothing away."""
    if receipt is not None and receipt.mis_ids:
        entry.write.mis_ids[:] = receipt.mis_ids
    if receipt is not None and receipt.keys:
        entry.keys = [encode_key(key) for key in receipt.keys]


def _taken_twice(entry: WriteEntry, safety: WriteSafety) -> bool:
    taken = sum(each.outcome == _ACCEPTED for each in counting(entry))
    return taken > 1 and safety is not WriteSafety.NATIVE_KEY


def _go_on(
    entry: WriteEntry,
    attempt: pb.WriteAttempt,
    ending: Ending,
    safety: WriteSafety,
    now: datetime,
    options: WriteOptions,
) -> None:
    """Go where an attempt leads that was not accepted."""
    outcome, then, until = ending.verdict
    failure = ending.failure
    if outcome == _UNKNOWN:
        _doubt(entry, failure, safety, now, options)
        return
    if entry.settles_at is not None:  # what an earlier attempt came to is not known yet
        if then is Then.REJECTED:
            need_attention(entry, advice.undecided("the MIS refused to be sent it again"), now)
            return
        state = pb.WRITE_STATE_UNKNOWN
    else:
        state = pb.WRITE_STATE_PENDING
        if entry.first_left_at == utc(attempt.started_at):
            entry.first_left_at = None
        if then is Then.REJECTED:
            entry.move(pb.WRITE_STATE_REJECTED, now, failure=failure)
            return
    entry.move(state, now, failure=failure)
    entry.due_at = in_time(entry, _next_try(entry, then, until, now, options))


def _next_try(
    entry: WriteEntry, then: Then, until: datetime | None, now: datetime, options: WriteOptions
) -> datetime:
    if then is Then.HELD:
        return expiry_of(entry) if entry.settles_at is None else now + _AGAIN
    if then is Then.AT and until is not None:
        return max(until, now + options.retry_first)
    tries = 0
    for each in reversed(entry.write.attempts):
        if each.outcome not in _NO_EFFECT:
            break
        tries += 1
    if then is Then.MENDED:
        return now + backoff(options.refused_first, options.refused_longest, tries)
    return now + backoff(options.retry_first, options.retry_longest, tries)


def _doubt(
    entry: WriteEntry, failure: Failure | None, safety: WriteSafety, now: datetime, options: WriteOptions
) -> None:
    """Go where nobody knows whether an attempt took effect."""
    entry.settles_at = (entry.sending_until or now) + options.settle
    unknown = sum(each.outcome == _UNKNOWN for each in counting(entry))
    if safety is WriteSafety.NONE:
        need_attention(entry, advice.undecided("the MIS cannot be asked"), now)
    elif safety is WriteSafety.NATIVE_KEY and unknown >= options.unknown_attempts:
        need_attention(entry, advice.undecided(f"{unknown} attempts were not answered"), now)
    elif safety is WriteSafety.NATIVE_KEY:
        due = now + backoff(options.retry_first, options.retry_longest, unknown)
        entry.move(pb.WRITE_STATE_UNKNOWN, now, failure=failure, due_at=due)
    else:
        entry.move(pb.WRITE_STATE_UNKNOWN, now, failure=failure, due_at=now + options.look_first)


def _waits_to_be_settled(entry: WriteEntry) -> bool:
    undecided = (pb.WRITE_STATE_UNKNOWN, pb.WRITE_STATE_NEEDS_ATTENTION)
    return entry.write.state in undecided and not entry.write.task
