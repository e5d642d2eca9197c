"""Undoes writes that took effect: by another write where the connector can, else by a task for a person.

What undoes an attendance mark or a result is what stood there before, where the canonical history has it:
the record as of the seq at which the write was sent. What was not there before is taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import Message
from loguru import logger

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.failure_pb2 import AUDIENCE_OPERATOR, FAILURE_TYPE_UNSUPPORTED, Failure
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import KINDS, Connector, decode_key
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.model.failures import failure
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.writes import OPERATIONS, WriteEntry, operation_name, status_of, write_id_of
from schoolgate_server.store.writes import Writes
from schoolgate_server.writeback.backing import Backing
from schoolgate_server.writeback.errors import wrong_state
from schoolgate_server.writeback.reach import operation_of
from schoolgate_server.writeback.submission import (
    OWN_KEYS,
    Acceptance,
    Submission,
    new_write,
    next_position,
)
from schoolgate_server.writeback.validation.shape import LONGEST_COMMENT, text_problem

_IN_VAIN = frozenset({pb.WRITE_STATE_REJECTED, pb.WRITE_STATE_FAILED, pb.WRITE_STATE_CANCELLED})
"""States of a reversing write after which another one may be made."""

_TOOK_EFFECT = frozenset({pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_DIVERGED})
_UNDOABLE = _TOOK_EFFECT | {pb.WRITE_STATE_SENT, pb.WRITE_STATE_NEEDS_ATTENTION}
"""States of a write that was found in the MIS before it was undone."""


class Before(NamedTuple):
    """The record of what a write made: as it was when the write was sent, ``None`` where there was none."""

    record_id: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class Reversal:
    """Makes the writes that undo others."""

    backing: Backing
    acceptance: Acceptance

    async def reverse(
        self, request: pb.ReverseWriteRequest, caller: str, correlation_id: str
    ) -> pb.ReverseWriteResponse:
        """Serve ``ReverseWrite``; see :class:`~schoolgate_server.writeback.service.WriteService`."""
        problem = text_problem(request.comment, LONGEST_COMMENT, lines=True)
        if problem is not None:
            raise invalid_request(Violation("comment", problem))
        writes = self.backing.store.writes
        original = await writes.get(request.school_id, request.write_id)
        check_reversible(original)
        key, before = await self._next_key(original)
        if before is None:
            before = await self._make(original, key, request.comment, caller, correlation_id)
        elif original.write.reversed_by == before.write_id:
            raise wrong_state(original.write, f"is being undone by {before.write_id}")
        await note_reversing(writes, original, before.write_id, self.backing.clock)
        return pb.ReverseWriteResponse(write=before.write)

    async def _next_key(self, original: WriteEntry) -> tuple[str, WriteEntry | None]:
        """Return the key of the reversing write, and that write where it is there already."""
        number = 0
        while True:
            number += 1
            key = f"{OWN_KEYS}{original.write_id}-{number}"
            write_id = write_id_of(original.school_id, key)
            there = await self.backing.store.writes.find(original.school_id, write_id)
            if there is None or there.write.state not in _IN_VAIN:
                return key, there

    async def _make(
        self, original: WriteEntry, key: str, comment: str, caller: str, correlation_id: str
    ) -> WriteEntry:
        """Store the write that undoes ``original``, or the task."""
        store, school_id = self.backing.store, original.school_id
        school = await store.schools.get(school_id)
        connector = self.backing.connectors.get(school.connector)
        before = await self._before(original)

        def asking(operation: pb.WriteOperation) -> Submission:
            return Submission(school_id, operation, caller, correlation_id, key, reverses=original.write_id)

        operation = compensation(original, connector, before, comment)
        if operation is not None:
            submission = asking(operation)
            standing = await self.acceptance.standing(submission)
            result = await self.acceptance.check(submission, standing)
            if not result.problems:
                return await self.acceptance.accept(submission, standing, result)
        record_id = "" if before is None else before.record_id
        task = asking(_taking_back(record_id, comment))
        stored, _ = await store.writes.insert(self._task(task, original, connector))
        return stored

    def _task(self, submission: Submission, original: WriteEntry, connector: Connector) -> WriteEntry:
        now = self.backing.clock()
        write = new_write(submission, self.backing.options.environment, now)
        write.expires_at.FromDatetime(now + self.backing.options.expires_after)
        write.task = task_text(original, connector)
        write.state = pb.WRITE_STATE_NEEDS_ATTENTION
        write.status = status_of(write.state)
        write.failure.CopyFrom(_for_a_person(connector))
        return WriteEntry(
            write,
            slot=write.write_id,  # of its own, so that nothing waits for a person
            position=next_position(now, 0),
            student_id=original.student_id,
        )

    async def _before(self, original: WriteEntry) -> Before | None:
        """Return the record that a write made; ``None`` where it is not known, or they are several."""
        store, school_id = self.backing.store, original.school_id
        record_ids = set(original.write.record_ids)
        if not record_ids and original.keys:
            kind = OPERATIONS[original.write.operation_name].kind
            if kind is not None:
                seq = await store.records.published(school_id)
                record_ids = await store.records.ids_of_keys(school_id, kind, original.keys, seq)
        if len(record_ids) != 1:
            return None
        [record_id] = record_ids
        record = await store.records.get(school_id, record_id, original.seq_sent)
        gone = record is None or record.HasField("tombstone")
        return Before(record_id, None if gone else record)


def check_reversible(original: WriteEntry) -> None:
    """Return if a write took effect and stands.

    Raises:
        ServiceError: ``WRITE_STATE_MISMATCH``.
    """
    write = original.write
    took_effect = write.state in _TOOK_EFFECT or (write.state == pb.WRITE_STATE_SENT and original.found)
    if not took_effect:
        raise wrong_state(write, "cannot be undone: it is not known to have taken effect, or is undone")
    if write.superseded_by:
        raise wrong_state(write, f"cannot be undone: {write.superseded_by} has changed the same since")


def compensation(
    original: WriteEntry, connector: Connector, before: Before | None, comment: str
) -> pb.WriteOperation | None:
    """Return the operation that undoes a write, ``None`` where only a person can.

    Only if the MIS still says what was written: what the school corrected since is neither overwritten nor
    deleted. Where something stood there before, only that can be put back, and it is not deleted.
    """
    if before is None or original.write.state == pb.WRITE_STATE_DIVERGED:
        return None
    if before.record is not None:
        restored = _restored(original.write.operation, before.record)
        is_able = restored is not None and operation_of(connector, operation_name(restored)) is not None
        return restored if is_able else None
    declared = operation_of(connector, "deactivate_record")
    if declared is None or kind_of(before.record_id) not in declared.kinds:
        return None
    return _taking_back(before.record_id, comment)


def _taking_back(record_id: str, comment: str) -> pb.WriteOperation:
    return pb.WriteOperation(deactivate_record=pb.DeactivateRecord(record_id=record_id, reason=comment))


def _restored(operation: pb.WriteOperation, record: Record) -> pb.WriteOperation | None:
    """Return the operation that puts back what ``record`` said, ``None`` where that cannot be known."""
    name = operation_name(operation)
    restored = pb.WriteOperation()
    restored.CopyFrom(operation)
    if name == "record_attendance_mark" and record.attendance_mark.code:
        mark, was = restored.record_attendance_mark, record.attendance_mark
        mark.code = was.code
        _restore_optional(mark, was, "comment", "minutes_late")
        return restored
    if name == "record_assessment_result" and record.assessment_result.result:
        result, said = restored.record_assessment_result, record.assessment_result
        result.result = said.result
        result.date = said.entered_on or result.date
        return restored
    if name == "correct_record":
        correction = restored.correct_record
        body: Message = getattr(record, KINDS[record.kind].name)
        fields = [
            field.name for field, _ in operation.correct_record.ListFields() if field.name != "record_id"
        ]
        if all(body.HasField(field) for field in fields):
            _restore_optional(correction, body, *fields)
            return restored
    return None


def _restore_optional(message: Message, was: Message, *fields: str) -> None:
    for field in fields:
        if was.HasField(field):
            setattr(message, field, getattr(was, field))
        else:
            message.ClearField(field)


def _for_a_person(connector: Connector) -> Failure:
    why = failure(
        FAILURE_TYPE_UNSUPPORTED,
        f"the connector {connector.name} cannot undo this by itself",
        audience=AUDIENCE_OPERATOR,
    )
    why.remediation = "Do what the task says, then say so with WritebackService.ResolveWrite."
    return why


def task_text(original: WriteEntry, connector: Connector) -> str:
    """Return what a person has to do: in which MIS, to what, by its exact ids."""
    name = original.write.operation_name
    ids = list(original.write.mis_ids)
    named = f"with the id {', '.join(ids)}" if ids else ""
    if not ids and original.keys:
        keys = [decode_key(key) for key in original.keys]
        parts = ["/".join(str(part) for part in key.parts) for key in keys]
        named = f"with the key {', '.join(parts)} ({keys[0].namespace})"
    what = f"what it has {named}" if named else "what that write made there, whose id is not known"
    return (
        f"In {connector.display_name}, undo {original.write_id} ({name}): take back {what}, or put back what "
        "stood there before. Then say so with ResolveWrite."
    )


async def note_reversing(writes: Writes, original: WriteEntry, reversing_id: str, clock: Clock) -> None:
    """Note in a write which other one undoes it."""
    while original.write.reversed_by != reversing_id:
        original.write.reversed_by = reversing_id
        original.touch(clock())
        if await writes.save(original):
            return
        original = await writes.get(original.school_id, original.write_id)


async def note_reversed(
    writes: Writes, reversing: pb.Write, clock: Clock, save: Callable[[WriteEntry], Awaitable[bool]]
) -> None:
    """Let the write that ``reversing`` undoes, if any, be REVERSED; harmless where it is already.

    ``save`` stores it by compare-and-set. To be called before ``reversing`` is stored as CONFIRMED, so that
    a crash in between leaves something to be done, and never an undone write that looks as if it stood.
    """
    if not reversing.reverses:
        return
    while True:
        original = await writes.find(reversing.school_id, reversing.reverses)
        if original is None or original.write.state == pb.WRITE_STATE_REVERSED:
            return
        if original.write.state not in _UNDOABLE:
            logger.error("write {} is undone and was never done", original.write_id)
            return
        original.move(pb.WRITE_STATE_REVERSED, clock())
        original.write.reversed_by = reversing.write_id
        if await save(original):
            return
