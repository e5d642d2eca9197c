"""A school in a store, in memory or of a real mongod, a connector that writes, and the service."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import (
    KINDS,
    Connector,
    Dataset,
    KindSpec,
    SchoolConnection,
    WriteOperation,
    WriteSafety,
)
from schoolgate_sdk.testing.world import World
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.service import WriteService
from tests.integration.engine.conftest import place, store
from tests.support.engine import MirrorSeal, TickingClock
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.scripted import ScriptedMis, ScriptedSession
from tests.support.world_store import WorldStore

__all__ = ["empty_databases", "mongo_database", "mongo_uri", "place", "store"]

SCHOOL = "oak"
HEAD, OFFICE, APP = "head", "office", "app"
"""Callers."""

CORRECTABLE = (k.KIND_ATTENDANCE_MARK, k.KIND_ASSESSMENT_RESULT, k.KIND_BEHAVIOUR_EVENT)
PUPIL = ("student_id",)


def writing(
    name: str, required: tuple[str, ...], optional: tuple[str, ...] = (), **more: Any
) -> WriteOperation:
    return WriteOperation(name, WriteSafety.NONE, required, optional, announces=True, **more)


WRITES = (
    writing(
        "record_behaviour_event", (*PUPIL, "type_code", "occurred_at", "staff_id", "points"), ("comment",)
    ),
    writing(
        "record_attendance_mark",
        (*PUPIL, "date", "session", "code"),
        ("period_name", "comment", "minutes_late", "staff_id"),
    ),
    writing("record_assessment_result", (*PUPIL, "assessment_name", "result", "date"), ("subject_id",)),
    WriteOperation("record_consent", WriteSafety.NONE, required=(*PUPIL, "type_code", "granted", "date")),
    writing("deactivate_record", ("record_id",), kinds=(k.KIND_BEHAVIOUR_EVENT, k.KIND_ATTENDANCE_MARK)),
    writing("correct_record", ("record_id",), ("code", "points", "result", "comment"), kinds=CORRECTABLE),
)
"""All but notes; consents are not announced."""


def writing_connector(*without: str, number_space: str = "world") -> Connector:
    """Return the connector of the school's MIS, in whose number space the world's keys are."""

    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[ScriptedSession]:
        yield ScriptedSession(ScriptedMis())

    datasets = tuple(
        Dataset(info.name, (KindSpec(kind, f"{number_space}/{info.name}"),), (), _no_parser, 1)
        for kind, info in KINDS.items()
    )
    writes = tuple(each for each in WRITES if each.name not in without)
    return Connector("bromcom", "Bromcom", "1", (), (), datasets, open_session, writes=writes)


def _no_parser(row: Any, settings: Any) -> Any:
    raise AssertionError("nothing is read in these tests")


@dataclass
class Desk:
    """The service, and what it told others."""

    store: Store
    stored: WorldStore
    world: World
    clock: TickingClock = field(default_factory=TickingClock)
    woken: list[str] = field(default_factory=list[str])
    previewed: list[WriteEntry] = field(default_factory=list[WriteEntry])

    def __post_init__(self) -> None:
        self.service = self.serving(writing_connector())
        self.pupil = self.stored.id_of(k.KIND_STUDENT, 1)
        self.teacher = self.stored.id_of(k.KIND_STAFF, 1)

    def serving(self, connector: Connector, **options: Any) -> WriteService:
        """Return another server's service over the same store."""

        async def preview(school: School, entry: WriteEntry) -> pb.WritePayload:
            self.previewed.append(entry)
            return pb.WritePayload(target="POST things", body=entry.write.operation_name)

        host = ConnectorHost({connector.name: connector}, {})
        given = replace(WriteOptions(environment="test"), **options)
        return WriteService(self.store, host, self.clock, given, preview, self.woken.append)

    # --- operations

    def mark(self, **changes: Any) -> pb.WriteOperation:
        """Return a mark of the morning of 14 September 2026, a Monday, changed."""
        given: dict[str, Any] = {"student_id": self.pupil, "date": "2026-09-14", "session": 1, "code": "L"}
        return pb.WriteOperation(record_attendance_mark=pb.RecordAttendanceMark(**{**given, **changes}))

    def event(self, **changes: Any) -> pb.WriteOperation:
        given: dict[str, Any] = {
            "student_id": self.pupil,
            "type_code": "1",
            "occurred_at": "2026-09-14T10:15:00+01:00",
            "staff_id": self.teacher,
            "points": 1,
        }
        return pb.WriteOperation(record_behaviour_event=pb.RecordBehaviourEvent(**{**given, **changes}))

    def correction(self, record_id: str, **values: Any) -> pb.WriteOperation:
        return pb.WriteOperation(correct_record=pb.CorrectRecord(record_id=record_id, **values))

    # --- calls

    async def allow(
        self,
        policy: pb.WritePolicy.ValueType = pb.WRITE_POLICY_ON,
        operation: str = "",
        **more: Any,
    ) -> pb.SetWritePolicyResponse:
        request = pb.SetWritePolicyRequest(school_id=SCHOOL, operation=operation, policy=policy, **more)
        return await self.service.set_policy(request, HEAD)

    async def submit(
        self,
        operation: pb.WriteOperation,
        key: str = "",
        *,
        caller: str = APP,
        service: WriteService | None = None,
        **more: Any,
    ) -> pb.SubmitWriteResponse:
        request = pb.SubmitWriteRequest(school_id=SCHOOL, operation=operation, idempotency_key=key, **more)
        return await (service or self.service).submit(request, caller, f"call-{uuid.uuid4()}")

    async def problems(self, operation: pb.WriteOperation, **more: Any) -> dict[str, str]:
        """Return what is wrong with an operation, by field, without its common path."""
        try:
            await self.submit(operation, validate_only=True, **more)
        except ServiceError as error:
            name = operation.WhichOneof("operation")
            return {
                each.field.removeprefix(f"operation.{name}."): each.description for each in error.violations
            }
        return {}

    async def approve(self, write_id: str, caller: str = HEAD) -> pb.Write:
        request = pb.ApproveWriteRequest(school_id=SCHOOL, write_id=write_id)
        return (await self.service.approve(request, caller)).write

    async def cancel(self, write_id: str) -> pb.Write:
        return (await self.service.cancel(pb.CancelWriteRequest(school_id=SCHOOL, write_id=write_id))).write

    async def reverse(self, write_id: str, caller: str = OFFICE, comment: str = "") -> pb.Write:
        request = pb.ReverseWriteRequest(school_id=SCHOOL, write_id=write_id, comment=comment)
        return (await self.service.reverse(request, caller, "call-reverse")).write

    async def resolve(
        self,
        write_id: str,
        outcome: pb.ResolveWriteRequest.Outcome.ValueType,
        mis_ids: Collection[str] = (),
    ) -> pb.Write:
        request = pb.ResolveWriteRequest(
            school_id=SCHOOL, write_id=write_id, outcome=outcome, mis_ids=list(mis_ids)
        )
        return (await self.service.resolve(request, OFFICE)).write

    # --- what a dispatcher does

    async def went(self, write_id: str, *states: pb.WriteState.ValueType, **engine: Any) -> WriteEntry:
        """Let a write go through ``states`` as a dispatcher would have it; ``engine`` are fields of it."""
        entry = await self.store.writes.get(SCHOOL, write_id)
        for name, value in engine.items():
            if name in {"mis_ids", "record_ids"}:
                getattr(entry.write, name)[:] = value
            elif hasattr(entry, name):
                setattr(entry, name, value)
            else:
                setattr(entry.write, name, value)
        for state in states:
            entry.move(state, self.clock())
        assert await self.store.writes.save(entry)
        return entry

    async def confirmed(self, operation: pb.WriteOperation, record_id: str = "", **engine: Any) -> pb.Write:
        """Return a write that was sent and confirmed."""
        write = (await self.submit(operation)).write
        seq = await self.store.records.published(SCHOOL)
        engine = {"record_ids": [record_id] if record_id else [], "seq_sent": seq, **engine}
        done = (pb.WRITE_STATE_SENDING, pb.WRITE_STATE_SENT, pb.WRITE_STATE_CONFIRMED)
        return (await self.went(write.write_id, *done, **engine)).write

    async def read(self, write_id: str) -> pb.Write:
        return (await self.store.writes.get(SCHOOL, write_id)).write

    async def merge(self, number: int, survivor: int) -> None:
        """Merge one pupil's record into another's, of whom the survivor takes the keys over."""
        truths = {truth.key: truth for truth in self.world.canonical() if truth.kind == k.KIND_STUDENT}
        loser = self.stored.change(truths[number,])
        kept = self.stored.change(truths[survivor,])
        into = loser._replace(tombstone=TOMBSTONE_REASON_MERGED, merged_into=kept.record_id)
        await self.stored.put_changes([into, kept._replace(keys=(*kept.keys, *loser.keys))])


@pytest.fixture
async def empty_desk(store: Store) -> Desk:
    """A school that was never synced."""
    store.row_seal = MirrorSeal()
    stored = WorldStore(store, SCHOOL)
    await stored.register()
    return Desk(store, stored, World.build(seed=11, pupils=8, marks_until=date(2026, 9, 12)))


@pytest.fixture
async def desk(empty_desk: Desk) -> Desk:
    """A school of eight pupils, with everything that may be written allowed."""
    await empty_desk.stored.put_world(empty_desk.world)
    await empty_desk.allow()
    return empty_desk


async def refusal(call: Any) -> ServiceError:
    """Return the error of a call that must fail."""
    with pytest.raises(ServiceError) as refused:
        await call
    return refused.value
