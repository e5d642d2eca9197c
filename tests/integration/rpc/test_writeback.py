"""WritebackService as callers meet it, before a stand-in for what accepts and sends writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.rpc.server import Listen
from schoolgate_server.rpc.tokens import make_token, question_of
from schoolgate_server.rpc.write_ports import Writing
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, Served, failure_of, new_request_id, refused, served
from tests.support.writes import COMMENT, behaviour, new_write

pytestmark = pytest.mark.timeout(60)

WRITE = "wrt_0123456789abcdef0123456789abcdef"
DECISIONS: dict[str, Callable[..., Any]] = {
    "ApproveWrite": pb.ApproveWriteRequest,
    "CancelWrite": pb.CancelWriteRequest,
    "ReverseWrite": pb.ReverseWriteRequest,
    "ResolveWrite": pb.ResolveWriteRequest,
}


class StandIn:
    """Accepts everything, notes who asked, and tells what it is given to tell."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: ServiceError | None = None
        self.gate: Callable[[], Awaitable[object]] | None = None
        self.news: asyncio.Queue[WriteEntry | None] = asyncio.Queue()
        self.watchers = 0

    async def _decided(self, *call: Any) -> pb.Write:
        if self.gate is not None:
            await self.gate()
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(call)
        entry = new_write(school=SCHOOL, minute=len(self.calls))
        return entry.write

    async def submit(
        self, request: pb.SubmitWriteRequest, caller: str, correlation_id: str
    ) -> pb.SubmitWriteResponse:
        return pb.SubmitWriteResponse(write=await self._decided(request, caller, correlation_id))

    async def approve(self, request: pb.ApproveWriteRequest, caller: str) -> pb.ApproveWriteResponse:
        return pb.ApproveWriteResponse(write=await self._decided(request, caller))

    async def cancel(self, request: pb.CancelWriteRequest) -> pb.CancelWriteResponse:
        return pb.CancelWriteResponse(write=await self._decided(request))

    async def reverse(
        self, request: pb.ReverseWriteRequest, caller: str, correlation_id: str
    ) -> pb.ReverseWriteResponse:
        return pb.ReverseWriteResponse(write=await self._decided(request, caller, correlation_id))

    async def resolve(self, request: pb.ResolveWriteRequest, caller: str) -> pb.ResolveWriteResponse:
        return pb.ResolveWriteResponse(write=await self._decided(request, caller))

    async def set_policy(self, request: pb.SetWritePolicyRequest, caller: str) -> pb.SetWritePolicyResponse:
        await self._decided(request, caller)
        return pb.SetWritePolicyResponse(environment="production", queued=len(self.calls))

    async def get_policy(self, request: pb.GetWritePolicyRequest) -> pb.GetWritePolicyResponse:
        return pb.GetWritePolicyResponse(environment=request.environment)

    async def watch(self, school_id: str) -> AsyncGenerator[WriteEntry | None]:
        self.watchers += 1
        try:
            while True:
                yield await self.news.get()
        finally:
            self.watchers -= 1


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
async def running(store: Store, mis: ScriptedMis, stand_in: StandIn) -> AsyncGenerator[Served]:
    writing = Writing(stand_in, stand_in)
    async with served(store, scripted_connector(mis), clock=TickingClock(), writing=writing) as running:
        await running.client.create_school(SCHOOL, "scripted")
        yield running


async def audit(store: Store) -> list[dict[str, Any]]:
    return list(await store.database.collection("audit").find({}))


def decision(method: str, **changes: Any) -> Any:
    given: dict[str, Any] = {"school_id": SCHOOL, "write_id": WRITE, "comment": "seen it"}
    if method == "ResolveWrite":
        given["outcome"] = pb.ResolveWriteRequest.OUTCOME_TOOK_EFFECT
    return DECISIONS[method](**(given | {"request_id": new_request_id()} | changes))


# --- what is asked for comes to whom it is for ----------------------------------------------------------


