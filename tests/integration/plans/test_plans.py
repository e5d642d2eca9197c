"""Every read that the API can send is planned over an index, and sorts nothing that grows with the years."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from pymongo import AsyncMongoClient

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, Record
from schoolgate_sdk import KINDS, KindInfo
from schoolgate_sdk.testing.world import World
from schoolgate_server.model.questions import GROWING, INDEXED_REFERENCES, day_field
from schoolgate_server.rpc.expansion import leading
from schoolgate_server.rpc.filters import filterable, is_date_field, operators_for
from schoolgate_server.store.store import Store
from schoolgate_server.store.together import together
from schoolgate_server.writeback.validation.facts import Copy, Tables, Wanted
from tests.support.engine import TickingClock
from tests.support.mongo import mongo_uri
from tests.support.plans import Captured, plans_of
from tests.support.related import related
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, served
from tests.support.world_store import WorldStore

__all__ = ["mongo_uri"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.mongod,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("plans"),
]

SCHOOL = "oak"
DAY = "2026-09-08"
SPAN = ("2026-09-01T00:00:00Z", "2026-09-10T00:00:00Z")
MARK = k.KIND_ATTENDANCE_MARK
EQUAL = q.FILTER_OPERATOR_EQUAL
WHOLE: list[dict[str, Any]] = [{}, {"include_tombstones": True}, {"effective_on": DAY}]
"""Ways to ask for a kind, or for some of it."""


@dataclass
class Oak:
    """A school whose every record has been written twice, and of which some pupils have left."""

    client: Client
    captured: Captured
    store: Store
    world: World
    stored: WorldStore
    before: int
    at: Timestamp
    published: int

    async def ask(self, label: str, method: Any, request: Any) -> list[Any]:
        """Send a request that must be answered; what it has the store read is captured under ``label``."""
        self.captured.label = label
        call = method(request)
        try:
            return [response async for response in call] if hasattr(call, "__aiter__") else [await call]
        except grpc.aio.AioRpcError as error:
            raise AssertionError(f"{label}: {error.details()}") from None

    async def as_of_both(self, label: str, method: Any, request: Any) -> None:
        """Ask as of now and of before: what has been superseded since then is read in another way."""
        for when, seq in (("now", 0), ("then", self.before)):
            self.captured.when = when
            request.known_at_seq = seq
            await self.ask(label, method, request)

    async def select(self, label: str, kind: k.Kind.ValueType, **asked: Any) -> None:
        """Ask for the records so selected, page by page, and for their number."""
        pages = q.QueryRecordsRequest(school_id=SCHOOL, kind=kind, page_size=2, max_records=5, **asked)
        await self.as_of_both(label, self.client.query.QueryRecords, pages)
        if not asked.keys() & {"order_by", "expand"}:
            count = q.CountRecordsRequest(school_id=SCHOOL, kind=kind, **asked)
            await self.as_of_both(f"count {label}", self.client.query.CountRecords, count)

    async def sample(self, kind: k.Kind.ValueType) -> Record:
        request = q.QueryRecordsRequest(school_id=SCHOOL, kind=kind, max_records=1)
        [page] = await self.ask("sample", self.client.query.QueryRecords, request)
        return page.records[0] if page.records else Record()

    async def wrong(self) -> str:
        """Return the plans that should not be, and of which questions."""
        assert self.captured.commands
        plans = await plans_of(self.store.database.driver, self.captured, self.published)
        return "\n".join(str(plan) for plan in plans if plan.wrong)


async def school_of(
    store: Store, school_id: str, world: World, clock: TickingClock
) -> tuple[WorldStore, int, Timestamp]:
    """Store a world, then half of it once more; return also when it was whole."""
    stored = WorldStore(store, school_id)
    await stored.register()
    # The world's results and events are few, and of few days.
    for kind, length in ((k.KIND_ASSESSMENT_RESULT, 10), (k.KIND_BEHAVIOUR_EVENT, 20)):
        days = [f"2026-{number % 12 + 1:02d}-05T10:00:00Z"[:length] for number in range(150)]
        fields: list[dict[str, Any]] = [{str(KINDS[kind].on): day} for day in days]
        first = int.from_bytes(school_id.encode())  # the ids of two schools differ
        await stored.put_changes(
            [related(kind, number, number % 9 + 1, **one) for number, one in enumerate(fields, first)]
        )
    before = await stored.put_world(world)
    at = Timestamp()
    at.FromDatetime(clock() - timedelta(milliseconds=1))
    truths = list(world.canonical())
    await stored.put(truths[::2])
    await stored.put([truth for truth in truths if truth.kind == k.KIND_STUDENT][:3], TOMBSTONE_REASON_LEFT)
    return stored, before, at


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def school(mongo_uri: str) -> AsyncGenerator[Oak]:
    captured = Captured()
    handle: Any = AsyncMongoClient[Any](mongo_uri, serverMonitoringMode="poll", event_listeners=[captured])
    clock = TickingClock()
    store = Store.open(handle, "plans", clock)
    await store.prepare()
    world = World.build(seed=11, pupils=24, marks_until=date(2026, 9, 12))
    await school_of(store, "elm", world, clock)
    stored, before, at = await school_of(store, SCHOOL, world, clock)
    head = await store.leases.head(SCHOOL)
    async with served(store, scripted_connector(ScriptedMis()), clock=clock) as running:
        yield Oak(running.client, captured, store, world, stored, before, at, head.published)
    await handle.drop_database("plans")
    await store.close()


@pytest.fixture
def oak(school: Oak) -> Oak:
    """The school, of which nothing has been asked yet."""
    school.captured.commands.clear()
    return school


def value_of(field: FieldDescriptor, sample: Any) -> str:
    """Return a value that a filter takes, one of the sample's where it has the field."""
    if sample is not None and sample.HasField(field.name):
        value = getattr(sample, field.name)
        if field.enum_type is not None:
            return str(field.enum_type.values_by_number[value].name)
        return str(value).lower() if isinstance(value, bool) else str(value)
    if field.enum_type is not None:
        return str(field.enum_type.values[-1].name)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true"
    if field.type == FieldDescriptor.TYPE_STRING:
        return DAY if is_date_field(field) else "x"
    return "1"


