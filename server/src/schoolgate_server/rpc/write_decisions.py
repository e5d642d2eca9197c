"""Decisions of people about writes: each is in the audit, and a repeated one gets the first one's answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.digests import digest_of
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.write_checks import DecisionOnWrite

_Answer = TypeVar("_Answer", bound=Message)
_Given_co = TypeVar("_Given_co", bound=Message, covariant=True)

Decision: TypeAlias = DecisionOnWrite | pb.SetWritePolicyRequest


class Told(NamedTuple):
    """What the audit says of a decision beside who, when and why: what was decided, and about what."""

    action: str
    subject: str


class Matter(Protocol[_Given_co]):
    """What a decision is about, whose server may die between any two of its steps."""

    async def basis(self) -> str:
        """Return how it stands, opaque: it changes with whatever changes there."""
        ...

    async def standing(self, intent: AuditEntry) -> _Given_co | None:
        """Return the answer of a decision that was taken before and must not be carried out again.

        ``None`` where it may be: nothing has changed since ``intent``, or nothing that speaks against it.
        """
        ...


class Decisions:
    """Has decisions carried out and recorded."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self,
        request: Decision,
        told: Told,
        matter: Matter[_Answer],
        decide: Callable[[], Awaitable[_Answer]],
        answer: type[_Answer],
        *,
        sealed: bool = True,
    ) -> _Answer:
        """Return what ``decide`` does, or did when this very request came first.

        Who decides what, and why, is in the audit before anything is done about it. The answer of then is
        kept, ``sealed`` with the school's key where it holds what was written about a pupil. Where the first
        one was interrupted before its answer was kept, what the ``matter`` shows of it is the answer, or it
        is carried out now.

        Raises:
            ServiceError: ``REQUEST_ID_REUSED``, or what ``decide`` raises; ``VAULT_UNAVAILABLE``.
        """
        audit, school_id, request_id = self._store.audit, request.school_id, request.request_id
        digest = digest_of(request)
        kept = await audit.find(school_id, request_id, digest)
        is_first = False
        if kept is None or kept.refused:
            by, now = current_caller().name, self._clock()
            intent = AuditEntry(
                school_id, request_id, digest, *told, by, now, request.comment, basis=await matter.basis()
            )
            there = await audit.intend(intent)
            is_first, kept = there is None, there or intent
        if kept.result is not None:
            return await self._opened(school_id, kept.result, answer, sealed=sealed)
        response = None if is_first else await matter.standing(kept)
        if response is None:
            try:
                response = await decide()
            except ServiceError:
                # The same request, sent twice at once: where the other call was faster, this comes too late.
                result = await audit.repeated(school_id, request_id, digest)
                if result is not None:
                    return await self._opened(school_id, result, answer, sealed=sealed)
                response = await matter.standing(kept)
                if response is None:
                    if is_first:
                        await audit.refuse(school_id, request_id)
                    raise
        result = response.SerializeToString()
        if sealed:
            result = await self._store.row_seal.seal(school_id, result)
        await audit.close(school_id, request_id, result)
        return response

    async def _opened(self, school_id: str, kept: bytes, answer: type[_Answer], *, sealed: bool) -> _Answer:
        return answer.FromString(await self._store.row_seal.unseal(school_id, kept) if sealed else kept)
