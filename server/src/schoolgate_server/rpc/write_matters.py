"""What decisions are about: how it stood before, and what it shows of one that was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.writes import OPERATIONS
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.write_ports import Service
from schoolgate_server.writeback.errors import wrong_state

_Answer = TypeVar("_Answer", bound=Message)

_IN_VAIN = frozenset({pb.WRITE_STATE_REJECTED, pb.WRITE_STATE_FAILED, pb.WRITE_STATE_CANCELLED})


@dataclass(frozen=True, slots=True)
class OneWrite(Generic[_Answer]):
    """A write; ``shown`` returns the answer that it shows of a decision of somebody's, if it shows one."""

    store: Store
    school_id: str
    write_id: str
    shown: Callable[[Store, pb.Write, str], Awaitable[_Answer | None]]

    async def basis(self) -> str:
        """Return the write's revision."""
        found = await self.store.writes.find(self.school_id, self.write_id)
        return "" if found is None else str(found.write.revision)

    async def standing(self, intent: AuditEntry) -> _Answer | None:
        """Return what the write shows of a decision, where it has changed since."""
        found = await self.store.writes.find(self.school_id, self.write_id)
        if found is None or str(found.write.revision) == intent.basis:
            return None
        return await self.shown(self.store, found.write, intent.by)


async def approved(_store: Store, write: pb.Write, by: str) -> pb.ApproveWriteResponse | None:
    """Return the answer where the one who decided has approved."""
    return pb.ApproveWriteResponse(write=write) if write.approved_by == by else None


async def cancelled(_store: Store, write: pb.Write, _by: str) -> pb.CancelWriteResponse | None:
    """Return the answer where the write is cancelled."""
    return pb.CancelWriteResponse(write=write) if write.state == pb.WRITE_STATE_CANCELLED else None


async def reversed_by(store: Store, write: pb.Write, by: str) -> pb.ReverseWriteResponse | None:
    """Return the answer where a write of the one who decided undoes it, and was not in vain."""
    if not write.reversed_by:
        return None
    other = await store.writes.find(write.school_id, write.reversed_by)
    if other is None or other.write.submitted_by != by or other.write.state in _IN_VAIN:
        return None
    return pb.ReverseWriteResponse(write=other.write)


async def resolved(_store: Store, write: pb.Write, by: str) -> pb.ResolveWriteResponse:
    """Return the answer where the one who decided has settled it.

    A write may come to need attention once more. What was said of the first time is not said of the next.

    Raises:
        ServiceError: ``WRITE_STATE_MISMATCH``, where somebody else did, or it changed in another way.
    """
    if write.resolved_by != by:
        raise wrong_state(write, "has changed since: look at it, and decide under another request_id")
    return pb.ResolveWriteResponse(write=write)


@dataclass(frozen=True, slots=True)
class SomePolicies:
    """The policies that a request sets."""

    store: Store
    service: Service
    request: pb.SetWritePolicyRequest

    async def basis(self) -> str:
        """Return a digest of the policies, with who set them and when."""
        return _digest(self._concerned(await self._in_force()))

    async def standing(self, intent: AuditEntry) -> pb.SetWritePolicyResponse | None:
        """Return what is in force, where anything else was set since.

        Where it is what was decided, by who decided it, it may be set again: what comes after it may be
        missing.
        """
        in_force = await self._in_force()
        concerned = self._concerned(in_force)
        if _digest(concerned) == intent.basis:
            return None
        if all(self._is_asked(each) and each.set_by == intent.by for each in concerned):
            return None
        operations = [each.operation for each in concerned]
        queued, in_flight = await self.store.writes.counts(
            self.request.school_id, in_force.environment, operations
        )
        said = {each.policy for each in concerned}
        return pb.SetWritePolicyResponse(
            policy=said.pop() if len(said) == 1 else pb.WRITE_POLICY_UNSPECIFIED,
            policies=in_force.policies,
            environment=in_force.environment,
            queued=queued,
            in_flight=in_flight,
        )

    async def _in_force(self) -> pb.GetWritePolicyResponse:
        question = pb.GetWritePolicyRequest(
            school_id=self.request.school_id, environment=self.request.environment
        )
        return await self.service.get_policy(question)

    def _concerned(self, in_force: pb.GetWritePolicyResponse) -> list[pb.OperationPolicy]:
        names = {self.request.operation} if self.request.operation else set(OPERATIONS)
        return [each for each in in_force.policies if each.operation in names]

    def _is_asked(self, rule: pb.OperationPolicy) -> bool:
        asks_quota = self.request.HasField("daily_quota")
        has_quota = not asks_quota or rule.daily_quota == self.request.daily_quota
        return rule.policy == self.request.policy and has_quota


def _digest(policies: list[pb.OperationPolicy]) -> str:
    said = [each.SerializeToString(deterministic=True).hex() for each in policies]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
