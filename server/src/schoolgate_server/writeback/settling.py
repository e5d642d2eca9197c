"""Finds out what became of a write that may have left, by asking the MIS.

Found counts at any time. Not found counts only once whatever was on its way must have arrived; until then,
and where the MIS cannot tell, it is asked again, and in the end a person is.
"""

from __future__ import annotations

from datetime import datetime

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_sdk import (
    CircuitOpen,
    ConnectorError,
    FindWrite,
    Incomplete,
    RateLimited,
    Unsupported,
    WriteReceipt,
    WriteSafety,
)
from schoolgate_server.mis.blame import ConnectorDefect, ask, connector_at_work
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import OPERATIONS, WriteEntry
from schoolgate_server.writeback import advice
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.reach import Mis, Unreachable
from schoolgate_server.writeback.school import SchoolWrites, request_of
from schoolgate_server.writeback.sending import checked

_ADDS = frozenset({"record_behaviour_event", "record_intervention_note"})
"""Operations each of which makes something of its own. Others set what is there: a later write about the same
has the same id in the MIS."""


class Settler:
    """Settles one school's writes that are UNKNOWN, or SENT and not found yet."""

    def __init__(self, school: SchoolWrites) -> None:
        self._school = school

    async def settle(self, entry: WriteEntry) -> bool:
        """Look once, and store what that told; true where it is to be sent again under its key instead.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        school = self._school
        try:
            async with school.reach.use() as mis:
                return await self._settle(entry, mis)
        except Unreachable as error:
            now = school.clock()
            if to.is_hopeless(entry, now, school.options):
                to.need_attention(entry, advice.undecided(error.failure.message), now)
            else:
                to.postpone(entry, error.failure, error.until, now)
            await school.keeper.save(entry)
            return False

    async def _settle(self, entry: WriteEntry, mis: Mis) -> bool:
        school, session = self._school, mis.session
        operation = mis.operation(entry.write.operation_name)
        if operation is None or (entry.sent_to and entry.sent_to != mis.place):
            await self._ask_person(entry, "the school's connection is another one since it was sent")
            return False
        if operation.safety is WriteSafety.NATIVE_KEY and entry.write.state == pb.WRITE_STATE_UNKNOWN:
            if not to.is_hopeless(entry, school.clock(), school.options):
                return True
            await self._ask_person(entry, "the MIS did not answer for too long")
            return False
        receipt = to.receipt_of(entry) if entry.write.state == pb.WRITE_STATE_SENT else None
        if receipt is not None and self._says_all(entry, receipt):
            await self._found(entry, receipt)
        elif operation.safety is not WriteSafety.NONE and isinstance(session, FindWrite):
            await self._look(entry, receipt, mis, session)
        elif receipt is not None and receipt.pending is None:
            await self._found(entry, receipt)  # the MIS's word is all that there is to have
        else:
            await self._ask_person(entry, "the MIS cannot be asked")
        return False

    async def _look(
        self, entry: WriteEntry, receipt: WriteReceipt | None, mis: Mis, session: FindWrite
    ) -> None:
        """Ask the MIS once."""
        school = self._school
        asked_at = school.clock()
        try:
            request = request_of(entry, await school.values_of(mis.connector, entry, may_have_gone=True))
            with connector_at_work():
                answer = session.find_write(request, receipt)
            limit, what = school.options.find_limit, "the connector's answer about a write"
            shown = await ask(answer, limit, what)
            if shown is not None:
                checked(shown)
        except ServiceError as error:
            if error.reason == reasons.ERROR_REASON_REQUEST_INVALID or to.is_hopeless(
                entry, asked_at, school.options
            ):
                await self._ask_person(entry, error.message)
            else:
                to.look_again(entry, advice.unavailable(error.message), asked_at, school.options)
                await school.keeper.save(entry)
        except (ConnectorError, ConnectorDefect) as error:
            await self._cannot_tell(entry, error, mis, asked_at)
        else:
            await self._learn(entry, shown, asked_at)

    async def _learn(self, entry: WriteEntry, shown: WriteReceipt | None, asked_at: datetime) -> None:
        """Go on after an answer to a question that was put at ``asked_at``."""
        school, options = self._school, self._school.options
        now = school.clock()
        is_sent = entry.write.state == pb.WRITE_STATE_SENT
        settles_at = entry.settles_at or asked_at
        if shown is not None and shown.pending is None:
            await self._found(entry, shown)
            return
        if shown is not None:
            if to.is_hopeless(entry, now, options):
                to.need_attention(entry, advice.undecided("the MIS took it and has not done it"), now)
            elif is_sent:
                to.look_again(entry, None, now, options)
            else:
                to.accepted_later(entry, shown, now, options)
        elif is_sent:
            if asked_at < settles_at + options.missing:
                to.look_again(entry, None, now, options)
            else:
                to.need_attention(entry, advice.not_shown(), now)
        elif asked_at < settles_at:
            to.look_again(entry, None, now, options, settles_at)
        else:
            to.absent(entry, now)
        await school.keeper.save(entry)

    async def _cannot_tell(
        self, entry: WriteEntry, error: ConnectorError | ConnectorDefect, mis: Mis, asked_at: datetime
    ) -> None:
        school, now = self._school, self._school.clock()
        failure = mis.failure(error)
        has_settled = asked_at >= (entry.settles_at or asked_at)
        is_doubtful = isinstance(error, Incomplete) and entry.looks >= school.options.doubtful_looks
        is_hopeless = to.is_hopeless(entry, now, school.options)
        if isinstance(error, Unsupported) or (is_doubtful and has_settled) or is_hopeless:
            receipt = to.receipt_of(entry)
            if entry.write.state == pb.WRITE_STATE_SENT and receipt is not None and receipt.mis_ids:
                await self._found(entry, receipt)  # it has an id: the MIS did it, and hides it
                return
            await self._ask_person(entry, failure.message)
            return
        until = error.until if isinstance(error, RateLimited | CircuitOpen) else None
        if until is not None:
            to.postpone(entry, failure, max(until, now + school.options.look_first), now)
        else:
            to.look_again(entry, failure, now, school.options)
        await school.keeper.save(entry)

    async def _found(self, entry: WriteEntry, receipt: WriteReceipt) -> None:
        """Lay claim to what was found, unless it is another write's."""
        school = self._school
        async with school.claims:
            other = await self._claimed(entry, receipt)
            if other is None:
                to.found(entry, receipt, school.clock())
                await school.keeper.save(entry)
                return
        await self._ask_person(entry, f"what the MIS shows is that of {other}")

    async def _claimed(self, entry: WriteEntry, receipt: WriteReceipt) -> str | None:
        """Return the other write of the ledger that made what ``receipt`` tells of."""
        school, write = self._school, entry.write
        if not receipt.mis_ids:
            return None
        other = await school.store.writes.claimed(
            school.school_id, write.operation_name, receipt.mis_ids, entry.write_id
        )
        if other is None or write.operation_name in _ADDS:
            return other
        claimant = await school.store.writes.find(school.school_id, other)
        return other if claimant is not None and claimant.slot != entry.slot else None

    async def _ask_person(self, entry: WriteEntry, why: str) -> None:
        to.need_attention(entry, advice.undecided(why), self._school.clock())
        await self._school.keeper.save(entry)

    def _says_all(self, entry: WriteEntry, receipt: WriteReceipt) -> bool:
        """Whether a receipt tells all that the MIS could be asked for, and the school's data confirms it."""
        info = OPERATIONS[entry.write.operation_name]
        return receipt.pending is None and bool(receipt.mis_ids and receipt.keys) and info.kind is not None
