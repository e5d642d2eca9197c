"""Accepts writes: checks the operation, heeds the policy, and makes the write durable, once per key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import Connector, WriteOperation
from schoolgate_server.model.checks import FoundViolations
from schoolgate_server.model.quiet import zone_of
from schoolgate_server.model.recent import Recent
from schoolgate_server.model.write_policies import LETS_THROUGH, OperationRule
from schoolgate_server.model.writes import (
    WriteEntry,
    action_of,
    derived_key,
    normalised,
    operation_name,
    slot_of,
    status_of,
    write_id_of,
)
from schoolgate_server.store.together import together
from schoolgate_server.writeback.backing import Backing
from schoolgate_server.writeback.errors import key_reused, policy_forbids, quota_exceeded, write_unsupported
from schoolgate_server.writeback.reach import operation_of
from schoolgate_server.writeback.validation import Checked, Question, checked
from schoolgate_server.writeback.validation.facts import Tables
from schoolgate_server.writeback.validation.shape import Today, text_problem

OWN_KEYS = "undo-"
"""How the keys of reversing writes begin; no caller may give one that does."""

_LONGEST_KEY = 200
_QUOTA_TIME = timedelta(hours=24)
_MOST_AT_HAND = 256


@dataclass(frozen=True)
class Submission:
    """One action that is to be written, and for whom.

    ``key`` is empty where one is to be derived; ``expires_at`` is ``None`` for the server's default.
    """

    school_id: str
    operation: pb.WriteOperation
    caller: str
    correlation_id: str
    key: str = ""
    source_record_id: str = ""
    expires_at: datetime | None = None
    reverses: str = ""

    @cached_property
    def effective_key(self) -> str:
        """The key that the write has."""
        return self.key or derived_key(self.school_id, self.operation, self.source_record_id)

    @cached_property
    def slot(self) -> str:
        """What the operation is about, as the caller named it."""
        return slot_of(self.operation)

    @property
    def name(self) -> str:
        """The name of the operation."""
        return operation_name(self.operation)


@dataclass(frozen=True, slots=True)
class Standing:
    """Under what a submission is checked. What is decided from ``asked_at`` on may be missing."""

    school: School
    connector: Connector
    declared: WriteOperation
    rule: OperationRule
    seq: int
    asked_at: datetime

    def finds_as(self, other: Standing) -> bool:
        """Whether what is checked under this one is found to be as under ``other``."""
        return (self.seq, self.declared, self.school) == (other.seq, other.declared, other.school)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What was found out about a submission: what is wrong with it, the last position of what it is about,
    and its operation sealed, for the case that it is right, as nearly all are.
    """

    result: Checked
    last: int
    sealed: bytes


