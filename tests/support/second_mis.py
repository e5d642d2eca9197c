"""The MIS that a school moves to: other number spaces, other names of datasets, ids that are texts.

One dataset of it yields pupils together with their registrations, as some MISs do.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.groups_pb2 import Group, GroupMembership
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.roll_pb2 import Enrolment
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import (
    Connector,
    Dataset,
    EndOfSnapshot,
    FieldSpec,
    KindSpec,
    Page,
    Parsed,
    Ref,
    Row,
    SchoolConnection,
    Scope,
    source_key,
)
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.engine import SCHOOL, Engine, MirrorSeal, TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector

PEOPLE, CLASSES, SEATS, REGISTER = "people", "classes", "seats", "register"
SECRET = "correct horse battery staple"


@dataclass
class SecondMis:
    """``rows`` by dataset; ``ends`` decides what is claimed at the end, ``on_read`` may raise."""

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {PEOPLE: [], CLASSES: [], SEATS: [], REGISTER: []}
    )
    ends: Callable[[str], EndOfSnapshot | None] = lambda dataset: EndOfSnapshot(True)
    on_read: Callable[[str], None] = lambda dataset: None
    passwords: list[str] = field(default_factory=list[str])


class _Session:
    def __init__(self, mis: SecondMis) -> None:
        self._mis = mis

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        self._mis.on_read(scope.dataset)
        rows = self._mis.rows[scope.dataset]
        for start in range(int(cursor or 0), max(1, len(rows)), 10):
            last = start + 10 >= len(rows)
            end = self._mis.ends(scope.dataset) if last else None
            yield Page(rows[start : start + 10], str(start + 10), end)


def _person(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = Student(surname=row["last"], forename=row["first"])
    if "born" in row:
        message.date_of_birth = row["born"]
    if "upn" in row:
        message.upn = row["upn"]
    key = source_key("second/pupil", row["uuid"])
    yield Parsed(kinds.KIND_STUDENT, key, message)
    refs = (Ref("student_id", kinds.KIND_STUDENT, key),)
    on_roll = Enrolment(valid_from="2025-09-01")
    yield Parsed(kinds.KIND_ENROLMENT, source_key("second/on-roll", row["uuid"]), on_roll, refs)


def _class(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    yield Parsed(kinds.KIND_GROUP, source_key("second/class", row["uuid"]), Group(name=row["name"]))


def _seat(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    refs = (
        Ref("group_id", kinds.KIND_GROUP, source_key("second/class", row["class"])),
        Ref("student_id", kinds.KIND_STUDENT, source_key("second/pupil", row["pupil"])),
    )
    message = GroupMembership(valid_from=row["from"])
    yield Parsed(kinds.KIND_GROUP_MEMBERSHIP, source_key("second/seat", row["uuid"]), message, refs)


def _register(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    refs = (Ref("student_id", kinds.KIND_STUDENT, source_key("second/pupil", row["pupil"])),)
    message = AttendanceMark(date=row["day"], code=row["code"], period_name="AM")
    yield Parsed(kinds.KIND_ATTENDANCE_MARK, source_key("second/mark", row["uuid"]), message, refs)


def second_connector(mis: SecondMis) -> Connector:
    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[_Session]:
        mis.passwords.append(connection.credentials.get("password", ""))
        yield _Session(mis)

    def dataset(name: str, parser: Any, *specs: KindSpec, windowed: bool = False) -> Dataset:
        return Dataset(name, specs, (name,), parser, 1, windowed=windowed)

    return Connector(
        name="second",
        display_name="Second MIS",
        version="1",
        settings=(FieldSpec("url", "where it is", endpoint=True),),
        credentials=(FieldSpec("password", "the password", required=True),),
        datasets=(
            dataset(
                PEOPLE,
                _person,
                # What refers stands first, as nothing forbids.
                KindSpec(kinds.KIND_ENROLMENT, "second/on-roll"),
                KindSpec(kinds.KIND_STUDENT, "second/pupil"),
            ),
            dataset(CLASSES, _class, KindSpec(kinds.KIND_GROUP, "second/class")),
            dataset(SEATS, _seat, KindSpec(kinds.KIND_GROUP_MEMBERSHIP, "second/seat")),
            dataset(
                REGISTER,
                _register,
                KindSpec(kinds.KIND_ATTENDANCE_MARK, "second/mark", "date"),
                windowed=True,
            ),
        ),
        open=open_session,
    )


class MemoryVault:
    """Keeps credentials as the vault does, in memory, once per request."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._kept: dict[str, dict[str, str]] = {}

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> Any:
        self._kept[school_id] = dict(credentials)
        return await self.store.schools.put_credentials(school_id, b"sealed", TickingClock()(), request_id)

    async def get(self, school_id: str) -> dict[str, str] | None:
        if await self.store.schools.credentials(school_id) is None:
            return None
        return self._kept.get(school_id)

    async def forget(self, school_id: str) -> None:
        self._kept.pop(school_id, None)


@asynccontextmanager
async def moving_engine(
    store: Store, mis: ScriptedMis, second: SecondMis, owner: str = "server-1"
) -> AsyncGenerator[Engine]:
    """Run an engine that knows both MISs; the school begins at the scripted one."""
    store.row_seal = MirrorSeal()
    if not isinstance(store.credentials, MemoryVault):
        store.credentials = MemoryVault(store)
    host = ConnectorHost({"scripted": scripted_connector(mis), "second": second_connector(second)}, {})
    options = SyncOptions(commit_batch=7, segment_rows=10)
    supervisor = Supervisor(store, host, TickingClock(), options, owner, lambda: uuid.uuid4().hex)
    school = School(
        school_id=SCHOOL,
        display_name="Oak",
        connector="scripted",
        data_profile=CORE_PROFILE,
        time_zone="Europe/London",
    )
    await store.schools.create(school, "11111111-1111-4111-8111-111111111111", b"")
    await supervisor.start()
    try:
        yield Engine(store, mis, supervisor)
    finally:
        await supervisor.stop()
