"""What the servicer of WritebackService needs of the layers below, beside the store.

Each raises :class:`~schoolgate_server.model.errors.ServiceError` for what the API documents, and
``StoreUnavailable`` while MongoDB cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.writes import WriteEntry


class Service(Protocol):
    """Accepts writes, and what people decide about them. ``caller`` is the name of whoever calls."""

    async def submit(
        self, request: pb.SubmitWriteRequest, caller: str, correlation_id: str
    ) -> pb.SubmitWriteResponse: ...
    async def approve(self, request: pb.ApproveWriteRequest, caller: str) -> pb.ApproveWriteResponse: ...
    async def cancel(self, request: pb.CancelWriteRequest) -> pb.CancelWriteResponse: ...
    async def reverse(
        self, request: pb.ReverseWriteRequest, caller: str, correlation_id: str
    ) -> pb.ReverseWriteResponse: ...
    async def resolve(self, request: pb.ResolveWriteRequest, caller: str) -> pb.ResolveWriteResponse: ...
    async def set_policy(
        self, request: pb.SetWritePolicyRequest, caller: str
    ) -> pb.SetWritePolicyResponse: ...
    async def get_policy(self, request: pb.GetWritePolicyRequest) -> pb.GetWritePolicyResponse: ...


class Watching(Protocol):
    """Follows the writes of a school: those that are open, ``None`` once, then each that changes."""

    def watch(self, school_id: str) -> AsyncGenerator[WriteEntry | None]: ...


class Writing(NamedTuple):
    """Who accepts writes, and who sends them."""

    service: Service
    dispatcher: Watching
