"""A connector that can do everything that the SDK knows; parts of it are replaced to see the kit find out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from schoolgate.v1.diagnostics_service_pb2 import DECISION_REASON_VALUE_INVALID
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK, Kind
from schoolgate_sdk import (
    KINDS,
    AuthExpired,
    AuthInvalid,
    ChangedRows,
    Connector,
    CursorExpired,
    Dataset,
    Departure,
    EndOfSnapshot,
    EntityDenied,
    EntityGrantState,
    FieldSpec,
    Incomplete,
    KindSpec,
    Page,
    Parsed,
    Parser,
    RateLimited,
    Ref,
    Row,
    RowRejected,
    SchemaChanged,
    SchoolConnection,
    Scope,
    SourceKey,
    Transient,
    Unsupported,
    WriteReceipt,
    WriteRequest,
    source_key,
)
from schoolgate_sdk.kinds import KINDS_BY_NAME
from schoolgate_sdk.testing.conformance.comparing import ORDER
from schoolgate_sdk.testing.conformance.target import FAULTS, Clock, ConformanceTarget, Fault, SimulatedMis
from schoolgate_sdk.testing.world import World
from schoolgate_sdk.traffic import Turn
from tests.conformance.toy import (
    ENTITIES,
    OTHER_SCHOOL,
    PAGE,
    SCHOOL,
    SECRET,
    TIMEOUT,
    WRITES,
    Rows,
    ToyMis,
    entities_of,
    name_of,
    padded,
    with_subcode,
)

_ATTEMPTS = 3
_MISES: dict[str, ToyMis] = {}
"""The MISs that are being served, by the address with which a school is registered."""


def _refused(field: str, key: SourceKey | None = None) -> RowRejected:
    return RowRejected(DECISION_REASON_VALUE_INVALID, field, "is not what it should be", key)


def _dict(value: Any, key: SourceKey) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused("fields", key)
    return cast("dict[str, Any]", value)


def _list(value: Any, key: SourceKey | None) -> list[Any]:
    if not isinstance(value, list):
        raise _refused("refs" if key else "key", key)
    return cast("list[Any]", value)  # type: ignore[redundant-cast] # to pyright it is none


def _keyed(space: str, parts: Any) -> SourceKey:
    texts = [_trimmed(part) for part in _list(parts, None)]
    try:
        return source_key(f"toy/{space}", *texts)
    except (TypeError, ValueError):
        raise _refused("key") from None


def _trimmed(value: Any) -> Any:
    return value.strip() or None if isinstance(value, str) else value


def parser_of(kind: Kind.ValueType) -> Parser:
    """Return the parser of a kind's rows."""
    info, references = KINDS[kind], set(KINDS[kind].references)

    def parse(row: Row, _settings: Mapping[str, str], /) -> list[Parsed]:
        key = _keyed(info.name, row.get("key"))
        fields, refs = _dict(row.get("fields"), key), _list(row.get("refs"), key)
        code = fields.get("code")
        if kind == KIND_ATTENDANCE_MARK and isinstance(code, str) and len(code.strip()) > 2:
            fields = {**fields, "code": code[0], "subcode": code[1:]}
        try:
            message = info.message(**{name: _trimmed(value) for name, value in fields.items()})
        except (AttributeError, TypeError, ValueError):
            raise _refused("fields", key) from None
        found: list[Ref] = []
        for ref in refs:
            named = _list(ref, key)
            if len(named) != 3 or named[0] not in references or named[1] not in KINDS_BY_NAME:
                raise _refused("refs", key)
            found.append(Ref(named[0], KINDS_BY_NAME[named[1]].kind, _keyed(named[1], named[2])))
        return [Parsed(kind, key, message, tuple(found))]

    return parse


@dataclass(frozen=True)
class Answer:
    rows: Rows
    total: int


