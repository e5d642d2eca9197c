"""The connector of the MIS for writes: an operation of each safety class, each found again in its own way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import orjson

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.attendance_pb2 import AttendanceMark, AttendanceSession
from schoolgate.v1.behaviour_pb2 import BehaviourEvent
from schoolgate.v1.people_pb2 import Staff, Student
from schoolgate_sdk import (
    Connector,
    Dataset,
    EndOfSnapshot,
    EntityGrantState,
    FieldSpec,
    Incomplete,
    KindSpec,
    Leaving,
    Page,
    Parsed,
    Parser,
    Ref,
    Row,
    SchoolConnection,
    Scope,
    SourceKey,
    Unsupported,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteSafety,
    WriteValue,
    hookimpl,
    source_key,
)
from schoolgate_sdk.http import Answer, HttpClient, HttpOptions, Request, http_client
from tests.support.write_mis.book import EVENTS, MARKS, NOTES, RESULTS

NAME = "ledgermis"
STUDENTS, STAFF = "students", "staff"

ENTITY = {
    "record_attendance_mark": MARKS,
    "record_assessment_result": RESULTS,
    "record_behaviour_event": EVENTS,
    "record_intervention_note": NOTES,
}
_FIELDS = {
    MARKS: ("date", "session", "period_name", "code", "comment"),
    RESULTS: ("assessment_name", "result", "date"),
    EVENTS: ("type_code", "occurred_at", "points", "comment", "staff_id"),
    NOTES: ("type_code", "date", "note", "staff_id"),
}

OPERATIONS = (
    WriteOperation(
        "record_attendance_mark",
        WriteSafety.NATIVE_KEY,
        ("student_id", "date", "session", "code"),
        ("period_name", "comment"),
        announces=True,
    ),
    WriteOperation(
        "record_assessment_result",
        WriteSafety.EXTERNAL_ID,
        ("student_id", "assessment_name", "result", "date"),
        announces=True,
    ),
    WriteOperation(
        "record_behaviour_event",
        WriteSafety.NATURAL_KEY_READBACK,
        ("student_id", "type_code", "occurred_at", "points", "staff_id"),
        ("comment",),
        natural_key=("student_id", "type_code", "occurred_at"),
        announces=True,
    ),
    WriteOperation(
        "record_intervention_note",
        WriteSafety.NONE,
        ("student_id", "type_code", "date", "note", "staff_id"),
        announces=True,
    ),
)


class Door(Protocol):
    """A way into the MIS."""

    async def ask(self, path: str, params: Mapping[str, str]) -> Any:
        """Return the answer to a question."""
        ...

    async def post(
        self, entity: str, headers: Mapping[str, str], body: Mapping[str, WriteValue], leaving: Leaving
    ) -> dict[str, Any]:
        """Send a write once; ``leaving`` is called immediately before."""
        ...


class HttpDoor:
    """The door to the MIS that is a process of its own."""

    def __init__(self, http: HttpClient, url: str) -> None:
        self._http = http
        self._url = url

    async def ask(self, path: str, params: Mapping[str, str]) -> Any:
        def decode(answer: Answer) -> Any:
            return orjson.loads(answer.body)

        request = Request("GET", f"{self._url}/{path}", path.partition("/")[0], params=params)
        return await self._http.read(request, decode)

    async def post(
        self, entity: str, headers: Mapping[str, str], body: Mapping[str, WriteValue], leaving: Leaving
    ) -> dict[str, Any]:
        request = Request(
            "POST",
            f"{self._url}/{entity}",
            entity,
            headers={"Content-Type": "application/json", **headers},
            body=orjson.dumps(dict(body)),
            accept=frozenset({201, 202}),
        )
        answer: dict[str, Any] = orjson.loads((await self._http.send(request, leaving=leaving)).body)
        return answer


class LedgerSession:
    """One session; it sends every write once, and asks the MIS in the way that its operation allows."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        start = int(cursor or 0)
        while True:
            answer = await self._ask(scope.dataset, **{"from": str(start)})
            start = answer["next"]
            if start >= answer["total"]:
                yield Page(answer["rows"], str(start), EndOfSnapshot(True, answer["total"]))
                return
            yield Page(answer["rows"], str(start))

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        if scope.dataset in {STUDENTS, STAFF}:
            wanted = {key.parts[0] for key in keys}
            return [row for row in (await self._ask(scope.dataset))["rows"] if row["id"] in wanted]
        answer = await self._ask(scope.dataset, ids=",".join(str(key.parts[0]) for key in keys))
        rows: Sequence[Row] = answer["rows"]
        return rows

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        return dict.fromkeys(entities, EntityGrantState.GRANTED)

    async def write(self, request: WriteRequest) -> WriteReceipt:
        entity = _entity(request)
        headers = {"X-Judge": request.idempotency_key}
        if entity == MARKS:
            headers["Idempotency-Key"] = request.idempotency_key
        answer = await self._door.post(entity, headers, _body(entity, request), request.leaving)
        if "job" in answer:
            return WriteReceipt(pending=str(answer["job"]), response="accepted")
        return _receipt(entity, answer["id"]) if "id" in answer else WriteReceipt(response="accepted")

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        entity = _entity(request)
        if receipt is not None and receipt.pending is not None:
            row = (await self._ask(f"jobs/{receipt.pending}"))["row"]
            return receipt if row is None else _receipt(entity, row)
        match entity:
            case "marks":
                rows = (await self._ask(entity, key=request.idempotency_key))["rows"]
            case "results":
                rows = (await self._ask(entity, external_id=request.idempotency_key))["rows"]
            case "events":
                rows = await self._alike(request)
            case _:
                raise Unsupported("the MIS does not show notes", entity=entity)
        if len(rows) > 1:
            raise Incomplete("several could be it", entity=entity)
        if not rows:
            return None
        [row] = rows
        return _receipt(entity, row["id"]) if row["done"] else WriteReceipt(pending=str(row["id"]))

    async def _alike(self, request: WriteRequest) -> list[dict[str, Any]]:
        """Return the pupil's events that this write can have made, or another one with the same content."""
        body = _body(EVENTS, request)
        rows = (await self._ask(EVENTS, pupil=str(body["pupil"]), day=str(body["occurred_at"])[:10]))["rows"]
        return [
            row
            for row in rows
            if all(row.get(name) == value for name, value in body.items())
            and (request.not_before is None or _moment(row) >= request.not_before)
        ]

    async def _ask(self, path: str, **params: str) -> Any:
        return await self._door.ask(path, params)


