"""Sends one write: the intent is durable before the gate can open, and what came of it is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import Failure
from schoolgate_sdk import ConnectorError, WriteReceipt, WriteRows, WriteSafety, WriteStopped
from schoolgate_sdk.keys import check_key
from schoolgate_server.mis.asking import require
from schoolgate_server.mis.blame import ConnectorDefect, ContractBroken, connector_at_work, let_go, outcome_of
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.writeback import advice
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.gate import Gate, is_approved
from schoolgate_server.writeback.outcomes import CutOff, Stop, Then, Verdict, judge
from schoolgate_server.writeback.reach import Mis, Unreachable
from schoolgate_server.writeback.school import SchoolWrites, request_of
from schoolgate_server.writeback.transitions import Ending

MOST_IDS = 100
"""Ids that a receipt may tell of; one action makes one thing or a few."""

LONGEST_ID = 500
"""Characters of one."""

_NOT_BEGUN = Ending(
    Verdict(pb.WriteAttempt.OUTCOME_NOT_SENT, Then.AGAIN), advice.not_now("it could not be stored first")
)


class Sender:
    """Sends one school's writes."""

    def __init__(self, school: SchoolWrites) -> None:
        self._school = school

    async def send(self, entry: WriteEntry) -> None:
        """Send a write that is due, if it may leave now and it is its turn.

        It is PENDING, or UNKNOWN under a key that the MIS heeds.

        Raises:
            StoreUnavailable: nothing was begun.
        """
        school = self._school
        now = school.clock()
        is_queued = entry.write.state == pb.WRITE_STATE_PENDING
        if is_queued and now >= to.expiry_of(entry):
            to.expire(entry, now)
            await school.keeper.save(entry)
            return
        if is_queued and entry.write.needs_approval and not is_approved(entry):
            entry.due_at = to.expiry_of(entry)
            await school.keeper.save(entry)
            return
        if is_queued and entry.settles_at is not None:
            if now < entry.settles_at:  # what a person has said had no effect may be on its way all the same
                entry.due_at = to.in_time(entry, entry.settles_at)
                await school.keeper.save(entry)
                return
            entry.settles_at = None
        if not school.policy.is_fresh():
            await school.policy.read()
        if is_queued and school.policy.cancels(entry):
            await self._cancel(entry)
            return
        if not school.policy.lets(entry):
            await self._hold(entry)
            return
        other = await school.store.writes.ahead(entry)
        if other is not None:
            to.wait_for(entry, other, now, school.options)
            await school.keeper.save(entry)
            return
        try:
            async with school.reach.use() as mis:
                await self._send(entry, mis)
        except Unreachable as error:
            to.postpone(entry, error.failure, error.until, now)
            await school.keeper.save(entry)

    async def _send(self, entry: WriteEntry, mis: Mis) -> None:
        school = self._school
        operation, session = mis.operation(entry.write.operation_name), mis.session
        if operation is None or not isinstance(session, WriteRows):
            await self._reject(entry, "the school's connector does not write this")
            return
        try:
            values = await school.values_of(mis.connector, entry)
        except ServiceError as error:
            if error.reason == reasons.ERROR_REASON_REQUEST_INVALID:
                await self._reject(entry, error.message)
            else:
                now = school.clock()
                to.look_again(entry, advice.unavailable(error.message), now, school.options)
                await school.keeper.save(entry)
            return
        async with school.policy.kept():
            correlation_id = await self._begin(entry, mis, operation.safety)
            if correlation_id is None or entry.sending_until is None:
                return
            attempt = _Attempt(
                entry,
                correlation_id,
                operation.safety,
                Gate(
                    entry,
                    entry.sending_until,
                    school.policy,
                    school.lease,
                    school.clock,
                    announces=operation.announces,
                ),
            )
            request = request_of(entry, values, attempt.gate)
            with logger.contextualize(correlation_id=correlation_id):
                await self._carry_out(attempt, lambda: session.write(request), mis)

    async def _begin(self, entry: WriteEntry, mis: Mis, safety: WriteSafety) -> str | None:
        """Make the intent durable and return the attempt's correlation id.

        ``None`` where another change came first, or nobody knows whether it is durable.
        """
        school = self._school
        if school.lease() is None:
            return None
        seq = await school.store.records.published(school.school_id)
        correlation_id = school.new_id()
        to.begin(entry, school.clock(), school.options, correlation_id, seq)
        entry.sent_to = mis.place
        try:
            return correlation_id if await school.keeper.save(entry) else None
        except BaseException as error:
            # Whether it is stored is not known, and nothing has left: that is put right there.
            work = school.keeper.conclude(entry, correlation_id, _NOT_BEGUN, safety, is_certain=False)
            await school.keeper.see_through(entry.write_id, work)
            if isinstance(error, StoreUnavailable):
                return None
            raise

    async def _carry_out(
        self, attempt: _Attempt, call: Callable[[], Awaitable[WriteReceipt]], mis: Mis
    ) -> None:
        """Let the connector send, for as long as the attempt may take, and store what came of it."""
        school, gate = self._school, attempt.gate
        if not gate.announces:
            try:
                gate.enter()
            except WriteStopped as error:
                await self._conclude(
                    attempt,
                    Ending(judge(left=False, stop=gate.stop, error=error), _failure(error, gate, mis)),
                )
                return
        left = (gate.until - school.clock()).total_seconds()
        task = asyncio.create_task(_called(call), name="connector writes")
        try:
            await asyncio.wait({task}, timeout=max(0.0, left))
        finally:
            gate.close()  # before anything is waited for: what it says from now on is what counts
            await school.keeper.see_through(attempt.entry.write_id, self._end(attempt, task, mis))

    async def _end(self, attempt: _Attempt, task: asyncio.Task[WriteReceipt], mis: Mis) -> None:
        """Take note of how an attempt ended whose gate is closed."""
        await let_go(task)
        gate = attempt.gate
        receipt, error = _outcome(task)
        verdict = judge(left=gate.left, stop=gate.stop, error=error)
        failure = None if verdict.then is Then.SENT else _failure(error, gate, mis)
        if verdict.then is Then.MENDED:
            self._school.reach.renew()
        departure = gate.departure if gate.left else None
        await self._conclude(attempt, Ending(verdict, failure, receipt, departure))

    async def _conclude(self, attempt: _Attempt, ending: Ending) -> None:
        latest = await self._school.keeper.conclude(
            attempt.entry, attempt.correlation_id, ending, attempt.safety
        )
        if latest is not None:
            logger.info(
                "write {}: attempt {}, now {}",
                latest.write_id,
                pb.WriteAttempt.Outcome.Name(ending.verdict.outcome),
                pb.WriteState.Name(latest.write.state),
            )
        if latest is not None and ending.verdict.then is Then.HELD:
            await self._look_at_policy_again(latest)

    async def _reject(self, entry: WriteEntry, why: str) -> None:
        to.reject(entry, advice.cannot_be_written(why), self._school.clock())
        await self._school.keeper.save(entry)

    async def _hold(self, entry: WriteEntry) -> None:
        """Leave a write until its policy changes."""
        policy = self._school.policy.of(entry)
        if policy == pb.WRITE_POLICY_APPROVAL and entry.write.state == pb.WRITE_STATE_PENDING:
            # It was accepted before that was asked for. It gets no mark of its own: under ON again it may go.
            to.hold(entry, advice.awaits_approval(), self._school.clock())
        else:
            to.hold(entry, advice.stopped_by_policy(), self._school.clock())
        if await self._school.keeper.save(entry):
            await self._look_at_policy_again(entry)

    async def _cancel(self, entry: WriteEntry) -> None:
        entry.move(pb.WRITE_STATE_CANCELLED, self._school.clock())
        await self._school.keeper.save(entry)

    async def _look_at_policy_again(self, entry: WriteEntry) -> None:
        """Make a write due that is held by what does not hold any more, and cancel one that was to be.

        Whoever changes a policy sees to what is queued then; this one was being sent, or stored, just then.
        """
        await self._school.policy.read()
        if entry.write.state == pb.WRITE_STATE_PENDING and self._school.policy.cancels(entry):
            await self._cancel(entry)
        elif self._school.policy.lets(entry) and entry.write.state == pb.WRITE_STATE_PENDING:
            entry.due_at = self._school.clock()
            await self._school.keeper.save(entry)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt under way."""

    entry: WriteEntry
    correlation_id: str
    safety: WriteSafety
    gate: Gate


async def _called(call: Callable[[], Awaitable[WriteReceipt]]) -> WriteReceipt:
    with connector_at_work():
        return checked(await call())


def _outcome(task: asyncio.Task[WriteReceipt]) -> tuple[WriteReceipt | None, Exception | None]:
    """Return the receipt that a connector's task ended with, or the error."""
    if not task.done() or task.cancelled():
        return None, CutOff()
    try:
        return outcome_of(task), None
    except (ConnectorError, ConnectorDefect) as error:
        return None, error


