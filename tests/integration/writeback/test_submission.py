"""Keys, policies, quotas and order of what is submitted."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT
from schoolgate_server.model.writes import WriteConditions, WriteEntry
from schoolgate_server.writeback.gate import PolicyWatch
from schoolgate_server.writeback.options import WriteOptions
from tests.integration.writeback.conftest import SCHOOL, Desk, refusal, writing_connector

MARK = "record_attendance_mark"


async def ledger(desk: Desk) -> int:
    return len(await desk.store.writes.list(SCHOOL, WriteConditions(), None, 1000))


async def test_what_is_accepted_is_in_the_ledger_due_and_announced(desk: Desk) -> None:
    answer = await desk.submit(desk.mark(comment="Bus"), "k1", source_record_id="reg-7")
    entry = await desk.store.writes.get(SCHOOL, answer.write.write_id)
    write = entry.write
    assert answer.write == write
    assert (write.state, write.status) == (pb.WRITE_STATE_PENDING, pb.WRITE_STATUS_PENDING_MIS_SYNC)
    assert (write.submitted_by, write.environment, write.operation_name) == ("app", "test", MARK)
    assert (write.source_record_id, write.operation) == ("reg-7", desk.mark(comment="Bus"))
    lasts = write.expires_at.ToDatetime() - write.submitted_at.ToDatetime()
    assert timedelta(0) <= lasts - timedelta(hours=24) < timedelta(seconds=1)
    assert entry.student_id == desk.pupil
    assert entry.due_at is not None
    assert desk.woken == [SCHOOL, SCHOOL]  # the first time when the policy was set
    assert not answer.repeated


@pytest.mark.parametrize("changed", ["policy", "copy", "validate_only"])
async def test_the_same_key_has_the_same_write_whatever_has_changed_since(desk: Desk, changed: str) -> None:
    """The policy, what the copy says, and whether it is to be stored. Seen to fail where one is heeded before
    the key.
    """
    first = await desk.submit(desk.mark(), "k1")
    policy = pb.WRITE_POLICY_OFF if changed == "policy" else pb.WRITE_POLICY_ON
    await desk.allow(policy)
    if changed == "copy":
        pupil = next(one for one in desk.world.canonical() if (one.kind, one.key) == (k.KIND_STUDENT, (1,)))
        await desk.stored.put([pupil], TOMBSTONE_REASON_LEFT)
        assert (await desk.problems(desk.mark())).keys() == {"student_id"}
    again = await desk.submit(desk.mark(), "k1", caller="other", validate_only=changed == "validate_only")
    assert (again.repeated, again.write.write_id) == (True, first.write.write_id)
    assert again.policy == policy
    assert await ledger(desk) == 1


@pytest.mark.parametrize("changed", ["code", "source"])
async def test_the_same_key_with_another_action_is_refused(desk: Desk, changed: str) -> None:
    first = await desk.submit(desk.mark(), "k1", source_record_id="a")
    operation = desk.mark(code="N") if changed == "code" else desk.mark()
    error = await refusal(desk.submit(operation, "k1", source_record_id="a" if changed == "code" else "b"))
    assert error.reason == r.ERROR_REASON_IDEMPOTENCY_KEY_REUSED
    assert error.metadata == {"write_id": first.write.write_id}
    assert await ledger(desk) == 1


async def test_without_a_key_the_same_action_is_the_same_write(desk: Desk) -> None:
    first = await desk.submit(desk.event())
    again = await desk.submit(desk.event())
    other = await desk.submit(desk.event(), source_record_id="2")
    assert (again.repeated, again.write.write_id) == (True, first.write.write_id)
    assert (other.repeated, other.write.write_id != first.write.write_id) == (False, True)
    assert first.idempotency_key == first.write.idempotency_key


async def test_what_a_record_says_anew_is_not_a_second_write(desk: Desk) -> None:
    """A comment is edited, and submitted again. Seen to fail with the whole action in the derived key."""
    first = await desk.submit(desk.event(comment="No homewrok"), source_record_id="homework-17")
    error = await refusal(desk.submit(desk.event(comment="No homework"), source_record_id="homework-17"))
    assert error.reason == r.ERROR_REASON_IDEMPOTENCY_KEY_REUSED
    assert error.metadata == {"write_id": first.write.write_id}
    assert not (await desk.submit(desk.event(comment="No homework"))).repeated
    assert not (await desk.submit(desk.event(type_code="2"), source_record_id="homework-17")).repeated
    assert await ledger(desk) == 3


@pytest.mark.parametrize("key", ["", "k1"])
@pytest.mark.parametrize("source", ["", "homework-17"])
async def test_one_moment_is_one_however_it_is_written(desk: Desk, key: str, source: str) -> None:
    """Seen to fail where keys are derived from, or contents compared by, what was written."""
    summer, zulu = (
        desk.event(occurred_at=at) for at in ("2026-09-14T10:15:00+01:00", "2026-09-14T09:15:00Z")
    )
    first = await desk.submit(summer, key, source_record_id=source)
    again = await desk.submit(zulu, key, source_record_id=source)
    assert (again.repeated, again.write) == (True, first.write)
    assert again.write.operation == summer


@pytest.mark.parametrize("quota", [0, 1])
async def test_the_same_key_in_flight_many_times_is_one_write_that_all_get(desk: Desk, quota: int) -> None:
    """On two servers, and where a quota has room for one."""
    await desk.allow(daily_quota=quota)
    others = desk.serving(writing_connector())
    answers = await asyncio.gather(
        *(desk.submit(desk.mark(), "k1", service=service) for service in [desk.service, others] * 5)
    )
    assert len({answer.write.write_id for answer in answers}) == 1
    assert sum(not answer.repeated for answer in answers) == 1
    assert await ledger(desk) == 1


async def test_a_quota_that_the_same_write_has_filled_meanwhile_refuses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server accepts it once this one has checked it, and before it counts. Seen to fail
    where a quota that is full refuses.
    """
    await desk.allow(daily_quota=1)
    others, counted = desk.serving(writing_connector()), desk.store.writes.accepted_since

    async def after_the_others(*asked: Any) -> int:
        monkeypatch.undo()
        first = await desk.submit(desk.mark(), "k1", service=others)
        assert not first.repeated
        return await counted(*asked)

    monkeypatch.setattr(desk.store.writes, "accepted_since", after_the_others)
    assert (await desk.submit(desk.mark(), "k1")).repeated
    assert await ledger(desk) == 1


