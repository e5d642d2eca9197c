"""Decisions whose server died before their answers were kept, and the same requests once more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.rpc import write_decisions, writeback
from schoolgate_server.rpc.write_ports import Watching, Writing
from schoolgate_server.store.vault import NoVault
from schoolgate_server.writeback.gate import PolicyWatch
from schoolgate_server.writeback.options import WriteOptions
from tests.integration.writeback.conftest import HEAD, SCHOOL, Desk, refusal
from tests.support.served import new_request_id

EVENT = "record_behaviour_event"
OUTCOME = pb.ResolveWriteRequest


class Somebody:
    """Who calls, with the id of the call."""

    name = HEAD
    correlation_id = "call-1"


class Dead(Exception):
    """The server's end."""


@pytest.fixture
def servicer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> writeback.Writeback:
    monkeypatch.setattr(write_decisions, "current_caller", Somebody)
    monkeypatch.setattr(writeback, "current_caller", Somebody)
    monkeypatch.setattr(writeback, "current_call", Somebody)
    writing = Writing(desk.service, cast("Watching", None))
    return writeback.Writeback(cast("Any", desk.store), writing, desk.clock, asyncio.Event())


async def dies(desk: Desk, call: Awaitable[object]) -> None:
    """Have the server die once all has been done, and before the answer is in the audit."""

    async def end(*_: object) -> None:
        raise Dead

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.store.audit, "close", end)
        with pytest.raises(Dead):
            await call


def asked(kind: Any, write: pb.Write, **more: Any) -> Any:
    return kind(school_id=SCHOOL, write_id=write.write_id, request_id=new_request_id(), comment="why", **more)


async def audit(desk: Desk) -> list[dict[str, Any]]:
    return list(await desk.store.database.collection("audit").find({}))


async def needs_attention(desk: Desk, **engine: Any) -> pb.Write:
    write = (await desk.submit(desk.event())).write
    states = (pb.WRITE_STATE_SENDING, pb.WRITE_STATE_NEEDS_ATTENTION)
    return (await desk.went(write.write_id, *states, **engine)).write


async def test_a_cancellation_is_answered_by_what_it_left(desk: Desk, servicer: writeback.Writeback) -> None:
    """Seen to fail, by WRITE_STATE_MISMATCH and with nothing in the audit, with no intent there."""
    write = (await desk.submit(desk.event())).write
    request = asked(pb.CancelWriteRequest, write)
    await dies(desk, servicer.CancelWrite(request, cast("Any", None)))
    [entry] = await audit(desk)
    assert (entry["by"], entry["comment"], entry["result"]) == (HEAD, "why", None)
    answer = await servicer.CancelWrite(request, cast("Any", None))
    assert answer.write.state == pb.WRITE_STATE_CANCELLED
    assert await servicer.CancelWrite(request, cast("Any", None)) == answer
    [entry] = await audit(desk)
    assert entry["result"] is not None


async def test_what_was_refused_is_not_answered_by_what_another_did(
    desk: Desk, servicer: writeback.Writeback
) -> None:
    """It was being sent, came back, and another cancelled it. Seen to fail with no note of the refusal."""
    write = (await desk.submit(desk.event())).write
    await desk.went(write.write_id, pb.WRITE_STATE_SENDING)
    request = asked(pb.CancelWriteRequest, write)
    error = await refusal(servicer.CancelWrite(request, cast("Any", None)))
    assert error.reason == r.ERROR_REASON_WRITE_STATE_MISMATCH
    await desk.went(write.write_id, pb.WRITE_STATE_PENDING)
    await desk.cancel(write.write_id)
    error = await refusal(servicer.CancelWrite(request, cast("Any", None)))
    assert error.reason == r.ERROR_REASON_WRITE_STATE_MISMATCH


async def test_an_approval_and_a_reversal_are_answered_by_what_they_left(
    desk: Desk, servicer: writeback.Writeback
) -> None:
    """Seen to fail, by WRITE_STATE_MISMATCH, with no look at what they left."""
    await desk.allow(pb.WRITE_POLICY_APPROVAL, EVENT)
    write = (await desk.submit(desk.event(type_code="2"))).write
    approval = asked(pb.ApproveWriteRequest, write)
    await dies(desk, servicer.ApproveWrite(approval, cast("Any", None)))
    await desk.went(write.write_id, pb.WRITE_STATE_SENDING)
    assert (await servicer.ApproveWrite(approval, cast("Any", None))).write.approved_by == HEAD
    await desk.allow()
    done = await desk.confirmed(desk.event(), mis_ids=["77"])
    reversal = asked(pb.ReverseWriteRequest, done)
    await dies(desk, servicer.ReverseWrite(reversal, cast("Any", None)))
    answer = await servicer.ReverseWrite(reversal, cast("Any", None))
    assert answer.write.write_id == (await desk.read(done.write_id)).reversed_by