class Locks:
    """One lock per name, for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, ...], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, *name: str) -> AsyncGenerator[None]:
        """Hold the lock called ``name`` for the time of the block."""
        lock, holders = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = lock, holders + 1
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks[name]
            if holders > 1:
                self._locks[name] = lock, holders - 1
            else:
                del self._locks[name]


class Acceptance:
    """Accepts submissions of one server.

    Writes about the same are accepted one after the other, so that the order of their answers is that of
    their positions; so are writes that a quota counts. Among several servers both hold but for what is under
    way at the same moment.

    Schools hardly change between two submissions. So one is checked under what stood at the school's last one
    while it is read what stands now, and once more where that is another: it takes half of the time.
    """

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._locks = Locks()
        self._tables = Tables()
        self._stood = Recent[tuple[str, str], Standing](_MOST_AT_HAND)

    async def submit(
        self, request: pb.SubmitWriteRequest, caller: str, correlation_id: str
    ) -> pb.SubmitWriteResponse:
        """Serve ``SubmitWrite``; see :class:`~schoolgate_server.writeback.service.WriteService`."""
        violations = FoundViolations()
        expires_at = self._check_envelope(request, violations)
        if not operation_name(request.operation):
            violations.add("operation", "must be given: one of the operations that there are")
            violations.raise_any()
        submission = Submission(
            request.school_id,
            request.operation,
            caller,
            correlation_id,
            request.idempotency_key,
            request.source_record_id,
            expires_at,
        )
        async with self._locks.holding(submission.school_id, submission.slot):
            standing, prepared = await self._found_out(submission)
            rule = standing.rule
            answer = pb.SubmitWriteResponse(policy=rule.policy, idempotency_key=submission.effective_key)
            if prepared is None:
                prepared = await self._prepared(submission, standing)
            prepared.result.note(submission.operation, violations)
            if violations.are_any or request.validate_only or rule.policy not in LETS_THROUGH:
                # Nothing is to be stored, which would tell that the key came before.
                before = await self._backing.store.writes.find(
                    submission.school_id, write_id_of(submission.school_id, submission.effective_key)
                )
                if before is not None:
                    return repeated(before, submission, answer)
            violations.raise_any()
            if request.validate_only:
                return answer
            entry = await self._entry(submission, prepared.result, standing, prepared.last)
            if rule.policy == pb.WRITE_POLICY_DRY_RUN:
                if standing.declared.announces:
                    answer.preview.CopyFrom(await self._backing.preview(standing.school, entry))
                return answer
            stored, is_new = await self.store(submission, entry, rule, prepared.sealed)
        if not is_new:
            return repeated(stored, submission, answer)
        answer.write.CopyFrom(stored.write)
        return answer

    async def _found_out(self, submission: Submission) -> tuple[Standing, _Prepared | None]:
        """Return how a submission stands, and what was found out under just that, if anything was.

        Raises:
            ServiceError: what :meth:`standing` raises.
        """
        stood = self._stood.get(name := (submission.school_id, submission.name))
        async with together():
            standing, prepared = await asyncio.gather(
                self.standing(submission),
                _nothing() if stood is None else self._prepared(submission, stood),
                return_exceptions=True,
            )
        if isinstance(standing, BaseException):
            raise standing
        self._stood.keep(name, standing)
        if stood is None or isinstance(prepared, BaseException) or not standing.finds_as(stood):
            return standing, None
        return standing, prepared

    async def _prepared(self, submission: Submission, standing: Standing) -> _Prepared:
        async with together():
            result, last, sealed = await asyncio.gather(
                self.check(submission, standing),
                self._last_position(submission),
                self._backing.store.writes.seal(submission.school_id, submission.operation),
            )
        return _Prepared(result, last, sealed)

    async def standing(self, submission: Submission) -> Standing:
        """Return under what a submission is to be checked.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``WRITE_UNSUPPORTED``.
        """
        store, school_id, asked_at = self._backing.store, submission.school_id, self._backing.clock()
        async with together():
            school, seq, policies = await asyncio.gather(
                store.schools.get(school_id),
                store.records.published(school_id),
                store.write_policies.get(school_id, self._backing.options.environment),
            )
        connector = self._backing.connectors.get(school.connector)
        declared = operation_of(connector, submission.name)
        if declared is None:
            raise write_unsupported(submission.name, connector.name)
        return Standing(school, connector, declared, policies.of(submission.name), seq, asked_at)

    async def check(self, submission: Submission, standing: Standing) -> Checked:
        """Return what is wrong with the operation, and whom it means."""
        today = Today(self._backing.clock(), zone_of(standing.school))
        question = Question(
            standing.school, standing.connector, standing.declared, submission.operation, standing.seq
        )
        return await checked(self._backing.store, question, today, self._tables)

    async def accept(self, submission: Submission, standing: Standing, result: Checked) -> WriteEntry:
        """Store a write of this service's own that was checked, or return the one that its key has.

        Raises:
            ServiceError: ``WRITE_POLICY_OFF``, under ``DRY_RUN`` too; ``WRITE_QUOTA_EXCEEDED``.
        """
        async with self._locks.holding(submission.school_id, submission.slot):
            last = await self._last_position(submission)
            entry = await self._entry(submission, result, standing, last)
            stored, _ = await self.store(submission, entry, standing.rule)
        return stored

    async def store(
        self, submission: Submission, entry: WriteEntry, rule: OperationRule, sealed: bytes | None = None
    ) -> tuple[WriteEntry, bool]:
        """Make a write durable that its policy lets through; false where its key came before.

        ``sealed`` is its operation, sealed already.

        Raises:
            ServiceError: ``WRITE_POLICY_OFF``, ``WRITE_QUOTA_EXCEEDED``, ``VAULT_UNAVAILABLE``.
        """
        store, environment = self._backing.store, self._backing.options.environment
        if rule.policy not in LETS_THROUGH:
            raise policy_forbids(submission.name, environment, rule.policy)
        if rule.daily_quota:
            async with self._locks.holding(submission.school_id, "quota", submission.name):
                since = self._backing.clock() - _QUOTA_TIME
                accepted = await store.writes.accepted_since(
                    submission.school_id, environment, submission.name, since, rule.daily_quota
                )
                if accepted >= rule.daily_quota:
                    there = await store.writes.find(submission.school_id, entry.write_id)
                    if there is None:
                        raise quota_exceeded(submission.name, rule.daily_quota)
                    return there, False  # the same was submitted a moment ago, and counted
                stored, is_new = await store.writes.insert(entry, sealed)
        else:
            stored, is_new = await store.writes.insert(entry, sealed)
        if is_new and not stored.write.needs_approval:
            self._backing.wake(submission.school_id)
        return stored, is_new

    async def _last_position(self, submission: Submission) -> int:
        return await self._backing.store.writes.last_position(submission.school_id, submission.slot)

    async def _entry(
        self, submission: Submission, result: Checked, standing: Standing, last: int
    ) -> WriteEntry:
        """Return the write as it is stored; ``last`` is the last position of what the caller named."""
        meant = meaning(submission.operation, result)
        slot = slot_of(meant)
        if slot != submission.slot:
            last = await self._backing.store.writes.last_position(submission.school_id, slot)
        now = standing.asked_at
        needs_approval = standing.rule.policy == pb.WRITE_POLICY_APPROVAL
        write = new_write(submission, self._backing.options.environment, now)
        write.needs_approval = needs_approval
        expires_at = submission.expires_at or now + self._backing.options.expires_after
        write.expires_at.FromDatetime(expires_at)
        return WriteEntry(
            write,
            slot=slot,
            position=next_position(now, last),
            student_id=result.student_id,
            # One that nobody approves is looked at again to be given up.
            due_at=expires_at if needs_approval else now,
        )

    def _check_envelope(self, request: pb.SubmitWriteRequest, violations: FoundViolations) -> datetime | None:
        """Note what is wrong beside the operation; return when it expires, ``None`` for the default."""
        key = request.idempotency_key
        if key and (len(key) > _LONGEST_KEY or not key.isprintable()):
            violations.add("idempotency_key", f"must be 1 to {_LONGEST_KEY} printable characters")
        elif key.startswith(OWN_KEYS):
            violations.add("idempotency_key", f'must not begin with "{OWN_KEYS}", as keys of reversals do')
        problem = text_problem(request.source_record_id, _LONGEST_KEY)
        if problem is not None:
            violations.add("source_record_id", problem)
        if not request.HasField("expires_at"):
            return None
        now, longest = self._backing.clock(), self._backing.options.longest_expiry
        try:
            expires_at = request.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            expires_at = now
        if not now < expires_at <= now + longest:
            violations.add("expires_at", f"must lie in the future, at most {longest.days} days from now")
        return expires_at


async def _nothing() -> None:
    return None


def new_write(submission: Submission, environment: str, now: datetime) -> pb.Write:
    """Return the message of a write that nobody has decided about, without when it expires."""
    key = submission.effective_key
    write = pb.Write(
        write_id=write_id_of(submission.school_id, key),
        school_id=submission.school_id,
        idempotency_key=key,
        operation=submission.operation,
        state=pb.WRITE_STATE_PENDING,
        status=status_of(pb.WRITE_STATE_PENDING),
        submitted_by=submission.caller,
        reverses=submission.reverses,
        environment=environment,
        source_record_id=submission.source_record_id,
        operation_name=submission.name,
        correlation_id=submission.correlation_id,
    )
    write.submitted_at.FromDatetime(now)
    write.updated_at.FromDatetime(now)
    return write


def meaning(operation: pb.WriteOperation, result: Checked) -> pb.WriteOperation:
    """Return an operation as it is told from others about the same: merged records mean their survivors, and
    one moment is one, however it is written. What is stored and sent is what the caller said.
    """
    meant = normalised(operation)
    action: Any = action_of(meant)
    for field, record_id in result.meant.items():
        setattr(action, field, record_id)
    return meant


def next_position(now: datetime, last: int) -> int:
    """Return a position behind ``last``, and behind whatever was accepted before now."""
    return max(int(now.timestamp() * 1000), last + 1)


def repeated(
    before: WriteEntry, submission: Submission, answer: pb.SubmitWriteResponse
) -> pb.SubmitWriteResponse:
    """Return the answer to a key that came before.

    Raises:
        ServiceError: ``IDEMPOTENCY_KEY_REUSED``, where it came with another action.
    """
    write = before.write
    is_same = (
        normalised(write.operation).SerializeToString(deterministic=True)
        == normalised(submission.operation).SerializeToString(deterministic=True)
        and write.source_record_id == submission.source_record_id
    )
    if not is_same:
        raise key_reused(write.write_id)
    answer.write.CopyFrom(write)
    answer.repeated = True
    return answer
