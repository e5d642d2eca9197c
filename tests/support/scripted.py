"""A MIS as a Python object, and a connector for it: every row, page and fault is what the test says.

The engine's own tests need a MIS that can do anything at any moment, wrong things above all; what real HTTP
and a real dialect do is shown with the Bromcom simulator.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.groups_pb2 import Group, GroupMembership
from schoolgate.v1.people_pb2 import Student
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
    RowRejected,
    SchoolConnection,
    Scope,
    SourceKey,
    source_key,
)

STUDENTS, GROUPS, MEMBERSHIPS, MARKS = "students", "groups", "memberships", "marks"


def student(number: int | str, surname: str = "Adeyemi", **extra: Any) -> dict[str, Any]:
    return {"id": number, "surname": surname, **extra}


def group(number: int, name: str = "7A") -> dict[str, Any]:
    return {"id": number, "name": name}


def member(group_id: int, person: int, begins: str = "2026-09-01", ends: str = "") -> dict[str, Any]:
    return {"group": group_id, "person": person, "from": begins, "to": ends}


def mark(student_id: int, day: str, code: str = "/") -> dict[str, Any]:
    return {"student": student_id, "date": day, "code": code}


@dataclass
class ScriptedMis:
    """What the MIS has, and how it misbehaves.

    ``on_page`` is called before each page with the dataset and the page's index and may raise or change
    ``rows``; ``ends`` decides what is claimed at the end; ``truncate`` keeps rows back from whole reads only.
    """

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {STUDENTS: [], GROUPS: [], MEMBERSHIPS: [], MARKS: []}
    )
    page_size: int = 10
    on_page: Callable[[str, int], Awaitable[None] | None] = lambda dataset, index: None
    ends: Callable[[str, int], EndOfSnapshot | None] = lambda dataset, rows: EndOfSnapshot(True)
    truncate: dict[str, int] = field(default_factory=dict[str, int])
    pages_read: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    opened: int = 0

    def snapshot(self, dataset: str) -> list[dict[str, Any]]:
        rows = self.rows[dataset]
        return rows[: len(rows) - self.truncate.get(dataset, 0)]


class ScriptedSession:
    def __init__(self, mis: ScriptedMis) -> None:
        self._mis = mis

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        mis, index = self._mis, int(cursor or 0)
        while True:
            interference = mis.on_page(scope.dataset, index)
            if interference is not None:
                await interference
            mis.pages_read.append((scope.dataset, index))
            rows = mis.snapshot(scope.dataset)
            page = rows[index * mis.page_size : (index + 1) * mis.page_size]
            index += 1
            if index * mis.page_size >= len(rows):
                yield Page(page, str(index), mis.ends(scope.dataset, len(rows)))
                return
            yield Page(page, str(index))

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        wanted = {key.parts for key in keys}
        return [row for row in self._mis.rows[scope.dataset] if _key_parts(scope.dataset, row) in wanted]


def _key_parts(dataset: str, row: Row) -> tuple[Any, ...]:
    fields = {MEMBERSHIPS: ("group", "person", "from"), MARKS: ("student", "date")}.get(dataset, ("id",))
    return tuple(row[name] for name in fields)


def _key(dataset: str, row: Row) -> SourceKey:
    if row.get("broken"):
        raise RowRejected(
            diagnostics.DECISION_REASON_VALUE_INVALID, "broken", "the value is no value", key_of(dataset, row)
        )
    if row.get("id", 1) is None:
        raise RowRejected(diagnostics.DECISION_REASON_KEY_MISSING, "id", "the row has no id")
    return key_of(dataset, row)


def key_of(dataset: str, row: Row) -> SourceKey:
    return source_key(f"scripted/{dataset}", *_key_parts(dataset, row))


def parse_student(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = Student(surname=row["surname"])
    for name in ("forename", "sex_code", "ethnicity_code", "upn", "date_of_birth"):
        if name in row:
            setattr(message, name, row[name])
    others = (source_key("scripted/person", row["person"]),) if "person" in row else ()
    former = tuple(source_key("scripted/students", number) for number in row.get("formerly", ()))
    yield Parsed(kinds.KIND_STUDENT, _key(STUDENTS, row), message, other_keys=others, former_keys=former)


def parse_group(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    yield Parsed(kinds.KIND_GROUP, _key(GROUPS, row), Group(name=row["name"]))


def parse_membership(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = GroupMembership(valid_from=row["from"])
    if row["to"]:
        message.valid_to = row["to"]
    refs = (
        Ref("group_id", kinds.KIND_GROUP, source_key("scripted/groups", row["group"])),
        Ref("student_id", kinds.KIND_STUDENT, source_key("scripted/person", row["person"])),
    )
    yield Parsed(kinds.KIND_GROUP_MEMBERSHIP, _key(MEMBERSHIPS, row), message, refs)


def parse_mark(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    refs = (Ref("student_id", kinds.KIND_STUDENT, source_key("scripted/students", row["student"])),)
    message = AttendanceMark(date=row["date"], code=row["code"], period_name="AM")
    yield Parsed(kinds.KIND_ATTENDANCE_MARK, _key(MARKS, row), message, refs)


def scripted_connector(mis: ScriptedMis, *, parser_version: int = 1) -> Connector:
    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[ScriptedSession]:
        mis.opened += 1
        yield ScriptedSession(mis)

    return Connector(
        name="scripted",
        display_name="Scripted MIS",
        version="1",
        settings=(FieldSpec("site", "which site's rows are read", default="main"),),
        credentials=(),
        datasets=(
            _dataset(STUDENTS, kinds.KIND_STUDENT, parse_student, parser_version),
            _dataset(GROUPS, kinds.KIND_GROUP, parse_group, parser_version),
            _dataset(MEMBERSHIPS, kinds.KIND_GROUP_MEMBERSHIP, parse_membership, parser_version),
            _dataset(MARKS, kinds.KIND_ATTENDANCE_MARK, parse_mark, parser_version, "date"),
        ),
        open=open_session,
    )


def _dataset(name: str, kind: Any, parser: Any, version: int, windowed_by: str | None = None) -> Dataset:
    spec = KindSpec(kind, f"scripted/{name}", windowed_by)
    return Dataset(name, (spec,), (name,), parser, version, windowed=windowed_by is not None)
