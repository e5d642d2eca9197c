"""What people decide about writes, and about what may be written."""

from __future__ import annotations

import asyncio

import pytest

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import writeback_service_pb2 as pb
from tests.integration.writeback.conftest import APP, HEAD, OFFICE, SCHOOL, Desk, refusal

PENDING, SENDING, SENT = pb.WRITE_STATE_PENDING, pb.WRITE_STATE_SENDING, pb.WRITE_STATE_SENT
CONFIRMED, ATTENTION = pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_NEEDS_ATTENTION
UNKNOWN, CANCELLED, FAILED = pb.WRITE_STATE_UNKNOWN, pb.WRITE_STATE_CANCELLED, pb.WRITE_STATE_FAILED
TOOK_EFFECT = pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT
SEND_AGAIN = pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_SEND_AGAIN
GIVE_UP = pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_GIVE_UP
MARK = "record_attendance_mark"


async def stuck(desk: Desk, key: str = "k1") -> str:
    """Return a write of which nobody knows whether it took effect."""
    write_id = (await desk.submit(desk.mark(), key)).write.write_id
    await desk.went(write_id, SENDING, UNKNOWN, ATTENTION)
    return write_id


async def test_another_person_approves(desk: Desk) -> None:
    """And the write gets a place behind what was accepted meanwhile. Seen to fail where its submitter may."""
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    desk.woken.clear()
    held = (await desk.submit(desk.mark(), "k1")).write
    entry = await desk.store.writes.get(SCHOOL, held.write_id)
    assert held.needs_approval
    assert entry.due_at == held.expires_at.ToDatetime(tzinfo=entry.due_at.tzinfo if entry.due_at else None)
    assert desk.woken == []
    error = await refusal(desk.approve(held.write_id, APP))
    assert error.reason == r.ERROR_REASON_APPROVER_IS_SUBMITTER
    assert "callers file" in error.message
    await desk.allow()
    later = (await desk.submit(desk.mark(), "k2")).write
    approved = await desk.approve(held.write_id)
    assert (approved.approved_by, approved.needs_approval, approved.state) == (HEAD, False, PENDING)
    entries = [await desk.store.writes.get(SCHOOL, each) for each in (later.write_id, held.write_id)]
    assert entries[0].position < entries[1].position
    assert entries[1].due_at is not None
    assert desk.woken
    assert (await desk.approve(held.write_id)).revision == approved.revision  # harmless
    assert (await refusal(desk.approve(held.write_id, OFFICE))).reason == r.ERROR_REASON_WRITE_STATE_MISMATCH


async def test_two_who_approve_at_once_are_one_approval(desk: Desk) -> None:
    """Seen to fail where what was read is stored without a look at what came between."""
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    held = (await desk.submit(desk.mark())).write
    answers = await asyncio.gather(
        *(desk.approve(held.write_id, caller) for caller in (HEAD, OFFICE)), return_exceptions=True
    )
    [approved] = [each for each in answers if isinstance(each, pb.Write)]
    assert (await desk.read(held.write_id)).approved_by == approved.approved_by


async def test_what_was_accepted_before_its_policy_asked_for_approval_can_be_approved(desk: Desk) -> None:
    write = (await desk.submit(desk.mark())).write
    assert (await refusal(desk.approve(write.write_id))).reason == r.ERROR_REASON_WRITE_STATE_MISMATCH
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    assert (await desk.approve(write.write_id)).approved_by == HEAD


async def test_what_has_expired_or_left_is_not_approved(desk: Desk) -> None:
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    held = (await desk.submit(desk.mark())).write
    await desk.cancel(held.write_id)
    error = await refusal(desk.approve(held.write_id))
    assert error.metadata == {"write_id": held.write_id, "state": "CANCELLED"}
    late = (await desk.submit(desk.event())).write
    entry = await desk.store.writes.get(SCHOOL, late.write_id)
    entry.write.expires_at.FromSeconds(1)
    assert await desk.store.writes.save(entry)
    assert "expired" in (await refusal(desk.approve(late.write_id))).message


