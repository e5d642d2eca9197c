"""Servers that write to one scripted MIS over one in-memory store, under a clock that tests may let run.

The MIS keeps every effect it ever had, by idempotency key, so that "at most one" can be counted. What goes
wrong is said by hooks: before the gate, once something has left, and after the MIS has acted.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import mongomock

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import ATTENDANCE_SESSION_AM
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import (
    Connector,
    Departure,
    SchoolConnection,
    SourceKey,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteSafety,
    WriteValue,
    source_key,
)
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.model.writes import WriteEntry, slot_of, write_id_of
from schoolgate_server.store.store import Store
from schoolgate_server.writeback.backing import Backing
from schoolgate_server.writeback.dispatcher import Dispatcher
from schoolgate_server.writeback.options import WriteOptions
from schoolgate_server.writeback.policies import PolicyBook
from schoolgate_server.writeback.reach import Surroundings
from tests.simulation.handle import Gate, GatedHandle, Trouble
from tests.simulation.server import DATABASE, OpenVault
from tests.simulation.virtual_time import VirtualClock, run_virtually
from tests.support.engine import SCHOOL, record_id
from tests.support.scripted import MARKS, STUDENTS, ScriptedMis, ScriptedSession, scripted_connector

EVENT, MARK = "record_behaviour_event", "record_attendance_mark"
ENVIRONMENT = "production"
PUPILS = {record_id(KIND_STUDENT, STUDENTS, number): number for number in range(1, 200)}
IDS = {number: pupil for pupil, number in PUPILS.items()}
OPTIONS = WriteOptions(environment=ENVIRONMENT)
FINAL = {pb.WRITE_STATE_CONFIRMED, pb.WRITE_STATE_REJECTED, pb.WRITE_STATE_FAILED, pb.WRITE_STATE_CANCELLED}

Hook = Callable[[WriteRequest], Awaitable[None] | None]
_T = TypeVar("_T")


class Effect(NamedTuple):
    """What the MIS once did; it is never taken out of the list."""

    key: str
    values: tuple[tuple[str, Any], ...]
    number: str
    at: datetime


def nothing(request: WriteRequest) -> None:
    """Let all go well."""


@dataclass
class WriteMis:
    """A MIS that can be written to, of one class of safety."""

    safety: WriteSafety
    clock: Callable[[], datetime]
    announces: bool = True
    rows: ScriptedMis = field(default_factory=ScriptedMis)
    effects: list[Effect] = field(default_factory=list[Effect])
    prepare: Hook = nothing
    travel: Hook = nothing
    answer: Hook = nothing
    find: Hook = nothing
    left: list[str] = field(default_factory=list[str])
    has_keys: bool = False
    opened: int = 0

    def act(self, request: WriteRequest) -> WriteReceipt:
        """Do what is asked, once more however often it is asked, unless keys are heeded here."""
        if self.safety is WriteSafety.NATIVE_KEY:
            for effect in self.effects:
                if effect.key == request.idempotency_key:
                    return self.receipt(effect)
        number = str(len(self.effects) + 1)
        if request.operation == MARK:
            pupil, day = request.values["student_id"], str(request.values["date"])
            assert isinstance(pupil, SourceKey)
            number = f"{pupil.parts[0]}/{day}"
            rows = self.rows.rows[MARKS]
            rows[:] = [row for row in rows if (row["student"], row["date"]) != (pupil.parts[0], day)]
            rows.append({"student": pupil.parts[0], "date": day, "code": request.values["code"]})
        effect = Effect(request.idempotency_key, _natural(request), number, self.clock())
        self.effects.append(effect)
        return self.receipt(effect)

    def receipt(self, effect: Effect) -> WriteReceipt:
        values = dict(effect.values)
        keys: tuple[SourceKey, ...] = ()
        if self.has_keys:
            keys = (source_key("scripted/marks", values["student_id"].parts[0], values["date"]),)
        return WriteReceipt((effect.number,), keys=keys, response="done")

    def look_for(self, request: WriteRequest) -> WriteReceipt | None:
        """Find what was written by the caller's id, or by what it says."""
        for effect in reversed(self.effects):
            by_id = self.safety is WriteSafety.EXTERNAL_ID
            if effect.key == request.idempotency_key if by_id else effect.values == _natural(request):
                return self.receipt(effect)
        return None

    @property
    def doubled(self) -> list[str]:
        """Keys with more than one effect."""
        return [key for key, count in Counter(effect.key for effect in self.effects).items() if count > 1]


def _natural(request: WriteRequest) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(request.values.items()))