class ToySession:
    """Implements every protocol of the SDK."""

    def __init__(self, mis: ToyMis, connection: SchoolConnection) -> None:
        self.mis = mis
        self.connection = connection

    # --- asking -------------------------------------------------------------------------------------------

    async def ask(self, entity: str, page: int, rows: Rows | None = None) -> Answer:
        """Ask for a page, again where that may help."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self.ask_once(entity, page, rows)
            except Transient:
                if attempt == _ATTEMPTS - 1:
                    raise
            except RateLimited as error:
                until = error.until
                patient = until is None or until - self.connection.now() < timedelta(seconds=30)
                if attempt == _ATTEMPTS - 1 or not patient:
                    raise
        raise AssertionError

    async def ask_once(self, entity: str, page: int, rows: Rows | None = None) -> Answer:
        connection = self.connection
        road = connection.traffic.road(
            "toy://mis", connection.school_id, now=connection.now, quiet=connection.quiet
        )
        async with road.turn(30.0, entity=entity) as turn:
            self.mis.requests += 1
            fault = self.admit(entity, page)
            if fault is not None:
                await self.suffer(fault, turn, entity)
            answer = self.page(entity, page, self.mis.rows(entity) if rows is None else rows, fault)
            self.check_school(entity, answer)
            return answer

    def check_school(self, entity: str, answer: Answer) -> None:
        if any(row["school"] != SCHOOL for row in answer.rows):
            raise SchemaChanged("rows are another school's", entity=entity)

    def admit(self, entity: str, page: int) -> Fault | None:
        if self.connection.credentials["secret"] != SECRET:
            raise AuthInvalid("the MIS does not accept the secret")
        if self.mis.expired:
            raise AuthExpired("the secret has expired")
        if entity not in ENTITIES:
            raise Unsupported("the MIS does not know the entity", entity=entity)
        fault = self.mis.strike(entity, page)
        if fault is not None and fault.kind == "revoke":
            self.mis.granted.discard(entity)
        for name in entities_of(entity):
            if name not in self.mis.granted:
                raise self.denied(entity, name)
        return fault

    def denied(self, _entity: str, missing: str) -> EntityDenied:
        return EntityDenied("the school has not granted the entity", entity=missing)

    async def suffer(self, fault: Fault, turn: Turn, entity: str) -> None:
        match fault.kind:
            case "slow":
                await asyncio.sleep(fault.seconds or 0.0)
            case "late":
                await asyncio.sleep(min(TIMEOUT, fault.seconds or 0.0))
                raise Transient("no answer in time", entity=entity)
            case "status" if fault.status is not None and fault.status < 500:
                raise SchemaChanged("an answer that is not known", entity=entity)
            case "cut" | "reset" | "status" | "invalid_json" | "success_false" | "null_data":
                raise Transient("the MIS is unwell", entity=entity)
            case "rate_limit":
                self.pause(turn, fault.retry_after)
            case "registration_hour" if self.mis.requests % 4 == 0:
                self.pause(turn, "0")
            case _:
                pass

    def pause(self, turn: Turn, retry_after: str | None) -> None:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        turn.asked_to_pause(seconds, 0.001)
        until = None if seconds is None else self.connection.now() + timedelta(seconds=seconds)
        raise RateLimited("the MIS asks for a pause", until=until)

    def page(self, entity: str, page: int, every: Rows, fault: Fault | None) -> Answer:
        number = fault.page if fault and fault.kind == "loop_page" and fault.page is not None else page
        rows = every[number * PAGE : (number + 1) * PAGE]
        match fault:
            case Fault(kind="truncate_page", keep=keep):
                rows = rows[: len(rows) // 2 if keep is None else keep]
            case Fault(kind="duplicate_rows"):
                rows = [row for row in rows for _ in range(2)]
            case Fault(kind="padded_rows"):
                rows = [padded(row) for row in rows]
            case Fault(kind="other_school"):
                rows = [{**row, "school": OTHER_SCHOOL, "key": ["other", *row["key"]]} for row in rows]
            case Fault(kind="mark_change"):
                rows = [with_subcode(row) for row in rows]
            case _:
                pass
        return Answer(rows, len(every))

    # --- reading ------------------------------------------------------------------------------------------

    def every(self, scope: Scope) -> Rows | None:
        """Return the rows of a window; ``None`` for all that there are."""
        if scope.date_from is None or scope.date_to is None:
            return None
        first, end = scope.date_from.isoformat(), scope.date_to.isoformat()
        return [row for row in self.mis.rows(scope.dataset) if first <= row["fields"]["date"] < end]

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        entity = scope.dataset
        page, seen, total, position = _progress(cursor)
        position = position or self.mis.remember(entity)
        contradiction = None
        while True:
            answer = await self.ask(entity, page, self.every(scope))
            if total not in {-1, answer.total}:
                contradiction = "the number of rows changed"
            total = answer.total
            if not answer.rows or seen > total:
                end = EndOfSnapshot(not answer.rows, total, contradiction, position)
                yield Page(cursor=json.dumps([page, seen, total, position]), end=end)
                return
            page, seen = page + 1, seen + len(answer.rows)
            yield Page(answer.rows, json.dumps([page, seen, total, position]))

    async def count(self, scope: Scope) -> int | None:
        every = self.every(scope)
        return len(self.mis.rows(scope.dataset) if every is None else every)

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        wanted = {tuple(key.parts) for key in keys}
        return [row for row in self.mis.rows(scope.dataset) if tuple(row["key"]) in wanted]

    async def changes(self, scope: Scope, cursor: str, _overlap: timedelta) -> AsyncIterator[ChangedRows]:
        if cursor not in self.mis.states:
            raise CursorExpired("the position is not known")
        before = {json.dumps(row["key"]): row for row in self.mis.states[cursor]}
        position = self.mis.remember(scope.dataset)
        now = {json.dumps(row["key"]): row for row in self.mis.rows(scope.dataset)}
        changed = [row for key, row in now.items() if before.get(key) != row]
        gone = [_keyed(scope.dataset, json.loads(key)) for key in before.keys() - now.keys()]
        yield ChangedRows(changed, (), position)
        yield ChangedRows((), gone, position, end=True)

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        states: dict[str, EntityGrantState] = {}
        for entity in entities:
            try:
                await self.ask(entity, 0)
            except EntityDenied:
                states[entity] = EntityGrantState.DENIED
            except Unsupported:
                states[entity] = EntityGrantState.UNKNOWN_ENTITY
            else:
                states[entity] = EntityGrantState.GRANTED
        return states

    # --- writing ------------------------------------------------------------------------------------------

    async def write(self, request: WriteRequest) -> WriteReceipt:
        request.leaving(Departure("POST writes", json.dumps(request.values, default=str)))
        fault = self.mis.strike("writes", 0)
        if fault is not None and fault.kind == "error_before_effect":
            raise Transient("the MIS is unwell")
        self.take(request)
        if fault is not None:
            raise Transient("no answer came")
        return self.receipt(request)

    def receipt(self, request: WriteRequest) -> WriteReceipt:
        key = request.idempotency_key
        return WriteReceipt(self.mis.written[key], keys=self.mis.keys[key])

    def take(self, request: WriteRequest) -> None:
        """Let it take effect, once under its key."""
        if request.idempotency_key not in self.mis.written:
            self.mis.written[request.idempotency_key] = (self.mis.write(request),)

    async def find_write(self, request: WriteRequest, _receipt: WriteReceipt | None) -> WriteReceipt | None:
        return self.receipt(request) if request.idempotency_key in self.mis.written else None


def _progress(cursor: str) -> tuple[int, int, int, str]:
    if not cursor:
        return 0, 0, -1, ""
    try:
        match json.loads(cursor):
            case [int(page), int(seen), int(total), str(position)]:
                return page, seen, total, position
            case _:
                pass
    except json.JSONDecodeError:
        pass
    raise Incomplete("the cursor is none of this connector's")


# --- describing ------------------------------------------------------------------------------------------


def dataset_of(kind: Kind.ValueType) -> Dataset:
    windowed = "date" if kind == KIND_ATTENDANCE_MARK else None
    spec = KindSpec(kind, f"toy/{name_of(kind)}", windowed)
    return Dataset(
        name_of(kind), (spec,), entities_of(name_of(kind)), parser_of(kind), 1, windowed=windowed is not None
    )


@asynccontextmanager
async def start(world: World, _now: Clock) -> AsyncGenerator[SimulatedMis]:
    """Serve a world, without a network."""
    mis = ToyMis(world)
    address = f"toy-{id(mis)}"
    _MISES[address] = mis

    def clear() -> None:
        mis.faults.clear()
        mis.expired = False

    try:
        yield SimulatedMis(
            world,
            settings={"base_url": address},
            credentials={"secret": SECRET},
            fault=mis.fault,
            clear_faults=clear,
            struck=lambda kind: mis.struck[kind],
            requests=lambda: mis.requests,
            timeout=TIMEOUT,
        )
    finally:
        del _MISES[address]


def opening(
    session: Callable[[ToyMis, SchoolConnection], ToySession],
) -> Callable[[SchoolConnection], Any]:
    """Return what opens sessions of a class."""

    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[ToySession]:
        if not connection.credentials.get("secret"):
            raise AuthInvalid("the secret is missing")
        yield session(_MISES[connection.settings["base_url"]], connection)

    return open_session


TARGET = ConformanceTarget(start=start, faults=frozenset(FAULTS))


def toy_connector() -> Connector:
    """Return the description."""
    return Connector(
        name="toy",
        display_name="Toy MIS",
        version="1.0",
        settings=(FieldSpec("base_url", "Where the MIS is.", required=True, endpoint=True),),
        credentials=(FieldSpec("secret", "The school's secret.", required=True),),
        datasets=tuple(dataset_of(kind) for kind in ORDER),
        open=opening(ToySession),
        capabilities=frozenset({"changes", "count", "grants", "read_back"}),
        conformance=lambda: TARGET,
        writes=WRITES,
    )