@pytest.mark.parametrize("path", [(), (SENDING,), (SENDING, SENT), (SENDING, UNKNOWN), (CANCELLED,)])
async def test_only_what_has_not_left_is_cancelled(
    desk: Desk, path: tuple[pb.WriteState.ValueType, ...]
) -> None:
    """Seen to fail where what is being sent is."""
    write = (await desk.submit(desk.mark())).write
    await desk.went(write.write_id, *path)
    if not path:
        assert (await desk.cancel(write.write_id)).state == CANCELLED
        return
    error = await refusal(desk.cancel(write.write_id))
    assert error.reason == r.ERROR_REASON_WRITE_STATE_MISMATCH
    assert (await desk.read(write.write_id)).state == path[-1]


async def test_a_person_says_that_it_took_effect(desk: Desk) -> None:
    """Where its keys are known the MIS's own data confirms it, else the word does."""
    first = await desk.resolve(await stuck(desk), TOOK_EFFECT, ["77"])
    assert (first.state, list(first.mis_ids), first.resolved_by) == (CONFIRMED, ["77"], OFFICE)
    write_id = await stuck(desk, "k2")
    await desk.went(write_id, keys=['["world/attendance_mark",5]'])
    assert (await desk.resolve(write_id, TOOK_EFFECT)).state == SENT
    entry = await desk.store.writes.get(SCHOOL, write_id)
    assert (entry.found, entry.due_at is not None) == (True, True)


async def test_one_effect_is_one_writes(desk: Desk) -> None:
    """Seen to fail where a person's ids are not compared with those of other writes."""
    made = await desk.resolve(await stuck(desk), TOOK_EFFECT, ["77"])
    error = await refusal(desk.resolve(await stuck(desk, "k2"), TOOK_EFFECT, ["78", "77"]))
    assert [each.field for each in error.violations] == ["mis_ids"]
    assert made.write_id in error.message


async def test_a_person_says_that_it_had_no_effect(desk: Desk) -> None:
    write_id = await stuck(desk)
    entry = await desk.store.writes.get(SCHOOL, write_id)
    entry.write.expires_at.FromSeconds(1)
    assert await desk.store.writes.save(entry)
    again = await desk.resolve(write_id, SEND_AGAIN)
    assert again.state == PENDING
    assert again.expires_at.ToDatetime() > again.updated_at.ToDatetime()
    assert desk.woken
    given_up = await desk.resolve(await stuck(desk, "k2"), GIVE_UP)
    assert (given_up.state, given_up.failure.message != "") == (FAILED, True)


async def test_what_is_sent_again_is_approved_again(desk: Desk) -> None:
    """Where its policy asks for that now. Seen to fail where the first approval counts on."""
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    write_id = (await desk.submit(desk.mark(), "k1")).write.write_id
    await desk.approve(write_id)
    await desk.went(write_id, SENDING, UNKNOWN, ATTENTION)
    again = await desk.resolve(write_id, SEND_AGAIN)
    assert (again.needs_approval, again.approved_by, again.HasField("approved_at")) == (True, "", False)
    assert (await refusal(desk.approve(write_id, APP))).reason == r.ERROR_REASON_APPROVER_IS_SUBMITTER
    assert (await desk.approve(write_id)).approved_by == HEAD
    await desk.allow()
    await desk.went(write_id, SENDING, UNKNOWN, ATTENTION)
    assert (await desk.resolve(write_id, SEND_AGAIN)).approved_by == HEAD


async def test_only_what_needs_attention_is_settled(desk: Desk) -> None:
    write = (await desk.submit(desk.mark())).write
    for outcome in (TOOK_EFFECT, SEND_AGAIN, GIVE_UP):
        error = await refusal(desk.resolve(write.write_id, outcome))
        assert error.reason == r.ERROR_REASON_WRITE_STATE_MISMATCH