class WriteSession(ScriptedSession):
    """One server's session; a server that died asks for nothing any more."""

    def __init__(self, mis: WriteMis, died: asyncio.Event) -> None:
        super().__init__(mis.rows)
        self._mis_to_write = mis
        self._died = died

    async def write(self, request: WriteRequest) -> WriteReceipt:
        mis = self._mis_to_write
        await self._live(mis.prepare, request)
        request.leaving(Departure(f"POST {request.operation}", request.idempotency_key))
        mis.left.append(request.idempotency_key)
        await self._live(mis.travel, request)
        receipt = mis.act(request)
        await self._live(mis.answer, request)
        return receipt

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        await self._live(self._mis_to_write.find, request)
        return self._mis_to_write.look_for(request)

    async def _live(self, hook: Hook, request: WriteRequest) -> None:
        happening = hook(request)
        if happening is not None:
            await happening
        if self._died.is_set():
            await asyncio.Event().wait()


def write_connector(mis: WriteMis, died: asyncio.Event) -> Connector:
    """Return the scripted connector, with an event and a mark to be written."""

    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[WriteSession]:
        mis.opened += 1
        yield WriteSession(mis, died)

    names = ("student_id", "date", "code")
    operations = tuple(
        WriteOperation(
            name,
            mis.safety,
            required=names,
            natural_key=names if mis.safety is WriteSafety.NATURAL_KEY_READBACK else (),
            announces=mis.announces,
        )
        for name in (EVENT, MARK)
    )
    return replace(scripted_connector(mis.rows), writes=operations, open=open_session)


async def no_preview(school: School, entry: WriteEntry) -> pb.WritePayload:
    """Take the place of what these tests do not ask for."""
    raise AssertionError("nothing is previewed here")


async def values_of(
    connector: Connector, entry: WriteEntry, *, may_have_gone: bool = False
) -> Mapping[str, WriteValue]:
    """Return a write's values by the scripted MIS's own keys."""
    operation = entry.write.operation
    if entry.write.operation_name == EVENT:
        event = operation.record_behaviour_event
        pupil, day, code = event.student_id, event.occurred_at, event.type_code
    else:
        mark = operation.record_attendance_mark
        pupil, day, code = mark.student_id, mark.date, mark.code
    return {"student_id": source_key("scripted/students", PUPILS[pupil]), "date": day, "code": code}


@dataclass
class WriteServer:
    """One server: its store with what befalls it, and its dispatcher."""

    store: Store
    dispatcher: Dispatcher
    gate: Gate

    def die(self) -> None:
        """Have the process gone, at once."""
        self.gate.died.set()


