"""What becomes of a write after a person has said what came of it, and of one that nobody can look for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import Connector, Transient, Unsupported, WriteReceipt, WriteRequest, WriteSafety
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.writeback.backing import Backing
from schoolgate_server.writeback.decisions import WriteDecisions
from tests.simulation.server import DATABASE
from tests.support import write_stage
from tests.support.engine import SCHOOL
from tests.support.write_stage import (
    MARK,
    OPTIONS,
    Stage,
    no_preview,
    nothing,
    outcomes_of,
    play,
    state_of,
    write_connector,
)

TOOK_EFFECT = pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT
SEND_AGAIN = pb.ResolveWriteRequest.OUTCOME_NO_EFFECT_SEND_AGAIN
READBACK, NATIVE, NONE = WriteSafety.NATURAL_KEY_READBACK, WriteSafety.NATIVE_KEY, WriteSafety.NONE
IMPATIENT = replace(OPTIONS, give_up=timedelta(minutes=10))


async def resolve(stage: Stage, outcome: pb.ResolveWriteRequest.Outcome.ValueType, key: str = "k1") -> None:
    """Say what came of a write, and let the dispatcher look at it at once."""
    host = ConnectorHost({"scripted": write_connector(stage.mis, asyncio.Event())}, {})
    wake = stage.servers[-1].dispatcher.wake
    decisions = WriteDecisions(
        Backing(stage.client_store, host, stage.clock, stage.options, no_preview, wake)
    )
    write_id = (await stage.read(key)).write_id
    request = pb.ResolveWriteRequest(school_id=SCHOOL, write_id=write_id, outcome=outcome)
    await decisions.resolve(request, "operator")


async def taken_and_not_done(stage: Stage) -> None:
    """Have a write in NEEDS_ATTENTION that the MIS said it took, and does not have."""
    stage.mis.act = lambda request: WriteReceipt(response="ok")  # type: ignore[method-assign]
    await stage.server()
    await stage.submit()
    entry = await stage.until("k1", "NEEDS_ATTENTION")
    assert outcomes_of(entry) == ["ACCEPTED"]
    del stage.mis.act


def cut(request: WriteRequest) -> None:
    raise Transient("cut")


def test_g11_what_a_person_declared_void_does_not_stand_for_what_never_left() -> None:
    """Seen to fail where the first attempt's receipt counts on: nothing left, and it was SENT."""

    async def story(stage: Stage) -> None:
        await taken_and_not_done(stage)
        stage.mis.prepare = cut
        await resolve(stage, SEND_AGAIN)
        await asyncio.sleep(20)
        entry = await stage.read()
        assert state_of(entry) == "PENDING"
        assert set(outcomes_of(entry)[1:]) == {"NOT_SENT"}
        assert len(stage.mis.left) == 1

    play(story, Stage(READBACK))


def test_g11_exactly_one_more_request_leaves_after_one_was_declared_void() -> None:
    async def story(stage: Stage) -> None:
        await taken_and_not_done(stage)
        await resolve(stage, SEND_AGAIN)
        entry = await stage.until("k1", "CONFIRMED", within=60)
        await asyncio.sleep(7200)
        assert outcomes_of(entry) == ["ACCEPTED", "ACCEPTED"]
        assert len(stage.mis.left) == 2
        assert len(stage.mis.effects) == 1

    play(story, Stage(READBACK))


