"""Decisions of people about writes: each is in the audit, and a repeated one gets the first one's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.ports import Store

_Answer = TypeVar("_Answer", bound=Message)


Decision: TypeAlias = (
    pb.ApproveWriteRequest
    | pb.CancelWriteRequest
    | pb.ReverseWriteRequest
    | pb.ResolveWriteRequest
    | pb.SetWritePolicyRequest
)


class Told(NamedTuple):
    """What the audit says of a decision beside who, when and why: what was decided, and about what."""

    action: str
    subject: str


class Decisions:
    """Has decisions carried out and recorded."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self,
        request: Decision,
        told: Told,
        decide: Callable[[], Awaitable[_Answer]],
        answer: type[_Answer],
        *,
        sealed: bool = True,
    ) -> _Answer:
        """Return what ``decide`` does, or did when this very request came first.

        The answer of then is kept, ``sealed`` with the school's key where it holds what was written about a
        pupil.

        Raises:
            ServiceError: ``REQUEST_ID_REUSED``, or what ``decide`` raises; ``VAULT_UNAVAILABLE``.
        """
        digest = _digest(request)
        earlier = await self._earlier(request, digest, answer, sealed=sealed)
        if earlier is not None:
            return earlier
        try:
            response = await decide()
        except ServiceError:
            # The same request, sent twice at once: where the other call was faster, this one comes too late.
            earlier = await self._earlier(request, digest, answer, sealed=sealed)
            if earlier is not None:
                return earlier
            raise
        result = response.SerializeToString()
        if sealed:
            result = await self._store.row_seal.seal(request.school_id, result)
        entry = AuditEntry(
            request.school_id,
            request.request_id,
            digest,
            told.action,
            told.subject,
            current_caller().name,
            self._clock(),
            request.comment,
            result,
        )
        await self._store.audit.record(entry)
        return response

    async def _earlier(
        self, request: Decision, digest: bytes, answer: type[_Answer], *, sealed: bool
    ) -> _Answer | None:
        kept = await self._store.audit.repeated(request.school_id, request.request_id, digest)
        if kept is None:
            return None
        if sealed:
            kept = await self._store.row_seal.unseal(request.school_id, kept)
        return answer.FromString(kept)


def _digest(request: Decision) -> bytes:
    """Return what tells a request from others, and from those of other methods, whose fields are the same."""
    named = request.DESCRIPTOR.full_name.encode() + b"\0"
    return hashlib.sha256(named + request.SerializeToString(deterministic=True)).digest()