class Stage:
    """One store and one MIS, and any number of servers."""

    def __init__(
        self,
        safety: WriteSafety = WriteSafety.NATURAL_KEY_READBACK,
        *,
        announces: bool = True,
        options: WriteOptions = OPTIONS,
        schools: Sequence[str] = (SCHOOL,),
    ) -> None:
        self.client: Any = mongomock.MongoClient()
        self._time: Callable[[], datetime] = VirtualClock()
        self._skipped = timedelta(0)
        self.mis = WriteMis(safety, self.clock, announces)
        self.options = options
        self.schools = schools
        self.notified: list[tuple[str, Sequence[SourceKey], str]] = []
        self.ids = itertools.count(1)
        self.servers: list[WriteServer] = []
        self.client_store = self.new_store(Gate())

    def clock(self) -> datetime:
        """Return the present moment, by every clock."""
        return self._time() + self._skipped

    def stall(self, passing: timedelta) -> None:
        """Let time go by of which nothing here takes note, as a process that is stopped does not."""
        self._skipped += passing

    def new_store(self, gate: Gate) -> Store:
        store = Store.open(GatedHandle(self.client, gate), DATABASE, self.clock, sleep=asyncio.sleep)
        store.credentials = store.row_seal = OpenVault()
        return store

    async def prepare(self) -> None:
        await self.client_store.prepare()
        for school_id in self.schools:
            school = School(school_id=school_id, display_name="Oak", connector="scripted")
            school.time_zone = "Europe/London"
            school.data_profile.extend(CORE_PROFILE)
            await self.client_store.schools.create(
                school, f"{next(self.ids):08}-0000-4000-8000-000000000000", b""
            )
            await self.set_policy(pb.WRITE_POLICY_ON, school_id)

    async def set_policy(
        self, policy: pb.WritePolicy.ValueType, school_id: str = SCHOOL, *, cancel_queued: bool = False
    ) -> pb.SetWritePolicyResponse:
        host = ConnectorHost({}, {})
        backing = Backing(self.client_store, host, self.clock, self.options, no_preview, lambda _: None)
        request = pb.SetWritePolicyRequest(
            school_id=school_id, environment=ENVIRONMENT, policy=policy, cancel_queued=cancel_queued
        )
        return await PolicyBook(backing).set(request, "ada")

    async def notify(self, school_id: str, kind: int, keys: Sequence[SourceKey], request_id: str) -> None:
        self.notified.append((school_id, keys, request_id))

    async def server(self, trouble: Trouble | None = None, *, starts: bool = True) -> WriteServer:
        """Start one more server."""
        gate = Gate(trouble)
        store = self.new_store(gate)
        host = ConnectorHost({"scripted": write_connector(self.mis, gate.died)}, {})
        dispatcher = Dispatcher(
            Surroundings(store, host, self.clock, self.options),
            f"server-{len(self.servers) + 1}",
            lambda: f"id-{next(self.ids)}",
            notify=self.notify,
            values_of=values_of,
        )
        running = WriteServer(store, dispatcher, gate)
        self.servers.append(running)
        if starts:
            await dispatcher.start()
        return running

    async def submit(
        self,
        key: str = "k1",
        *,
        operation: str = EVENT,
        pupil: int = 1,
        day: str = "2026-11-02",
        code: str = "N",
        school_id: str = SCHOOL,
        wait: timedelta = timedelta(hours=24),
    ) -> WriteEntry:
        """Make a write durable, as the service does."""
        asked = pb.WriteOperation()
        if operation == EVENT:
            event = asked.record_behaviour_event
            event.student_id, event.type_code, event.occurred_at = IDS[pupil], code, day
        else:
            mark = asked.record_attendance_mark
            mark.student_id, mark.date, mark.code = IDS[pupil], day, code
            mark.session = ATTENDANCE_SESSION_AM
        now = self.clock()
        write = pb.Write(
            write_id=write_id_of(school_id, key),
            school_id=school_id,
            idempotency_key=key,
            operation=asked,
            operation_name=operation,
            state=pb.WRITE_STATE_PENDING,
            status=pb.WRITE_STATUS_PENDING_MIS_SYNC,
            environment=ENVIRONMENT,
            submitted_by="sis",
        )
        for stamp in (write.submitted_at, write.updated_at):
            stamp.FromDatetime(now)
        write.expires_at.FromDatetime(now + wait)
        slot = slot_of(asked)
        position = await self.client_store.writes.last_position(school_id, slot) + 1
        entry = WriteEntry(write, slot=slot, position=position, student_id=IDS[pupil], due_at=now)
        stored, _ = await self.client_store.writes.insert(entry)
        return stored

    async def read(self, key: str = "k1", school_id: str = SCHOOL) -> WriteEntry:
        return await self.client_store.writes.get(school_id, write_id_of(school_id, key))

    async def state(self, key: str = "k1", school_id: str = SCHOOL) -> str:
        return state_of(await self.read(key, school_id))

    async def until(self, key: str, *states: str, within: float = 7200.0) -> WriteEntry:
        """Wait until a write is in one of ``states``."""
        entry = await self.read(key)
        for _ in range(int(within / 0.5)):
            if state_of(entry) in states:
                return entry
            await asyncio.sleep(0.5)
            entry = await self.read(key)
        raise AssertionError(f"{key} is {state_of(entry)}: {entry.write.failure.message}")

    async def settled(self, *keys: str, within: float = 7200.0) -> list[WriteEntry]:
        """Wait until nobody has to do anything with these writes any more."""
        return [
            await self.until(key, "CONFIRMED", "REJECTED", "FAILED", "NEEDS_ATTENTION", within=within)
            for key in keys
        ]

    async def close(self) -> None:
        for server in self.servers:
            await server.dispatcher.stop()


def play(story: Callable[[Stage], Awaitable[_T]], stage: Stage | None = None) -> _T:
    """Run a story on ``stage``, or on a usual one, at no cost of time; return what it returns."""
    stage = stage or Stage()

    async def whole() -> _T:
        await stage.prepare()
        try:
            return await story(stage)
        finally:
            await stage.close()

    told: _T = run_virtually(whole)
    return told


def state_of(entry: WriteEntry) -> str:
    """Return a state as people say it."""
    return pb.WriteState.Name(entry.write.state).removeprefix("WRITE_STATE_")


def outcomes_of(entry: WriteEntry) -> list[str]:
    """Return what came of each attempt."""
    return [
        pb.WriteAttempt.Outcome.Name(each.outcome).removeprefix("OUTCOME_") for each in entry.write.attempts
    ]