async def test_two_actions_under_one_key_at_once_are_one_write_and_one_refusal(desk: Desk) -> None:
    operations = [desk.mark(code=code) for code in ("L", "N")]
    answers = await asyncio.gather(*(desk.submit(each, "k1") for each in operations), return_exceptions=True)
    errors = [each for each in answers if isinstance(each, Exception)]
    assert [getattr(each, "reason", 0) for each in errors] == [r.ERROR_REASON_IDEMPOTENCY_KEY_REUSED]


async def test_a_policy_that_nobody_set_lets_nothing_through(desk: Desk) -> None:
    elsewhere = desk.serving(writing_connector(), environment="staging")
    error = await refusal(desk.submit(desk.mark(), service=elsewhere))
    assert error.reason == r.ERROR_REASON_WRITE_POLICY_OFF
    assert error.metadata == {"operation": MARK, "environment": "staging"}
    assert await ledger(desk) == 0


async def test_validation_alone_stores_nothing_and_tells_the_policy(desk: Desk) -> None:
    await desk.allow(pb.WRITE_POLICY_OFF)
    answer = await desk.submit(desk.mark(), validate_only=True)
    assert (answer.policy, answer.HasField("write")) == (pb.WRITE_POLICY_OFF, False)
    assert answer.idempotency_key.startswith("auto-")
    assert await ledger(desk) == 0


async def test_a_dry_run_shows_what_would_be_sent_and_stores_nothing(desk: Desk) -> None:
    await desk.allow(pb.WRITE_POLICY_DRY_RUN)
    answer = await desk.submit(desk.mark(), "k1")
    assert (answer.preview.target, answer.preview.body) == ("POST things", MARK)
    assert (answer.HasField("write"), await ledger(desk)) == (False, 0)
    assert desk.previewed[0].write.idempotency_key == "k1"


async def test_a_dry_run_of_what_is_not_announced_has_no_preview(desk: Desk) -> None:
    await desk.allow(pb.WRITE_POLICY_DRY_RUN)
    consent = pb.RecordConsent(student_id=desk.pupil, type_code="P", granted=True, date="2027-01-01")
    answer = await desk.submit(pb.WriteOperation(record_consent=consent))
    assert (answer.policy, answer.HasField("preview")) == (pb.WRITE_POLICY_DRY_RUN, False)
    assert desk.previewed == []


async def test_what_the_connector_cannot_write_is_refused_before_all_else(desk: Desk) -> None:
    note = pb.WriteOperation(record_intervention_note=pb.RecordInterventionNote())
    error = await refusal(desk.submit(note))
    assert error.reason == r.ERROR_REASON_WRITE_UNSUPPORTED
    assert error.metadata == {"operation": "record_intervention_note", "connector": "bromcom"}


async def test_a_quota_is_kept_by_many_at_once(desk: Desk) -> None:
    """Seen to fail where it is counted without waiting for those under way."""
    await desk.allow(daily_quota=3)
    answers = await asyncio.gather(
        *(desk.submit(desk.event(), f"k{number}") for number in range(8)), return_exceptions=True
    )
    refused = [each for each in answers if isinstance(each, Exception)]
    assert {getattr(each, "reason", 0) for each in refused} == {r.ERROR_REASON_WRITE_QUOTA_EXCEEDED}
    assert all(getattr(each, "retry_after", None) for each in refused)
    assert (len(refused), await ledger(desk)) == (5, 3)
    await desk.submit(desk.mark())  # of another operation


