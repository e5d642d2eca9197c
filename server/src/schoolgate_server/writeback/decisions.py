"""What people decide about single writes: to let one through, to stop it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import AUDIENCE_NOBODY, FAILURE_TYPE_HELD, Failure
from schoolgate_sdk import WriteSafety
from schoolgate_server.model.errors import ServiceError, Violation, invalid_request
from schoolgate_server.model.failures import failure
from schoolgate_server.model.writes import WriteEntry, operation_name
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.backing import Backing
from schoolgate_server.writeback.errors import approver_is_submitter, wrong_state
from schoolgate_server.writeback.reach import operation_of
from schoolgate_server.writeback.reversal import note_reversed
from schoolgate_server.writeback.submission import next_position

_Outcome = pb.ResolveWriteRequest


@dataclass(frozen=True, slots=True)
class WriteDecisions:
    """Carries decisions of people out, each by compare-and-set on the write as it stands."""

    backing: Backing

    async def approve(self, request: pb.ApproveWriteRequest, caller: str) -> pb.Write:
        """Let a write through that waits for a second person; by the same one again it changes nothing.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``, ``APPROVER_IS_SUBMITTER``.
        """
        store, environment = self.backing.store, self.backing.options.environment
        while True:
            entry = await store.writes.get(request.school_id, request.write_id)
            write = entry.write
            if write.approved_by == caller:
                return write
            policies = await store.write_policies.get(request.school_id, write.environment or environment)
            asks = policies.of(write.operation_name).policy == pb.WRITE_POLICY_APPROVAL
            if write.approved_by or not (write.needs_approval or asks):
                raise wrong_state(write, "does not wait for approval")
            if write.submitted_by == caller:
                raise approver_is_submitter(write.write_id)
            now = self.backing.clock()
            _check_pending(entry, now, "cannot be approved")
            last = await store.writes.last_position(request.school_id, entry.slot)
            entry.position = next_position(now, last)
            write.needs_approval, write.approved_by = False, caller
            write.approved_at.FromDatetime(now)
            entry.move(pb.WRITE_STATE_PENDING, now, due_at=now)
            if await store.writes.save(entry):
                self.backing.wake(request.school_id)
                return write

    async def cancel(self, request: pb.CancelWriteRequest) -> pb.Write:
        """Withdraw a write that has not been sent.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``.
        """
        writes = self.backing.store.writes
        while True:
            entry = await writes.get(request.school_id, request.write_id)
            if entry.write.state != pb.WRITE_STATE_PENDING:
                raise wrong_state(entry.write, "cannot be cancelled: it has left, may have, or is at its end")
            entry.move(pb.WRITE_STATE_CANCELLED, self.backing.clock())
            if await writes.save(entry):
                return entry.write

    async def resolve(self, request: pb.ResolveWriteRequest, caller: str) -> pb.Write:
        """Settle a write that needs attention, or a task, by what a person found out.

        One that took effect is CONFIRMED on that word, and what it undoes is REVERSED; where its keys in the
        MIS's data are known it goes to SENT, and the data confirms it, or the word if it was looked for in
        vain for too long. One without effect goes back to be sent, in its place and with time to go, once
        nothing of it can be on its way any more; another person approves it anew where its policy asks for
        that now. Or it is FAILED.

        Raises:
            ServiceError: ``WRITE_NOT_FOUND``, ``WRITE_STATE_MISMATCH``, ``REQUEST_INVALID``.
        """
        writes = self.backing.store.writes
        while True:
            entry = await writes.get(request.school_id, request.write_id)
            if entry.write.state != pb.WRITE_STATE_NEEDS_ATTENTION:
                raise wrong_state(entry.write, "has nothing to be settled")
            await self._check_ids(request, entry)
            now = self.backing.clock()
            entry.write.resolved_by = caller
            match request.outcome:
                case _Outcome.OUTCOME_TOOK_EFFECT:
                    took_effect(entry, now)
                case _Outcome.OUTCOME_NO_EFFECT_SEND_AGAIN:
                    await self._send_again(entry, now)
                case _:
                    give_up(entry, now)
            if request.mis_ids:
                entry.write.mis_ids[:] = request.mis_ids
            if entry.write.state == pb.WRITE_STATE_CONFIRMED:
                await note_reversed(writes, entry.write, self.backing.clock, writes.save)
            if await writes.save(entry):
                if entry.due_at is not None:
                    self.backing.wake(request.school_id)
                return entry.write

    async def _send_again(self, entry: WriteEntry, now: datetime) -> None:
        write, store = entry.write, self.backing.store
        if write.task:
            raise wrong_state(write, "is a task for a person, and cannot be sent")
        safety = await self._safety(entry)
        policies = await store.write_policies.get(
            entry.school_id, write.environment or self.backing.options.environment
        )
        to.send_again(entry, safety, now, self.backing.options.expires_after)
        if policies.of(write.operation_name).policy == pb.WRITE_POLICY_APPROVAL:
            # Who approved it let it take effect once; whether it is sent again is a decision of its own.
            write.needs_approval = True
            write.ClearField("approved_by")
            write.ClearField("approved_at")
            entry.due_at = to.expiry_of(entry)

    async def _safety(self, entry: WriteEntry) -> WriteSafety:
        """Return how a write's operation is safe at the school's connector; the least of one not there."""
        school = await self.backing.store.schools.get(entry.school_id)
        try:
            connector = self.backing.connectors.get(school.connector)
        except ServiceError:
            return WriteSafety.NONE
        operation = operation_of(connector, entry.write.operation_name)
        return WriteSafety.NONE if operation is None else operation.safety

    async def _check_ids(self, request: pb.ResolveWriteRequest, entry: WriteEntry) -> None:
        """Refuse MIS ids that another write of the same operation has: one effect is one write's."""
        if not request.mis_ids:
            return
        other = await self.backing.store.writes.claimed(
            request.school_id, entry.write.operation_name, list(request.mis_ids), entry.write_id
        )
        if other is not None:
            raise invalid_request(Violation("mis_ids", f"must not name what {other} made"))


def took_effect(entry: WriteEntry, now: datetime) -> None:
    """Take a person's word that a write took effect."""
    entry.found, entry.vouched, entry.settles_at = True, True, None
    if entry.keys and operation_name(entry.write.operation):
        entry.move(pb.WRITE_STATE_SENT, now, due_at=now)
    else:
        entry.move(pb.WRITE_STATE_CONFIRMED, now)


def give_up(entry: WriteEntry, now: datetime) -> None:
    """Take a person's word that a write had no effect, and leave it at that."""
    why: Failure = failure(
        FAILURE_TYPE_HELD, "a person found that it had no effect, and gave it up", audience=AUDIENCE_NOBODY
    )
    why.remediation = "Submit it under another key, where it is still wanted."
    entry.move(pb.WRITE_STATE_FAILED, now, failure=why)


def _check_pending(entry: WriteEntry, now: datetime, cannot: str) -> None:
    if entry.write.state != pb.WRITE_STATE_PENDING:
        raise wrong_state(entry.write, f"{cannot}: it does not wait any more")
    if to.expiry_of(entry) <= now:
        raise wrong_state(entry.write, f"{cannot}: it has expired")