async def test_a_write_that_is_not_there_is_said_to_be(desk: Desk) -> None:
    for call in (desk.approve("wrt_x"), desk.cancel("wrt_x"), desk.resolve("wrt_x", GIVE_UP)):
        assert (await refusal(call)).reason == r.ERROR_REASON_WRITE_NOT_FOUND


async def test_off_says_what_waits_and_what_has_left(desk: Desk) -> None:
    """And ON lets what waits go on. Seen to fail where it is not made due again."""
    states: tuple[tuple[pb.WriteState.ValueType, ...], ...] = ((), (), (SENDING,), (SENDING, SENT))
    ids = [(await desk.submit(desk.mark(), f"k{number}")).write.write_id for number in range(4)]
    for write_id, path in zip(ids, states, strict=True):
        await desk.went(write_id, *path)
    answer = await desk.allow(pb.WRITE_POLICY_OFF, MARK)
    assert (answer.queued, answer.in_flight, answer.cancelled) == (2, 2, 0)
    waits = await desk.went(ids[0], due_at=None)
    assert waits.due_at is None
    desk.woken.clear()
    await desk.allow(pb.WRITE_POLICY_ON, MARK)
    assert (await desk.store.writes.get(SCHOOL, ids[0])).due_at is not None
    assert desk.woken == [SCHOOL]


async def test_off_cancels_what_is_queued_where_it_is_told_to(desk: Desk) -> None:
    """Of its operation and environment alone. Seen to fail where it does not."""
    await desk.allow(pb.WRITE_POLICY_APPROVAL)
    held = (await desk.submit(desk.mark(), "held")).write
    await desk.allow()
    queued = (await desk.submit(desk.mark(), "queued")).write
    left = (await desk.submit(desk.mark(), "left")).write
    await desk.went(left.write_id, SENDING)
    other = (await desk.submit(desk.event())).write
    answer = await desk.allow(pb.WRITE_POLICY_OFF, MARK, cancel_queued=True)
    assert (answer.queued, answer.in_flight, answer.cancelled) == (0, 1, 2)
    told = [(await desk.read(each.write_id)).state for each in (held, queued, left, other)]
    assert told == [CANCELLED, CANCELLED, SENDING, PENDING]


async def test_a_policy_is_of_one_environment(desk: Desk) -> None:
    write = (await desk.submit(desk.mark())).write
    answer = await desk.allow(pb.WRITE_POLICY_OFF, environment="staging", cancel_queued=True)
    assert (answer.environment, answer.queued, answer.cancelled) == ("staging", 0, 0)
    assert (await desk.read(write.write_id)).state == PENDING
    for environment, policy in (("", pb.WRITE_POLICY_ON), ("staging", pb.WRITE_POLICY_OFF)):
        request = pb.GetWritePolicyRequest(school_id=SCHOOL, environment=environment)
        read = await desk.service.get_policy(request)
        assert {each.policy for each in read.policies} == {policy}
        assert (len(read.policies), read.environment) == (7, environment or "test")


async def test_a_policy_of_one_operation_leaves_the_others(desk: Desk) -> None:
    answer = await desk.allow(pb.WRITE_POLICY_DRY_RUN, MARK, daily_quota=5)
    told = {each.operation: (each.policy, each.daily_quota, each.set_by) for each in answer.policies}
    assert told[MARK] == (pb.WRITE_POLICY_DRY_RUN, 5, HEAD)
    assert told["record_consent"] == (pb.WRITE_POLICY_ON, 0, HEAD)


async def test_a_quota_outlives_a_stop(desk: Desk) -> None:
    """Seen to fail where a stop, or going on, sets no quota at all: it was gone."""
    await desk.allow(operation=MARK, daily_quota=5)
    for policy in (pb.WRITE_POLICY_OFF, pb.WRITE_POLICY_ON):
        answer = await desk.allow(policy)
        assert {each.operation: each.daily_quota for each in answer.policies if each.daily_quota} == {MARK: 5}
    answer = await desk.allow(pb.WRITE_POLICY_ON, daily_quota=0)
    assert not any(each.daily_quota for each in answer.policies)