def filters_of(info: KindInfo, sample: Any) -> Iterator[list[q.Filter]]:
    """Yield every filter that a kind offers, by itself where it may be, else beside such as it needs."""
    bounding = list(bounds_of(info, sample)) if info.kind in GROWING else []
    yield from bounding
    leading_fields = {*INDEXED_REFERENCES, day_field(info)}
    for field in filterable(info).values():
        # What no index has is looked at in what the others leave: two ways show that.
        beside = bounding if field.name in leading_fields else bounding[-2:]
        for operator in sorted(operators_for(field)):
            value = value_of(field, sample)
            values = {q.FILTER_OPERATOR_PRESENT: [], q.FILTER_OPERATOR_IN: [value, value]}.get(
                operator, [value]
            )
            one = q.Filter(field=field.name, operator=operator, values=values)
            for others in beside or [[]]:
                # No day is another day: such questions have no plan worth a look.
                if not any(other.field == field.name for other in others):
                    yield [one, *others]


def bounds_of(info: KindInfo, sample: Any) -> Iterator[list[q.Filter]]:
    """Yield the filters that lead to some records of a kind with ever more: of a day, a pupil, or a span."""
    fields = filterable(info)
    day = fields[str(day_field(info))]
    for name in (day.name, *sorted(INDEXED_REFERENCES)):
        if name in fields:
            yield [q.Filter(field=name, operator=EQUAL, values=[value_of(fields[name], sample)])]
    length = len(DAY) if is_date_field(day) else None
    span = zip((q.FILTER_OPERATOR_GREATER_OR_EQUAL, q.FILTER_OPERATOR_LESS), SPAN, strict=True)
    yield [q.Filter(field=day.name, operator=operator, values=[value[:length]]) for operator, value in span]


@pytest.mark.parametrize("kind", KINDS, ids=[info.name for info in KINDS.values()])
async def test_no_filter_has_a_collection_read_or_sorts_what_grows(oak: Oak, kind: k.Kind.ValueType) -> None:
    info = KINDS[kind]
    for filters in filters_of(info, body_of(await oak.sample(kind))):
        said = " ".join(f"{one.field}:{one.operator}" for one in filters)
        await oak.select(f"{info.name} {said}", kind, filters=filters)
    for way in WHOLE:
        await oak.select(f"{info.name} {way}", kind, **way)
    assert await oak.wrong() == ""