async def test_g11_what_was_settled_once_is_not_sent_again_by_the_same_word(
    desk: Desk, servicer: writeback.Writeback
) -> None:
    """It was sent again, and needs attention anew: the first look at the MIS says nothing of that.

    Seen to fail where an interrupted decision is just taken again: it was sent a third time.
    """
    write = await needs_attention(desk)
    request = asked(OUTCOME, write, outcome=OUTCOME.OUTCOME_NO_EFFECT_SEND_AGAIN)
    await dies(desk, servicer.ResolveWrite(request, cast("Any", None)))
    again = (pb.WRITE_STATE_SENDING, pb.WRITE_STATE_NEEDS_ATTENTION)
    await desk.went(write.write_id, *again)
    answer = await servicer.ResolveWrite(request, cast("Any", None))
    assert answer.write.state == pb.WRITE_STATE_NEEDS_ATTENTION


async def test_g11_a_decision_that_came_to_nothing_is_not_taken_of_what_has_changed(
    desk: Desk, servicer: writeback.Writeback, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = await needs_attention(desk)
    request = asked(OUTCOME, write, outcome=OUTCOME.OUTCOME_NO_EFFECT_SEND_AGAIN)

    async def end(*_: object) -> pb.ResolveWriteResponse:
        raise Dead

    with monkeypatch.context() as patch:
        patch.setattr(desk.service, "resolve", end)
        with pytest.raises(Dead):
            await servicer.ResolveWrite(request, cast("Any", None))
    await desk.went(write.write_id, pb.WRITE_STATE_SENT)
    error = await refusal(servicer.ResolveWrite(request, cast("Any", None)))
    assert error.reason == r.ERROR_REASON_WRITE_STATE_MISMATCH
    assert (await desk.read(write.write_id)).state == pb.WRITE_STATE_SENT


@pytest.mark.parametrize("later", [pb.WRITE_POLICY_OFF, None])
async def test_g19_an_interrupted_policy_is_not_set_over_anothers_later_one(
    desk: Desk, servicer: writeback.Writeback, later: pb.WritePolicy.ValueType | None
) -> None:
    """Seen to fail where it is just set again: what another had stopped went on."""
    request = pb.SetWritePolicyRequest(
        school_id=SCHOOL, policy=pb.WRITE_POLICY_ON, operation=EVENT, request_id=new_request_id()
    )
    await dies(desk, servicer.SetWritePolicy(request, cast("Any", None)))
    if later is not None:
        await desk.allow(later)
    answer = await servicer.SetWritePolicy(request, cast("Any", None))
    policies = {each.operation: each.policy for each in answer.policies}
    assert policies[EVENT] == answer.policy == (later or pb.WRITE_POLICY_ON)


async def test_an_interrupted_policy_that_was_never_set_is_set(
    desk: Desk, servicer: writeback.Writeback, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = pb.SetWritePolicyRequest(
        school_id=SCHOOL, policy=pb.WRITE_POLICY_OFF, request_id=new_request_id(), cancel_queued=True
    )

    async def end(*_: object) -> pb.SetWritePolicyResponse:
        raise Dead

    with monkeypatch.context() as patch:
        patch.setattr(desk.service, "set_policy", end)
        with pytest.raises(Dead):
            await servicer.SetWritePolicy(request, cast("Any", None))
    answer = await servicer.SetWritePolicy(request, cast("Any", None))
    assert {each.policy for each in answer.policies} == {pb.WRITE_POLICY_OFF}


async def test_g19_what_can_be_read_by_nobody_is_stopped_and_cancelled_all_the_same(
    desk: Desk, servicer: writeback.Writeback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail, by VAULT_UNAVAILABLE, where all that is queued must be read: the audit had it that the
    stop, which was in force, had been refused.
    """
    write = (await desk.submit(desk.event())).write
    request = pb.SetWritePolicyRequest(
        school_id=SCHOOL, policy=pb.WRITE_POLICY_OFF, request_id=new_request_id(), cancel_queued=True
    )
    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "row_seal", NoVault())
        answer = await servicer.SetWritePolicy(request, cast("Any", None))
    assert (answer.policy, answer.queued, answer.cancelled) == (pb.WRITE_POLICY_OFF, 1, 0)
    [entry] = await audit(desk)
    assert entry["result"] is not None
    await desk.allow()
    watch = PolicyWatch(desk.store, SCHOOL, desk.clock, WriteOptions(environment="test"))
    await watch.read()
    assert watch.cancels(await desk.store.writes.get(SCHOOL, write.write_id))
