"""What becomes of a write, whoever learns what of an attempt, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import FAILURE_TYPE_TRANSIENT, Failure
from schoolgate_sdk import WriteReceipt, WriteSafety, source_key
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.outcomes import UNKNOWN, Then, Verdict
from schoolgate_server.writeback.transitions import Ending

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OPTIONS = WriteOptions()
TAKEN = Ending(
    Verdict(pb.WriteAttempt.OUTCOME_ACCEPTED, Then.SENT),
    receipt=WriteReceipt(("17",), keys=(source_key("mis/event", 17),), response="created"),
)
LOST = Ending(UNKNOWN, Failure(type=FAILURE_TYPE_TRANSIENT, message="cut"))
NOT_SENT = Ending(Verdict(pb.WriteAttempt.OUTCOME_NOT_SENT, Then.AGAIN))
REFUSED = Ending(Verdict(pb.WriteAttempt.OUTCOME_REFUSED, Then.REJECTED))
READBACK, NATIVE, NONE = WriteSafety.NATURAL_KEY_READBACK, WriteSafety.NATIVE_KEY, WriteSafety.NONE


def pending() -> WriteEntry:
    write = pb.Write(
        write_id="wrt_1",
        school_id="oak",
        state=pb.WRITE_STATE_PENDING,
        operation_name="record_behaviour_event",
    )
    write.submitted_at.FromDatetime(NOW)
    write.expires_at.FromDatetime(NOW + timedelta(hours=24))
    return WriteEntry(write, slot="s", position=1, due_at=NOW)


def sending(correlation_id: str = "a") -> WriteEntry:
    entry = pending()
    to.begin(entry, NOW, OPTIONS, correlation_id, 7)
    return entry


def state(entry: WriteEntry) -> str:
    return pb.WriteState.Name(entry.write.state).removeprefix("WRITE_STATE_")


def test_an_attempt_begins_with_a_limit_and_is_others_business_only_after_it() -> None:
    entry = sending()
    assert state(entry) == "SENDING"
    assert entry.sending_until == NOW + OPTIONS.attempt
    assert entry.due_at == NOW + OPTIONS.attempt + OPTIONS.skew
    assert (entry.seq_sent, entry.first_left_at) == (7, NOW)
    assert [each.number for each in entry.write.attempts] == [1]


@pytest.mark.parametrize(
    ("safety", "ending", "expected"),
    [
        (READBACK, TAKEN, "SENT"),
        (READBACK, LOST, "UNKNOWN"),
        (READBACK, NOT_SENT, "PENDING"),
        (READBACK, REFUSED, "REJECTED"),
        (NATIVE, LOST, "UNKNOWN"),
        (NONE, LOST, "NEEDS_ATTENTION"),
        (NONE, NOT_SENT, "PENDING"),
    ],
)
def test_where_an_attempt_leads(safety: WriteSafety, ending: Ending, expected: str) -> None:
    entry = sending()
    assert to.conclude(entry, "a", ending, safety, NOW, OPTIONS)
    assert state(entry) == expected
    assert entry.attempt.outcome == ending.verdict.outcome


def test_what_is_known_already_changes_nothing() -> None:
    entry = sending()
    to.conclude(entry, "a", TAKEN, READBACK, NOW, OPTIONS)
    assert not to.conclude(entry, "a", LOST, READBACK, LATER, OPTIONS)
    assert not to.conclude(entry, "unheard of", TAKEN, READBACK, LATER, OPTIONS)
    assert state(entry) == "SENT"


@pytest.mark.parametrize("safety", [READBACK, NONE, NATIVE])
def test_g11_a_receipt_that_comes_late_is_not_lost(safety: WriteSafety) -> None:
    """A stalled server wakes up with it after another one has taken the attempt for lost."""
    entry = sending()
    to.lapse(entry, safety, LATER, OPTIONS)
    assert to.conclude(entry, "a", TAKEN, safety, LATER, OPTIONS)
    assert state(entry) == "SENT"
    assert list(entry.write.mis_ids) == ["17"]


def test_g11_a_late_receipt_keeps_a_queued_write_from_being_sent_again() -> None:
    entry = sending()
    to.lapse(entry, READBACK, NOW, OPTIONS)
    to.absent(entry, LATER)
    assert state(entry) == "PENDING"
    to.conclude(entry, "a", TAKEN, READBACK, LATER, OPTIONS)
    assert state(entry) == "SENT"


def test_g11_two_accepted_attempts_need_attention() -> None:
    entry = sending()
    to.lapse(entry, READBACK, NOW, OPTIONS)
    to.absent(entry, LATER)
    to.begin(entry, LATER, OPTIONS, "b", 8)
    to.conclude(entry, "a", TAKEN, READBACK, LATER, OPTIONS)
    assert state(entry) == "SENDING"  # the second is under way: nothing can be done but wait for it
    to.conclude(entry, "b", TAKEN, READBACK, LATER, OPTIONS)
    assert state(entry) == "NEEDS_ATTENTION"


def test_a_late_receipt_counts_where_the_second_attempt_did_not_leave() -> None:
    entry = sending()
    to.lapse(entry, READBACK, NOW, OPTIONS)
    to.absent(entry, LATER)
    to.begin(entry, LATER, OPTIONS, "b", 8)
    to.conclude(entry, "a", TAKEN, READBACK, LATER, OPTIONS)
    to.conclude(entry, "b", NOT_SENT, READBACK, LATER, OPTIONS)
    assert state(entry) == "SENT"


@pytest.mark.parametrize(("safety", "lapsed"), [(READBACK, "UNKNOWN"), (NONE, "NEEDS_ATTENTION")])
def test_a_stalled_server_that_sent_nothing_sets_the_write_free(safety: WriteSafety, lapsed: str) -> None:
    entry = sending()
    to.lapse(entry, safety, LATER, OPTIONS)
    assert state(entry) == lapsed
    to.conclude(entry, "a", NOT_SENT, safety, LATER, OPTIONS)
    assert state(entry) == "PENDING"
    assert entry.first_left_at is None


def test_g11_under_a_native_key_nothing_is_queued_while_an_attempt_is_unsettled() -> None:
    entry = sending()
    to.conclude(entry, "a", LOST, NATIVE, NOW, OPTIONS)
    to.begin(entry, LATER, OPTIONS, "b", 7)
    to.conclude(entry, "b", NOT_SENT, NATIVE, LATER, OPTIONS)
    assert state(entry) == "UNKNOWN"
    to.begin(entry, LATER, OPTIONS, "c", 7)
    to.conclude(entry, "c", REFUSED, NATIVE, LATER, OPTIONS)
    assert state(entry) == "NEEDS_ATTENTION"


def test_a_native_key_is_not_tried_for_ever() -> None:
    entry = sending("0")
    for number in range(OPTIONS.unknown_attempts):
        to.conclude(entry, str(number), LOST, NATIVE, NOW, OPTIONS)
        if state(entry) == "UNKNOWN":
            to.begin(entry, NOW, OPTIONS, str(number + 1), 7)
    assert state(entry) == "NEEDS_ATTENTION"
    assert len(entry.write.attempts) == OPTIONS.unknown_attempts


def test_pauses_grow_and_end_with_the_write() -> None:
    entry = pending()
    due: list[timedelta] = []
    for number in range(12):
        to.begin(entry, NOW, OPTIONS, str(number), 7)
        to.conclude(entry, str(number), NOT_SENT, READBACK, NOW, OPTIONS)
        assert entry.due_at is not None
        due.append(entry.due_at - NOW)
    assert due[:3] == [OPTIONS.retry_first, OPTIONS.retry_first * 2, OPTIONS.retry_first * 4]
    assert due[-1] == OPTIONS.retry_longest
    late = NOW + timedelta(hours=24) - timedelta(seconds=1)
    to.begin(entry, late, OPTIONS, "last", 7)
    to.conclude(entry, "last", NOT_SENT, READBACK, late, OPTIONS)
    assert entry.due_at == NOW + timedelta(hours=24)


def test_what_waits_in_a_slot_tells_it_once() -> None:
    entry = pending()
    to.wait_for(entry, "wrt_0", NOW, OPTIONS)
    told = entry.write.updated_at.ToDatetime()
    to.wait_for(entry, "wrt_0", LATER, OPTIONS)
    assert entry.write.updated_at.ToDatetime() == told
    assert entry.write.waits_for == "wrt_0"


def attended(*endings: Ending) -> WriteEntry:
    """Return a write that a person is to look at, after attempts that ended so."""
    entry = sending("0")
    for number, ending in enumerate(endings):
        if number:
            to.begin(entry, NOW, OPTIONS, str(number), 7)
        to.conclude(entry, str(number), ending, NONE, NOW, OPTIONS)
    if state(entry) != "NEEDS_ATTENTION":
        to.need_attention(entry, Failure(message="?"), NOW)
    return entry


def test_g11_an_attempt_that_a_person_declared_void_counts_no_more() -> None:
    """Seen to fail where it does: the write was SENT though nothing had left."""
    entry = attended(TAKEN)
    to.send_again(entry, NONE, LATER, OPTIONS.expires_after)
    assert (state(entry), entry.voided, to.receipt_of(entry)) == ("PENDING", 1, None)
    to.begin(entry, LATER, OPTIONS, "b", 8)
    to.conclude(entry, "b", NOT_SENT, NONE, LATER, OPTIONS)
    assert state(entry) == "PENDING"
    to.begin(entry, LATER, OPTIONS, "c", 8)
    to.conclude(entry, "c", TAKEN, NONE, LATER, OPTIONS)
    assert state(entry) == "SENT"  # taken once, as far as anybody knows


def test_g11_a_receipt_proves_a_person_wrong_who_said_that_there_was_no_effect() -> None:
    """Seen to fail where nothing that was declared void counts: it was sent again."""
    entry = attended(LOST)
    to.send_again(entry, NONE, NOW, OPTIONS.expires_after)
    to.conclude(entry, "0", TAKEN, NONE, LATER, OPTIONS)
    assert state(entry) == "SENT"


@pytest.mark.parametrize("safety", [READBACK, NONE, NATIVE])
def test_g11_what_is_sent_again_waits_for_what_may_be_on_its_way(safety: WriteSafety) -> None:
    """Seen to fail where it is due at once."""
    entry = attended(LOST)
    settles_at = entry.settles_at
    assert settles_at is not None
    entry.write.expires_at.FromDatetime(settles_at)
    to.send_again(entry, safety, NOW, OPTIONS.expires_after)
    due = NOW if safety is NATIVE else settles_at
    assert entry.due_at == due < to.expiry_of(entry)


def test_a_person_gives_a_native_key_all_its_attempts_again() -> None:
    entry = sending("0")
    for number in range(OPTIONS.unknown_attempts):
        to.conclude(entry, str(number), LOST, NATIVE, NOW, OPTIONS)
        if state(entry) == "UNKNOWN":
            to.begin(entry, NOW, OPTIONS, str(number + 1), 7)
    to.send_again(entry, NATIVE, NOW, OPTIONS.expires_after)
    to.begin(entry, NOW, OPTIONS, "again", 7)
    to.conclude(entry, "again", LOST, NATIVE, NOW, OPTIONS)
    assert state(entry) == "UNKNOWN"


@pytest.mark.parametrize("ending", [NOT_SENT, LOST])
def test_what_a_late_receipt_tells_is_not_lost_while_another_attempt_is_under_way(ending: Ending) -> None:
    """Seen to fail where only the latest attempt's counts: nobody knew what the MIS had made."""
    entry = attended(LOST)
    to.send_again(entry, NONE, NOW, OPTIONS.expires_after)
    to.begin(entry, LATER, OPTIONS, "again", 8)
    to.conclude(entry, "0", TAKEN, NONE, LATER, OPTIONS)
    assert state(entry) == "SENDING"
    to.conclude(entry, "again", ending, NONE, LATER, OPTIONS)
    assert (state(entry), list(entry.write.mis_ids)) == ("SENT", ["17"])
    assert entry.keys