def _failure(error: Exception | None, gate: Gate, mis: Mis) -> Failure:
    match error:
        case _ if gate.stop is not None and not gate.left:
            if gate.stop is Stop.POLICY:
                return advice.stopped_by_policy()
            return advice.not_now(gate.stop.value)
        case None:
            return advice.broken_promise()
        case ConnectorError() | ConnectorDefect():
            return mis.failure(error)
        case _:
            return advice.cut_off()


def checked(receipt: object) -> WriteReceipt:
    """Return ``receipt`` if it is one; raises ``ContractBroken`` where it is not."""
    if not isinstance(receipt, WriteReceipt):
        raise ContractBroken("what a write returns is a receipt")
    ids: tuple[object, ...] = (*receipt.mis_ids, receipt.pending or "")
    for each in ids:
        require(each, str, "a receipt's ids are texts")
    if len(ids) > MOST_IDS or any(len(str(each)) > LONGEST_ID for each in ids):
        raise ContractBroken("a receipt has a few ids, and each is short")
    require(receipt.response, str, "what a receipt says is a text")
    try:
        for key in receipt.keys:
            check_key(key)
    except (ValueError, TypeError) as error:
        raise ContractBroken("a receipt's keys are well formed") from error
    if len(receipt.keys) > MOST_IDS:
        raise ContractBroken("a receipt has a few keys")
    return receipt