@pytest.mark.parametrize("safety", [READBACK, NONE])
def test_g11_what_is_to_be_sent_again_waits_until_nothing_is_on_its_way(safety: WriteSafety) -> None:
    """Not even a policy that is set has it go before. Seen to fail where it is due at once, either way."""

    async def story(stage: Stage) -> None:
        stage.mis.travel = cut
        await stage.server()
        await stage.submit(wait=timedelta(seconds=90))
        if safety is NONE:
            entry = await stage.until("k1", "NEEDS_ATTENTION", within=60)
        else:
            stage.mis.find = lambda request: (_ for _ in ()).throw(Unsupported("cannot look"))
            entry = await stage.until("k1", "NEEDS_ATTENTION", within=60)
        assert entry.settles_at is not None
        stage.mis.travel = nothing
        await resolve(stage, SEND_AGAIN)
        assert (await stage.read()).due_at == entry.settles_at
        await stage.set_policy(pb.WRITE_POLICY_ON)
        stage.servers[0].dispatcher.wake(SCHOOL)
        await asyncio.sleep(60)
        assert len(stage.mis.left) == 1
        stage.mis.find = nothing
        entry = await stage.until("k1", "CONFIRMED", within=300)
        assert len(stage.mis.left) == 2
        began = entry.attempt.started_at.ToDatetime(UTC)
        assert began >= entry.write.attempts[0].started_at.ToDatetime(UTC) + OPTIONS.attempt + OPTIONS.settle

    play(story, Stage(safety))


def test_under_a_key_that_the_mis_heeds_it_is_sent_again_at_once() -> None:
    async def story(stage: Stage) -> None:
        stage.mis.travel = cut
        await stage.server()
        await stage.submit()
        await stage.until("k1", "NEEDS_ATTENTION")
        stage.mis.travel = nothing
        await resolve(stage, SEND_AGAIN)
        await stage.until("k1", "CONFIRMED", within=10)

    play(story, Stage(NATIVE))


def test_a_persons_word_ends_what_never_comes_with_the_data_and_frees_its_slot() -> None:
    """Seen to fail where it is asked again and again: the next one waited for ever."""

    async def story(stage: Stage) -> None:
        stage.mis.has_keys = True
        await stage.server()
        await stage.submit(operation=MARK)
        entry = await stage.until("k1", "NEEDS_ATTENTION", within=1500)
        assert "school's data" in entry.write.failure.message
        await stage.submit("k2", operation=MARK, code="L")
        await asyncio.sleep(60)
        assert len(stage.mis.left) == 1
        await resolve(stage, TOOK_EFFECT)
        await stage.until("k1", "CONFIRMED", within=10)
        await asyncio.sleep(90)
        assert len(stage.mis.left) == 2

    play(story, Stage(NONE, options=IMPATIENT))


def test_a_word_that_it_had_no_effect_is_none_that_it_had() -> None:
    async def story(stage: Stage) -> None:
        stage.mis.has_keys = True
        await stage.server()
        await stage.submit(operation=MARK)
        await stage.until("k1", "NEEDS_ATTENTION", within=1500)
        await resolve(stage, SEND_AGAIN)
        await asyncio.sleep(60)
        assert await stage.state() == "SENT"
        await stage.until("k1", "NEEDS_ATTENTION", within=1500)

    play(story, Stage(READBACK, options=IMPATIENT))


def writes_of(stage: Stage) -> Any:
    return stage.client[DATABASE]["writes"]


def test_what_left_and_can_be_read_no_more_goes_to_a_person() -> None:
    """As after the loss of the master key. Seen to fail where it is looked for: it stayed UNKNOWN."""

    async def story(stage: Stage) -> None:
        stage.mis.travel = cut
        await stage.server()
        await stage.submit()
        await stage.until("k1", "UNKNOWN", within=60)
        lost: dict[str, Any] = {
            "$unset": {"sealed": ""},
            "$set": {"sealed_attempts": []},
            "$inc": {"revision": 1},
        }
        writes_of(stage).update_many({}, lost)
        await stage.until("k1", "NEEDS_ATTENTION", within=120)
        await resolve(stage, TOOK_EFFECT)
        assert await stage.state() == "CONFIRMED"

    play(story, Stage(READBACK))


