"""WritebackService: submitting writes, following them, and what people decide about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.writeback_service_pb2_grpc import WritebackServiceServicer
from schoolgate_server.model.clock import Clock
from schoolgate_server.rpc import write_checks
from schoolgate_server.rpc.calls import current_call, current_caller
from schoolgate_server.rpc.following import followed
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.paging import MOST_BYTES
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.tokens import make_token, question_of, read_token
from schoolgate_server.rpc.write_decisions import Decisions, Told
from schoolgate_server.rpc.write_matters import (
    OneWrite,
    SomePolicies,
    approved,
    cancelled,
    resolved,
    reversed_by,
)
from schoolgate_server.rpc.write_ports import Writing

_CHUNK = 100
"""Writes that are read and decrypted at once: a page is cut where it becomes too large to be sent."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""Microseconds that a time can have; a token may be made by anybody."""


class Writeback(WritebackServiceServicer):
    """Serves writes. ``closing`` is set when the server begins to stop."""

    def __init__(self, store: Store, writing: Writing, clock: Clock, closing: asyncio.Event) -> None:
        self._store = store
        self._service = writing.service
        self._dispatcher = writing.dispatcher
        self._decisions = Decisions(store, clock)
        self._closing = closing

    async def SubmitWrite(self, request: pb.SubmitWriteRequest, context: Context) -> pb.SubmitWriteResponse:
        write_checks.check_submission(request)
        call = current_call()
        return await self._service.submit(request, current_caller().name, call.correlation_id)

    async def GetWrite(self, request: pb.GetWriteRequest, context: Context) -> pb.GetWriteResponse:
        write_checks.check_write(request)
        await self._store.schools.get(request.school_id)
        entry = await self._store.writes.get(request.school_id, request.write_id)
        return pb.GetWriteResponse(write=entry.write)

    async def ListWrites(self, request: pb.ListWritesRequest, context: Context) -> pb.ListWritesResponse:
        conditions, limit = write_checks.conditions_of(request)
        question = question_of(request)
        after: tuple[datetime, str] | None = None
        if request.page_token:
            microseconds, write_id = read_token(question, request.page_token, int, str)
            after = _EPOCH + timedelta(microseconds=min(microseconds, _LATEST)), write_id
        await self._store.schools.get(request.school_id)
        response = pb.ListWritesResponse()
        size = 0
        while True:
            wanted = min(_CHUNK, limit - len(response.writes))
            # One more than wanted shows whether there is another page.
            found = await self._store.writes.list(request.school_id, conditions, after, wanted + 1)
            for entry in found[:wanted]:
                size += entry.write.ByteSize()
                if size > MOST_BYTES and response.writes:
                    response.next_page_token = _token(question, response.writes[-1])
                    return response
                response.writes.append(entry.write)
                after = _place(entry.write)
            if len(found) <= wanted:
                return response
            if len(response.writes) == limit:
                response.next_page_token = _token(question, response.writes[-1])
                return response

    async def WatchWrites(
        self, request: pb.WatchWritesRequest, context: Context
    ) -> AsyncIterator[pb.WatchWritesResponse]:
        write_checks.check_school(request)
        await self._store.schools.get(request.school_id)
        async with aclosing(followed(self._dispatcher.watch(request.school_id), self._closing)) as entries:
            async for entry in entries:
                if entry is None:
                    yield pb.WatchWritesResponse(caught_up=True)
                else:
                    yield pb.WatchWritesResponse(write=entry.write)

    async def ApproveWrite(
        self, request: pb.ApproveWriteRequest, context: Context
    ) -> pb.ApproveWriteResponse:
        write_checks.check_decision(request)
        return await self._decisions.once(
            request,
            Told("APPROVE_WRITE", request.write_id),
            OneWrite(self._store, request.school_id, request.write_id, approved),
            lambda: self._service.approve(request, current_caller().name),
            pb.ApproveWriteResponse,
        )

    async def CancelWrite(self, request: pb.CancelWriteRequest, context: Context) -> pb.CancelWriteResponse:
        write_checks.check_decision(request)
        return await self._decisions.once(
            request,
            Told("CANCEL_WRITE", request.write_id),
            OneWrite(self._store, request.school_id, request.write_id, cancelled),
            lambda: self._service.cancel(request),
            pb.CancelWriteResponse,
        )

    async def ReverseWrite(
        self, request: pb.ReverseWriteRequest, context: Context
    ) -> pb.ReverseWriteResponse:
        write_checks.check_decision(request)
        return await self._decisions.once(
            request,
            Told("REVERSE_WRITE", request.write_id),
            OneWrite(self._store, request.school_id, request.write_id, reversed_by),
            lambda: self._service.reverse(request, current_caller().name, current_call().correlation_id),
            pb.ReverseWriteResponse,
        )

    async def ResolveWrite(
        self, request: pb.ResolveWriteRequest, context: Context
    ) -> pb.ResolveWriteResponse:
        write_checks.check_decision(request)
        return await self._decisions.once(
            request,
            Told(f"RESOLVE_WRITE_{_bare(request.outcome)}", request.write_id),
            OneWrite(self._store, request.school_id, request.write_id, resolved),
            lambda: self._service.resolve(request, current_caller().name),
            pb.ResolveWriteResponse,
        )

    async def SetWritePolicy(
        self, request: pb.SetWritePolicyRequest, context: Context
    ) -> pb.SetWritePolicyResponse:
        write_checks.check_policy(request)
        policy = pb.WritePolicy.Name(request.policy).removeprefix("WRITE_POLICY_")
        return await self._decisions.once(
            request,
            Told(f"SET_WRITE_POLICY_{policy}", request.operation or "*"),
            SomePolicies(self._store, self._service, request),
            lambda: self._service.set_policy(request, current_caller().name),
            pb.SetWritePolicyResponse,
            # It names operations and numbers alone; and the kill switch must not need the vault.
            sealed=False,
        )

    async def GetWritePolicy(
        self, request: pb.GetWritePolicyRequest, context: Context
    ) -> pb.GetWritePolicyResponse:
        write_checks.check_question_of_policy(request)
        return await self._service.get_policy(request)


def _place(write: pb.Write) -> tuple[datetime, str]:
    return write.submitted_at.ToDatetime(tzinfo=UTC), write.write_id


def _token(question: bytes, write: pb.Write) -> str:
    return make_token(question, write.submitted_at.ToMicroseconds(), write.write_id)


def _bare(outcome: pb.ResolveWriteRequest.Outcome.ValueType) -> str:
    return pb.ResolveWriteRequest.Outcome.Name(outcome).removeprefix("OUTCOME_")
