"""A MIS without a network: rows of a world, each a canonical message as JSON, and faults that strike them.

``tests.conformance.toy_connector`` has the connector that reads it, rightly or wrongly.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import (
    KINDS,
    SourceKey,
    Unsupported,
    WriteOperation,
    WriteRequest,
    WriteSafety,
    source_key,
)
from schoolgate_sdk.testing.conformance.comparing import ORDER
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.testing.world import World, WorldError

Rows: TypeAlias = list[dict[str, Any]]

PAGE = 50
SECRET = "the-toy-secret"
SCHOOL, OTHER_SCHOOL = 1, 2
TIMEOUT = 0.05


def _as_json(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        if isinstance(value, str | int | float | bool):
            shown[descriptor.name] = value
        else:
            shown[descriptor.name] = [_as_json(item) for item in value]
    return shown


def name_of(kind: Kind.ValueType) -> str:
    return KINDS[kind].name


NESTING = {"student_contact": "contact"}
"""Entities that are shown with another one nested in them, which has to be granted as well."""

ENTITIES = tuple(name_of(kind) for kind in ORDER)


def entities_of(entity: str) -> tuple[str, ...]:
    """Return an entity, and what nests in it."""
    return (entity, NESTING[entity]) if entity in NESTING else (entity,)


def _writes(name: str, *required: str) -> WriteOperation:
    given = ("student_id", *required)
    return WriteOperation(name, WriteSafety.NATIVE_KEY, given, entities=("writes",), announces=True)


WRITES = (
    _writes("record_attendance_mark", "date", "session", "code", "comment"),
    _writes("record_behaviour_event", "type_code", "occurred_at", "staff_id", "points", "comment"),
    _writes("record_assessment_result", "assessment_name", "result", "date", "subject_id"),
)


def with_subcode(row: dict[str, Any]) -> dict[str, Any]:
    """Return a mark as it is written since August 2024."""
    fields = row["fields"]
    return (
        {**row, "fields": {**fields, "code": f"{fields['code']}01"}} if fields["code"] in {"I", "M"} else row
    )


def padded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose texts are padded."""
    fields = {name: _padded(value) for name, value in row["fields"].items()}
    return {**row, "fields": fields, "key": [_padded(part) for part in row["key"]]}


def _padded(value: Any) -> Any:
    return f"{value}   " if isinstance(value, str) else value


@dataclass
class ToyMis:
    """The MIS. ``states`` are what it was at positions that it told, ``written`` what came of writes, and
    ``keys`` under which keys that is read.
    """

    world: World
    granted: set[str] = field(default_factory=lambda: set(ENTITIES))
    expired: bool = False
    faults: list[Fault] = field(default_factory=list[Fault])
    requests: int = 0
    struck: Counter[str] = field(default_factory=Counter[str])
    states: dict[str, Rows] = field(default_factory=dict[str, Rows])
    written: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    keys: dict[str, tuple[SourceKey, ...]] = field(default_factory=dict[str, tuple[SourceKey, ...]])
    _revision: int = -1
    _rows: dict[str, Rows] = field(default_factory=dict[str, Rows])

    def rows(self, entity: str) -> Rows:
        """Return all rows as they are now."""
        if self._revision != self.world.revision:
            self._rows = {name: [] for name in ENTITIES}
            for truth in self.world.canonical():
                self._rows[name_of(truth.kind)].append(
                    {
                        "school": SCHOOL,
                        "key": list(truth.key),
                        "fields": _as_json(truth.message),
                        "refs": [[ref.field, name_of(ref.kind), list(ref.key)] for ref in truth.refs],
                    }
                )
            self._revision = self.world.revision
        return self._rows[entity]

    def remember(self, entity: str) -> str:
        """Return a position of now, from which changes can be asked for."""
        position = f"position {len(self.states)}"
        self.states[position] = list(self.rows(entity))
        return position

    def strike(self, entity: str, page: int) -> Fault | None:
        """Return the fault that strikes a request."""
        for place, fault in enumerate(self.faults):
            later = fault.kind == "loop_page" and fault.page is not None and page > fault.page
            if fault.entity not in {None, entity} or not (later or fault.page in {None, page}):
                continue
            if fault.times is not None:
                del self.faults[place]
            self.struck[fault.kind] += 1
            return fault
        return None

    def fault(self, fault: Fault) -> None:
        """Take a fault; grants change at once."""
        if fault.kind == "grant" and fault.entity:
            self.granted.add(fault.entity)
        elif fault.kind == "revoke" and fault.entity and fault.page is None:
            self.granted.discard(fault.entity)
        elif fault.kind == "expire_credentials":
            self.expired = True
        else:
            self.faults.append(fault)

    def write(self, request: WriteRequest) -> str:
        """Do to the world what a write asks for, and return the number of what came to be."""
        entity = request.operation.removeprefix("record_")
        before = list(self.rows(entity))
        number = self._do(request)
        changed = [row["key"] for row in self.rows(entity) if row not in before]
        self.keys[request.idempotency_key] = tuple(source_key(f"toy/{entity}", *key) for key in changed)
        return number

    def _do(self, request: WriteRequest) -> str:
        values: Any = request.values
        student = values["student_id"]
        assert isinstance(student, SourceKey)
        pupil = student.parts[0]
        assert isinstance(pupil, int)
        world = self.world
        try:
            match request.operation:
                case "record_attendance_mark":
                    day = datetime.fromisoformat(values["date"]).date()
                    world.record_mark(
                        pupil, day, values["code"], session=values["session"], comment=values["comment"]
                    )
                    return f"{pupil}-{day}"
                case "record_behaviour_event":
                    at = datetime.fromisoformat(values["occurred_at"]).replace(tzinfo=None)
                    kind = next(
                        kind.number
                        for kind in world.behaviour_types.values()
                        if values["type_code"] in {str(kind.number), kind.name}
                    )
                    event = world.record_behaviour(
                        pupil,
                        kind,
                        at,
                        points=values["points"],
                        staff=values["staff_id"].parts[0],
                        comment=values["comment"],
                    )
                    return str(event.number)
                case _:
                    result = world.record_result(
                        pupil,
                        values["assessment_name"],
                        values["result"],
                        subject=values["subject_id"].parts[0],
                        entered_on=datetime.fromisoformat(values["date"]).date(),
                    )
                    return str(result.number)
        except WorldError as refused:
            raise Unsupported("the MIS refuses the write") from refused