def test_what_fails_for_too_long_goes_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where a defect of one write is only tried again."""

    async def story(stage: Stage) -> None:
        stage.mis.travel = cut
        await stage.server()
        await stage.submit()
        await stage.until("k1", "UNKNOWN", within=60)
        await asyncio.sleep(300)
        assert await stage.state() == "UNKNOWN"
        entry = await stage.until("k1", "NEEDS_ATTENTION", within=600)
        assert "failed" in entry.write.failure.message

    async def broken(connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False) -> Any:
        if may_have_gone:
            raise RuntimeError("a defect")
        return await real(connector, entry)

    real = write_stage.values_of
    monkeypatch.setattr(write_stage, "values_of", broken)
    play(story, Stage(READBACK, options=IMPATIENT))


@pytest.mark.parametrize("looking", [True, False])
def test_what_passes_neither_rejects_a_write_nor_asks_a_person(
    monkeypatch: pytest.MonkeyPatch, looking: bool
) -> None:
    """Seen to fail where any error of ours means that there is nothing to send, or to look for."""
    failed: list[bool] = []
    real = write_stage.values_of

    async def flaky(connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False) -> Any:
        if may_have_gone == looking and not failed:
            failed.append(True)
            raise ServiceError(reasons.ERROR_REASON_VAULT_UNAVAILABLE, "for now")
        return await real(connector, entry)

    async def story(stage: Stage) -> None:
        stage.mis.answer = cut
        await stage.server()
        await stage.submit()
        await stage.until("k1", "CONFIRMED", within=300)
        assert failed
        assert len(stage.mis.effects) == 1

    monkeypatch.setattr(write_stage, "values_of", flaky)
    play(story, Stage(READBACK))


def test_what_can_never_be_sent_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False) -> Any:
        raise ServiceError(reasons.ERROR_REASON_REQUEST_INVALID, "the pupil is gone")

    async def story(stage: Stage) -> None:
        await stage.server()
        await stage.submit()
        await stage.until("k1", "REJECTED", within=30)

    monkeypatch.setattr(write_stage, "values_of", gone)
    play(story, Stage(READBACK))


def test_what_left_is_still_found_when_its_pupil_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where it is looked for by what may be sent: a person was asked."""
    real = write_stage.values_of
    gone = asyncio.Event()

    async def values(connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False) -> Any:
        if gone.is_set() and not may_have_gone:
            raise ServiceError(reasons.ERROR_REASON_REQUEST_INVALID, "the pupil is gone")
        return await real(connector, entry)

    def lost(request: WriteRequest) -> None:
        gone.set()
        raise Transient("cut")

    async def story(stage: Stage) -> None:
        stage.mis.answer = lost
        await stage.server()
        await stage.submit()
        await stage.until("k1", "CONFIRMED", within=60)

    monkeypatch.setattr(write_stage, "values_of", values)
    play(story, Stage(READBACK))


def test_g11_a_persons_word_after_a_stop_that_cancelled_the_queue_holds() -> None:
    """What needed attention was not queued then. Seen to fail where the time of submission alone counts."""

    async def story(stage: Stage) -> None:
        await taken_and_not_done(stage)
        await stage.set_policy(pb.WRITE_POLICY_OFF, cancel_queued=True)
        await stage.set_policy(pb.WRITE_POLICY_ON)
        await resolve(stage, SEND_AGAIN)
        await stage.until("k1", "CONFIRMED", within=600)
        assert len(stage.mis.left) == 2

    play(story, Stage(READBACK))


def test_g19_what_was_to_be_sent_again_is_cancelled_with_the_queue() -> None:
    async def story(stage: Stage) -> None:
        await taken_and_not_done(stage)
        await resolve(stage, SEND_AGAIN)
        await stage.set_policy(pb.WRITE_POLICY_OFF, cancel_queued=True)
        await stage.set_policy(pb.WRITE_POLICY_ON)
        await asyncio.sleep(600)
        assert await stage.state() == "CANCELLED"
        assert len(stage.mis.left) == 1

    play(story, Stage(READBACK))