async def test_a_submission_goes_on_with_its_caller_and_correlation_id(
    client: Client, stand_in: StandIn
) -> None:
    request = pb.SubmitWriteRequest(school_id=SCHOOL, operation=behaviour())
    await client.writeback.SubmitWrite(request, metadata=(("x-correlation-id", "from-the-caller"),))
    assert stand_in.calls == [(request, "local", "from-the-caller")]
    undo = decision("ReverseWrite")
    await client.writeback.ReverseWrite(undo, metadata=(("x-correlation-id", "another"),))
    assert stand_in.calls[1] == (undo, "local", "another")


async def test_one_write_is_read_with_its_operation(client: Client, store: Store) -> None:
    entry = new_write(school=SCHOOL)
    await store.writes.insert(entry)
    request = pb.GetWriteRequest(school_id=SCHOOL, write_id=entry.write_id)
    assert (await client.writeback.GetWrite(request)).write.operation == behaviour()
    failure = await refused(client.writeback.GetWrite(pb.GetWriteRequest(school_id=SCHOOL, write_id=WRITE)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "WRITE_NOT_FOUND")
    request.school_id = "elm"
    assert (await refused(client.writeback.GetWrite(request))).reason == "SCHOOL_NOT_FOUND"


# --- decisions of people -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", DECISIONS)
async def test_a_repeated_decision_gets_the_first_ones_answer(
    client: Client, stand_in: StandIn, store: Store, method: str
) -> None:
    """Seen to fail without the look at the audit."""
    call = getattr(client.writeback, method)
    request = decision(method)
    first = await call(request)
    assert await call(request) == first
    assert len(stand_in.calls) == 1
    failure = await refused(call(decision(method, request_id=request.request_id, comment="another")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    other = next(name for name in DECISIONS if name != method)
    foreign = getattr(client.writeback, other)(decision(other, request_id=request.request_id))
    assert (await refused(foreign)).reason == "REQUEST_ID_REUSED"
    assert len(stand_in.calls) == len(await audit(store)) == 1


@pytest.mark.parametrize("method", DECISIONS)
async def test_g16_the_audit_names_who_and_why_and_hides_what_was_written(
    client: Client, store: Store, method: str
) -> None:
    """Seen to fail with the answer stored as it is."""
    request = decision(method)
    await getattr(client.writeback, method)(request)
    [entry] = await audit(store)
    action = {"ResolveWrite": "RESOLVE_WRITE_TOOK_EFFECT"}.get(method, f"{method[:-5].upper()}_WRITE")
    assert (entry["action"], entry["subject"], entry["by"]) == (action, WRITE, "local")
    assert entry["comment"] == "seen it"
    assert COMMENT.encode() not in bytes(entry["result"])


async def test_one_decision_that_comes_twice_at_once_is_answered_twice_alike(
    client: Client, stand_in: StandIn, store: Store
) -> None:
    """The second is refused by the state that the first left, and finds what was answered to that.

    Seen to fail without the second look at the audit.
    """
    request = decision("CancelWrite")
    here, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        here.set()
        await go_on.wait()

    stand_in.gate = hold
    slow = asyncio.ensure_future(client.writeback.CancelWrite(request))
    await here.wait()
    stand_in.gate = None
    fast = await client.writeback.CancelWrite(request)
    stand_in.refusal = ServiceError(reasons.ERROR_REASON_WRITE_STATE_MISMATCH, "it is cancelled")
    go_on.set()
    assert await slow == fast
    assert len(await audit(store)) == 1


async def test_what_is_refused_is_no_decision(client: Client, stand_in: StandIn, store: Store) -> None:
    stand_in.refusal = ServiceError(
        reasons.ERROR_REASON_APPROVER_IS_SUBMITTER, "", metadata={"write_id": WRITE}
    )
    request = decision("ApproveWrite")
    failure = await refused(client.writeback.ApproveWrite(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "APPROVER_IS_SUBMITTER")
    [entry] = await audit(store)
    assert (entry["refused"], entry["result"]) == (True, None)
    stand_in.refusal = None
    await client.writeback.ApproveWrite(request)
    [entry] = await audit(store)
    assert (entry["refused"], entry["result"] is not None) == (False, True)


async def test_who_decides_and_why_is_in_the_audit_before_anything_is_done(
    client: Client, stand_in: StandIn, store: Store
) -> None:
    """Seen to fail where only the answer is recorded."""
    seen: list[dict[str, Any]] = []

    async def look() -> None:
        seen.extend(await audit(store))

    stand_in.gate = look
    await client.writeback.CancelWrite(decision("CancelWrite"))
    [entry] = seen
    assert (entry["action"], entry["by"], entry["comment"]) == ("CANCEL_WRITE", "local", "seen it")
    assert entry["result"] is None


async def test_g19_the_kill_switch_needs_no_vault(
    client: Client, stand_in: StandIn, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with its answer sealed as those of other decisions are."""

    async def away(*_: object) -> bytes:
        raise ServiceError(reasons.ERROR_REASON_VAULT_UNAVAILABLE, "")

    monkeypatch.setattr(store.row_seal, "seal", away)
    monkeypatch.setattr(store.row_seal, "unseal", away)
    request = pb.SetWritePolicyRequest(
        school_id=SCHOOL, policy=pb.WRITE_POLICY_OFF, request_id=new_request_id(), comment="stop"
    )
    first = await client.writeback.SetWritePolicy(request)
    assert await client.writeback.SetWritePolicy(request) == first
    assert stand_in.calls == [(request, "local")]
    [entry] = await audit(store)
    assert (entry["action"], entry["subject"]) == ("SET_WRITE_POLICY_OFF", "*")


# --- lists ----------------------------------------------------------------------------------------------


async def test_a_list_has_pages_newest_first(client: Client, store: Store) -> None:
    keys = [f"key-{number:03}" for number in range(230)]
    for minute, key in enumerate(keys):
        await store.writes.insert(new_write(key, school=SCHOOL, minute=minute // 3))
    await store.writes.insert(new_write("other", school="elm"))
    seen: list[str] = []
    request = pb.ListWritesRequest(school_id=SCHOOL, page_size=101)
    while True:
        answer = await client.writeback.ListWrites(request)
        assert len(answer.writes) <= 101
        seen += [write.idempotency_key for write in answer.writes]
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert sorted(seen) == keys
    minutes = [int(key[4:]) // 3 for key in seen]
    assert minutes == sorted(minutes, reverse=True)
    one = await client.writeback.ListWrites(pb.ListWritesRequest(school_id=SCHOOL, idempotency_key="key-007"))
    assert [write.idempotency_key for write in one.writes] == ["key-007"]
    assert not one.next_page_token


async def test_a_token_is_good_for_its_own_question(client: Client, store: Store) -> None:
    for number in range(3):
        await store.writes.insert(new_write(f"key-{number}", school=SCHOOL, minute=number))
    request = pb.ListWritesRequest(school_id=SCHOOL, page_size=2)
    token = (await client.writeback.ListWrites(request)).next_page_token
    assert token
    for change in (
        pb.ListWritesRequest(mis_id="7"),
        pb.ListWritesRequest(states=[pb.WRITE_STATE_SENT]),
        pb.ListWritesRequest(page_token="hostile"),
    ):
        other = pb.ListWritesRequest(school_id=SCHOOL, page_token=token)
        other.MergeFrom(change)
        assert (await refused(client.writeback.ListWrites(other))).reason == "PAGE_TOKEN_INVALID"


async def test_g18_a_forged_token_of_no_time_that_there_is_begins_anew(client: Client, store: Store) -> None:
    """Seen to fail with a bound that was a microsecond too late."""
    await store.writes.insert(new_write("key", school=SCHOOL))
    request = pb.ListWritesRequest(school_id=SCHOOL)
    request.page_token = make_token(question_of(request), 2**63 - 1, "x")
    assert len((await client.writeback.ListWrites(request)).writes) == 1


@pytest.mark.parametrize("place", ["operation", "action"])
async def test_g18_what_this_server_does_not_know_is_not_left_out(
    client: Client, stand_in: StandIn, place: str
) -> None:
    """A newer caller may mean something else by it, and no limit bounds it. Seen to fail unchecked."""
    unknown = b"\xfa\x3f\x03new"  # field 1023, a text of three bytes
    operation = behaviour()
    (operation if place == "operation" else operation.record_behaviour_event).MergeFromString(unknown)
    request = pb.SubmitWriteRequest(school_id=SCHOOL, operation=operation)
    error = await refused(client.writeback.SubmitWrite(request))
    assert (error.reason, list(error.violations)) == ("REQUEST_INVALID", ["operation"])
    assert not stand_in.calls


async def test_g18_a_page_never_becomes_too_large_to_be_sent(client: Client, store: Store) -> None:
    """Clients refuse what is larger than 4 MiB. Seen to fail without the limit of bytes."""
    for number in range(8):
        operation = behaviour(comment="x" * 900_000)
        await store.writes.insert(new_write(f"key-{number}", school=SCHOOL, operation=operation))
    request, seen = pb.ListWritesRequest(school_id=SCHOOL), set[str]()
    while True:
        answer = await client.writeback.ListWrites(request)
        assert answer.ByteSize() < 4 * 1024 * 1024
        assert not seen & {write.write_id for write in answer.writes}
        seen |= {write.write_id for write in answer.writes}
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert len(seen) == 8


# --- watching -------------------------------------------------------------------------------------------


async def test_watching_tells_open_writes_then_that_it_has_and_then_changes(
    client: Client, stand_in: StandIn
) -> None:
    call: Any = client.writeback.WatchWrites(pb.WatchWritesRequest(school_id=SCHOOL))
    entry = new_write(school=SCHOOL)
    for news in (entry, None, entry):
        stand_in.news.put_nowait(news)
    told = [await call.read() for _ in range(3)]
    assert [response.caught_up for response in told] == [False, True, False]
    assert [response.HasField("write") for response in told] == [True, False, True]
    call.cancel()
    async with asyncio.timeout(5):
        while stand_in.watchers:  # what a caller who went away was told from is let go
            await asyncio.sleep(0.01)


async def test_g17_those_who_watch_writes_leave_room_for_others(
    store: Store, mis: ScriptedMis, stand_in: StandIn
) -> None:
    """They count with those who watch changes: of one school there is room for two of sixteen calls."""
    writing = Writing(stand_in, stand_in)
    listen = Listen(concurrent_calls=16)
    async with served(
        store, scripted_connector(mis), listen=listen, clock=TickingClock(), writing=writing
    ) as running:
        await running.client.create_school(SCHOOL, "scripted")
        request = pb.WatchWritesRequest(school_id=SCHOOL)
        calls: list[Any] = [running.client.writeback.WatchWrites(request) for _ in range(2)]
        while stand_in.watchers < len(calls):
            await asyncio.sleep(0.01)
        failure = await refused(running.client.writeback.WatchWrites(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert failure.metadata == {"method": "WatchWrites", "maximum": "2"}
        for call in calls:
            call.cancel()


async def test_a_watcher_is_told_that_the_server_stops(running: Served, stand_in: StandIn) -> None:
    call: Any = running.client.writeback.WatchWrites(pb.WatchWritesRequest(school_id=SCHOOL))
    stand_in.news.put_nowait(None)
    await call.read()
    await running.server.close_to_new_calls()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call.read()
    assert failure_of(raised.value).reason == "SHUTTING_DOWN"
    assert stand_in.watchers == 0