def _entity(request: WriteRequest) -> str:
    if request.operation not in ENTITY:
        raise Unsupported(f"{request.operation} is not written here")
    return ENTITY[request.operation]


def _body(entity: str, request: WriteRequest) -> dict[str, WriteValue]:
    body: dict[str, WriteValue] = {"pupil": cast("SourceKey", request.values["student_id"]).parts[0]}
    for name in _FIELDS[entity]:
        value = request.values.get(name)
        if value is not None:
            body[name] = value.parts[0] if isinstance(value, SourceKey) else value
    if entity == RESULTS:
        body["external_id"] = request.idempotency_key
    return body


def _receipt(entity: str, number: int) -> WriteReceipt:
    return WriteReceipt((str(number),), keys=(source_key(f"{NAME}/{entity}", number),), response="done")


def _moment(row: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(row["at"], UTC)


def _student(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = Student(surname=row["surname"], forename=row["forename"])
    yield Parsed(kinds.KIND_STUDENT, source_key(f"{NAME}/student", row["id"]), message)


def _member_of_staff(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = Staff(surname=row["surname"], forename=row["forename"])
    yield Parsed(kinds.KIND_STAFF, source_key(f"{NAME}/staff", row["id"]), message)


def _pupil(row: Row) -> tuple[Ref, ...]:
    return (Ref("student_id", kinds.KIND_STUDENT, source_key(f"{NAME}/student", row["pupil"])),)


def _mark(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    session = AttendanceSession.Value(f"ATTENDANCE_SESSION_{row['session']}")
    message = AttendanceMark(date=row["date"], session=session, code=row["code"])
    if "period_name" in row:
        message.period_name = row["period_name"]
    yield Parsed(kinds.KIND_ATTENDANCE_MARK, source_key(f"{NAME}/{MARKS}", row["id"]), message, _pupil(row))


def _result(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = AssessmentResult(
        assessment_name=row["assessment_name"], result=row["result"], entered_on=row["date"]
    )
    key = source_key(f"{NAME}/{RESULTS}", row["id"])
    yield Parsed(kinds.KIND_ASSESSMENT_RESULT, key, message, _pupil(row))


def _event(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    message = BehaviourEvent(type_code=row["type_code"], occurred_at=row["occurred_at"], points=row["points"])
    key = source_key(f"{NAME}/{EVENTS}", row["id"])
    yield Parsed(kinds.KIND_BEHAVIOUR_EVENT, key, message, _pupil(row))


def _dataset(name: str, kind: kinds.Kind.ValueType, namespace: str, parser: Parser) -> Dataset:
    return Dataset(name, (KindSpec(kind, f"{NAME}/{namespace}"),), (name,), parser, 1)


@asynccontextmanager
async def _open(connection: SchoolConnection) -> AsyncGenerator[LedgerSession]:
    options = HttpOptions(
        "The MIS for writes",
        timeout=float(connection.settings["timeout_seconds"]),
        read_attempts=4,
        retry_wait=0.05,
        longest_wait=1.0,
    )
    async with http_client(connection, options, {}) as http:
        yield LedgerSession(HttpDoor(http, connection.settings["url"]))


def ledger_connector(
    opens: Callable[[SchoolConnection], AbstractAsyncContextManager[LedgerSession]],
) -> Connector:
    """Return the connector whose sessions ``opens`` makes."""
    return Connector(
        name=NAME,
        display_name="The MIS for writes",
        version="1",
        settings=(
            FieldSpec("url", "Where it is.", required=True, endpoint=True),
            FieldSpec("timeout_seconds", "Longest time for a request.", default="1", scope=False),
        ),
        credentials=(),
        datasets=(
            _dataset(STUDENTS, kinds.KIND_STUDENT, "student", _student),
            _dataset(STAFF, kinds.KIND_STAFF, "staff", _member_of_staff),
            _dataset(MARKS, kinds.KIND_ATTENDANCE_MARK, MARKS, _mark),
            _dataset(RESULTS, kinds.KIND_ASSESSMENT_RESULT, RESULTS, _result),
            _dataset(EVENTS, kinds.KIND_BEHAVIOUR_EVENT, EVENTS, _event),
        ),
        open=opens,
        writes=OPERATIONS,
    )


@hookimpl
def schoolgate_connector() -> Connector:
    """Return the connector."""
    return ledger_connector(_open)