async def test_writes_about_the_same_stand_in_the_order_of_their_answers(desk: Desk) -> None:
    """Seen to fail where two that come at once get one position."""
    answers = await asyncio.gather(*(desk.submit(desk.mark(), f"k{number}") for number in range(6)))
    entries = [await desk.store.writes.get(SCHOOL, answer.write.write_id) for answer in answers]
    assert len({entry.slot for entry in entries}) == 1
    assert len({entry.position for entry in entries}) == 6
    assert await desk.store.writes.ahead(min(entries, key=lambda entry: entry.position)) is None


async def test_one_moment_written_in_two_ways_is_about_the_same(desk: Desk) -> None:
    first = await desk.submit(desk.event(occurred_at="2026-09-14T10:15:00+01:00"), "k1")
    second = await desk.submit(desk.event(occurred_at="2026-09-14T09:15:00Z"), "k2")
    entries = [await desk.store.writes.get(SCHOOL, each.write.write_id) for each in (first, second)]
    assert entries[0].slot == entries[1].slot
    assert entries[1].write.operation.record_behaviour_event.occurred_at == "2026-09-14T09:15:00Z"


@pytest.mark.parametrize(
    ("days", "is_right"), [(-1, False), (0, False), (1, True), (29, True), (31, False), (10**6, False)]
)
async def test_a_write_waits_thirty_days_at_most(desk: Desk, days: int, *, is_right: bool) -> None:
    at = Timestamp(seconds=int(datetime(2026, 11, 2, 6, tzinfo=UTC).timestamp()) + days * 86400)
    told = await desk.problems(desk.mark(), expires_at=at)
    assert told.keys() == (set() if is_right else {"expires_at"})


async def test_the_key_of_a_caller_is_printable_and_bounded(desk: Desk) -> None:
    for key in ("x" * 201, "a\nb", "undo-1"):
        assert (await desk.problems(desk.mark(), key=key)).keys() == {"idempotency_key"}
    await desk.submit(desk.mark(), "x" * 200)


async def test_an_unknown_school_is_said_to_be_one(desk: Desk) -> None:
    request = pb.SubmitWriteRequest(school_id="elm", operation=desk.mark())
    error = await refusal(desk.service.submit(request, "app", "call"))
    assert error.reason == r.ERROR_REASON_SCHOOL_NOT_FOUND


async def test_a_write_is_checked_under_what_holds_now_and_not_at_the_last_submission(desk: Desk) -> None:
    """By the school's time zone, and without a pupil who left. Seen to fail where what was found out under
    what stood at the last submission is taken without a look at what stands now: at the school, at the seq.
    """
    late = desk.event(occurred_at="2026-08-31T23:30:00Z")  # the first day of the year, in London
    assert await desk.problems(late) == {}
    school = await desk.store.schools.get(SCHOOL)
    school.time_zone = "Atlantic/Reykjavik"
    await desk.store.schools.update(school, ["time_zone"], "request", b"digest")
    assert (await desk.problems(late)).keys() == {"student_id"}
    assert await desk.problems(desk.event()) == {}
    pupil = next(one for one in desk.world.canonical() if (one.kind, one.key) == (k.KIND_STUDENT, (1,)))
    await desk.stored.put([pupil], TOMBSTONE_REASON_LEFT)
    assert (await desk.problems(desk.event())).keys() == {"student_id"}


async def test_g19_what_is_accepted_while_the_queue_is_cancelled_is_cancelled_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let through by the policy before, and stored once the queue had been looked through. Seen to
    fail where it counts as submitted once it was checked: under ON it was sent.
    """
    seal = desk.store.writes.seal

    async def late(*given: Any) -> bytes:
        await desk.allow(pb.WRITE_POLICY_OFF, cancel_queued=True)
        await desk.allow(pb.WRITE_POLICY_ON)
        return await seal(*given)

    monkeypatch.setattr(desk.store.writes, "seal", late)
    answer = await desk.submit(desk.mark())
    monkeypatch.undo()
    watch = PolicyWatch(desk.store, SCHOOL, desk.clock, WriteOptions(environment="test"))
    await watch.read()
    assert watch.cancels(await desk.store.writes.get(SCHOOL, answer.write.write_id))
    later = await desk.submit(desk.mark(code="N"), "k2")
    assert not watch.cancels(await desk.store.writes.get(SCHOOL, later.write.write_id))


async def test_what_was_written_is_not_kept_at_hand_for_the_next_submission(desk: Desk) -> None:
    """Only what stands at the school is. Seen to fail where a write is kept with it."""
    for _ in range(2):
        await desk.submit(desk.mark(comment="Bus"), "k1")
    at_hand, seen = [desk.service], set[int]()
    while at_hand:
        thing = at_hand.pop()
        assert not isinstance(thing, WriteEntry)
        is_ours = type(thing).__module__.startswith("schoolgate_server.writeback")
        if id(thing) not in seen and (is_ours or isinstance(thing, dict | list | tuple)):
            seen.add(id(thing))
            at_hand += gc.get_referents(thing)