@pytest.mark.parametrize("kind", KINDS, ids=[info.name for info in KINDS.values()])
async def test_no_order_or_group_does(oak: Oak, kind: k.Kind.ValueType) -> None:
    info = KINDS[kind]
    record = await oak.sample(kind)
    ways: list[dict[str, Any]] = [{"ids": [record.id] * 2}, {"source_keys": record.source_keys[:1]}]
    bounds = list(bounds_of(info, body_of(record))) if kind in GROWING else []
    ways += [{"filters": filters} for filters in bounds] or [{}]
    for asked in ways:
        # What ever grows is ordered by nothing but its day where a span of days alone bounds it.
        by_day = bounds and asked.get("filters") == bounds[-1]
        for name, field in filterable(info).items():
            if q.FILTER_OPERATOR_LESS in operators_for(field) and (not by_day or name == day_field(info)):
                for descending in (False, True):
                    order = [q.Order(field=name, descending=descending)]
                    await oak.select(f"{info.name} by {name}", kind, order_by=order, **asked)
            groups = q.CountRecordsRequest(
                school_id=SCHOOL, kind=kind, group_by=[q.Grouping(field=name)], **asked
            )
            await oak.as_of_both(f"{info.name} grouped by {name}", oak.client.query.CountRecords, groups)
    assert await oak.wrong() == ""


@pytest.mark.parametrize("kind", KINDS, ids=[info.name for info in KINDS.values()])
async def test_no_name_or_step_does(oak: Oak, kind: k.Kind.ValueType) -> None:
    info = KINDS[kind]
    record = await oak.sample(kind)
    for way in WHOLE:
        await oak.select(f"{info.name} by ids", kind, ids=[record.id] * 2, **way)
        await oak.select(f"{info.name} by keys", kind, source_keys=record.source_keys[:1], **way)
        for back in (None, *KINDS.values()):
            for name in leading(info, back):
                step = q.Expansion(field=name, kind=back.kind if back else k.KIND_UNSPECIFIED)
                await oak.select(
                    f"{info.name} expanded by {name}", kind, expand=[step], ids=[record.id], **way
                )
    assert await oak.wrong() == ""


async def test_no_record_version_or_change_does(oak: Oak) -> None:
    query = oak.client.query
    for kind in (k.KIND_STUDENT, k.KIND_ATTENDANCE_MARK):
        record = await oak.sample(kind)
        by_id = q.GetRecordRequest(school_id=SCHOOL, record_id=record.id)
        await oak.as_of_both("GetRecord", query.GetRecord, by_id)
        by_key = q.GetRecordRequest(school_id=SCHOOL, kind=kind, source_key=record.source_keys[0])
        await oak.as_of_both("GetRecord by key", query.GetRecord, by_key)
        oak.captured.when = "now"
        first = q.ListVersionsRequest(school_id=SCHOOL, record_id=record.id, page_size=1)
        [page] = await oak.ask("ListVersions", query.ListVersions, first)
        first.page_token = page.next_page_token
        await oak.ask("ListVersions further", query.ListVersions, first)
    oak.captured.when = "at a time"
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=k.KIND_STUDENT, known_at=oak.at)
    await oak.ask("known_at", query.QueryRecords, request)
    beginnings: list[dict[str, Any]] = [
        {"start": q.WATCH_START_SNAPSHOT},
        {"after_seq": oak.before},
        {"after_seq": 0},
    ]
    for begin in beginnings:
        for kinds in ((), (k.KIND_STUDENT, k.KIND_ATTENDANCE_MARK)):
            oak.captured.label = f"WatchChanges {begin} {kinds}"
            watch = q.WatchChangesRequest(school_id=SCHOOL, kinds=kinds, page_size=100, **begin)
            call = query.WatchChanges(watch)
            async for told in call:
                if told.up_to_date:
                    again = q.WatchChangesRequest(school_id=SCHOOL, kinds=kinds, cursor=told.cursor)
                    resumed = query.WatchChanges(again)
                    await anext(aiter(resumed))
                    resumed.cancel()
                    break
            call.cancel()
    assert await oak.wrong() == ""


