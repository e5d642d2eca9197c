"""What may be written: setting it, which is the kill switch too, and reading it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.write_policies import LETS_THROUGH, Policies
from schoolgate_server.model.writes import OPERATIONS
from schoolgate_server.writeback.backing import Backing

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class PolicyBook:
    """Sets and reads what may be written."""

    backing: Backing

    async def set(self, request: pb.SetWritePolicyRequest, caller: str) -> pb.SetWritePolicyResponse:
        """Serve ``SetWritePolicy``; see :class:`~schoolgate_server.writeback.service.WriteService`."""
        store, school_id = self.backing.store, request.school_id
        await store.schools.get(school_id)
        environment = request.environment or self.backing.options.environment
        operations = [request.operation] if request.operation else sorted(OPERATIONS)
        now = self.backing.clock()
        # Durable first: what is done about the queue afterwards is of no use to a write that may still leave.
        quota = request.daily_quota if request.HasField("daily_quota") else None
        policies = await store.write_policies.set(
            school_id,
            environment,
            operations,
            request.policy,
            quota,
            caller,
            now,
            cancels=request.cancel_queued,
        )
        cancelled = 0
        if request.policy in LETS_THROUGH:
            await store.writes.requeue(school_id, environment, operations, now)
            if environment == self.backing.options.environment:
                self.backing.wake(school_id)
        elif request.cancel_queued:
            cancelled = await self._cancel(school_id, environment, operations)
        queued, in_flight = await store.writes.counts(school_id, environment, operations)
        return pb.SetWritePolicyResponse(
            policy=request.policy,
            policies=_told(policies),
            environment=environment,
            queued=queued,
            in_flight=in_flight,
            cancelled=cancelled,
        )

    async def get(self, request: pb.GetWritePolicyRequest) -> pb.GetWritePolicyResponse:
        """Serve ``GetWritePolicy``."""
        await self.backing.store.schools.get(request.school_id)
        environment = request.environment or self.backing.options.environment
        policies = await self.backing.store.write_policies.get(request.school_id, environment)
        return pb.GetWritePolicyResponse(policies=_told(policies), environment=environment)

    async def _cancel(self, school_id: str, environment: str, operations: Collection[str]) -> int:
        """Cancel what is queued, what comes back unsent meanwhile too, and return how many.

        Without the vault nothing can be read, nor sent: by the policy it is cancelled when it would be.
        """
        writes, cancelled = self.backing.store.writes, 0
        try:
            while queued := await writes.queued(school_id, environment, operations, _AT_ONCE):
                for entry in queued:
                    entry.move(pb.WRITE_STATE_CANCELLED, self.backing.clock())
                    cancelled += await writes.save(entry)
        except ServiceError as error:
            if error.reason != reasons.ERROR_REASON_VAULT_UNAVAILABLE:
                raise
            logger.warning("what is queued is not cancelled yet: {}", error.message)
        return cancelled


def _told(policies: Policies) -> list[pb.OperationPolicy]:
    """Return what is in force for every operation that there is."""
    told: list[pb.OperationPolicy] = []
    for operation in sorted(OPERATIONS):
        rule = policies.of(operation)
        one = pb.OperationPolicy(
            operation=operation, policy=rule.policy, daily_quota=rule.daily_quota, set_by=rule.set_by
        )
        if rule.set_at is not None:
            one.set_at.FromDatetime(rule.set_at)
        told.append(one)
    return told