async def test_no_report_does(oak: Oak) -> None:
    reporting, world = oak.client.reporting, oak.stored
    pupil = world.id_of(k.KIND_STUDENT, next(iter(oak.world.pupils)))
    group = world.id_of(k.KIND_GROUP, next(iter(oak.world.groups)))
    span: dict[str, Any] = {"school_id": SCHOOL, "date_from": "2026-09-07", "date_to": "2026-09-12"}
    for method, request in (
        (reporting.GetTimetable, pb.GetTimetableRequest(school_id=SCHOOL, student_id=pupil, date=DAY)),
        (reporting.ListTeachers, pb.ListTeachersRequest(school_id=SCHOOL, group_id=group, effective_on=DAY)),
        (reporting.GetRoll, pb.GetRollRequest(school_id=SCHOOL, effective_on=DAY)),
        (reporting.GetAttendance, pb.GetAttendanceRequest(**span)),
        (reporting.GetAttendance, pb.GetAttendanceRequest(student_id=pupil, **span)),
        (reporting.GetAttendance, pb.GetAttendanceRequest(group_id=group, **span)),
        (reporting.GetAttendance, pb.GetAttendanceRequest(year_group_code="Year 8", **span)),
    ):
        await oak.as_of_both(type(request).__name__, method, request)
    assert await oak.wrong() == ""


async def test_nothing_that_a_write_is_checked_against_does(oak: Oak) -> None:
    """Also where the reads are one operation, in which none can be told which index to go by."""
    pupil = oak.stored.id_of(k.KIND_STUDENT, next(iter(oak.world.pupils)))
    teacher = next(one for one in oak.world.canonical() if one.kind == k.KIND_STAFF)
    named = {"student_id": pupil, "staff_id": oak.stored.id_of(k.KIND_STAFF, *teacher.key)}
    lesson = Wanted(
        named,
        pupil,
        roll=True,
        lessons_on=DAY,
        taught_in="1",
        attendance_codes=True,
        local_codes=True,
    )
    for when, seq in (("now", oak.published), ("then", oak.before)):
        oak.captured.label, oak.captured.when = "what a write is checked against", when
        async with together():
            facts = await Copy(oak.store, SCHOOL, seq, Tables()).facts(lesson)
        assert facts.records["student_id"] is not None
        assert facts.enrolments is not None
        assert facts.enrolments.records
    assert any("$unionWith" in str(command) for command in oak.captured.commands.values())
    assert await oak.wrong() == ""


@pytest.mark.parametrize(
    ("collection", "index"),
    [
        ("records", "by_day"),
        ("records", "of_student"),
        ("records", "of_kind"),
        ("history", "ends"),
        ("history", "by_day"),
    ],
)
async def test_an_index_taken_out_is_missed(oak: Oak, collection: str, index: str) -> None:
    """Which is to say that the tests above fail without: here for some indexes, each one by itself.

    Reads that are told to go by one fail then, and others sort.
    """
    sample = body_of(await oak.sample(MARK))
    await oak.store.database.driver[collection].drop_index(index)
    try:
        with pytest.raises(AssertionError, match=r"a defect of schoolgate|sorts what it reads of"):
            await records_are_read_well(oak, sample)
    finally:
        await oak.store.prepare()


async def records_are_read_well(oak: Oak, mark: Any) -> None:
    for filters in bounds_of(KINDS[MARK], mark):
        await oak.select("marks", MARK, filters=filters)
    await oak.select("marks", MARK)
    await oak.select("students", k.KIND_STUDENT)
    await oak.select("marks by keys", MARK, source_keys=(await oak.sample(MARK)).source_keys[:1])
    assert await oak.wrong() == ""


async def test_a_collection_that_is_read_as_a_whole_is_told(oak: Oak) -> None:
    oak.captured.commands.clear()
    await oak.store.database.driver["records"].find({"version": 1}).to_list(1)
    assert "reads the whole collection" in await oak.wrong()


def body_of(record: Record) -> Any:
    name = record.WhichOneof("body")
    return getattr(record, name) if name else None
