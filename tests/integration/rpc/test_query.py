from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import KeyPart, Record, SourceKey
from schoolgate_server.rpc import query
from tests.integration.rpc.conftest import SCHOOL
from tests.support.scripted import MARKS, STUDENTS, ScriptedMis, mark, student
from tests.support.served import Client, refused

STUDENT = kinds.KIND_STUDENT


async def pages(client: Client, **asked: Any) -> list[q.QueryRecordsResponse]:
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, **asked)
    return [page async for page in client.query.QueryRecords(request)]


async def records(client: Client, **asked: Any) -> list[Record]:
    return [record for page in await pages(client, **asked) for record in page.records]


def equal(field: str, *values: str) -> q.Filter:
    operator = q.FILTER_OPERATOR_EQUAL if len(values) == 1 else q.FILTER_OPERATOR_IN
    return q.Filter(field=field, operator=operator, values=values)


async def test_streams_all_records_in_pages_of_one_instant(synced: Client) -> None:
    answer = await pages(synced, page_size=10)
    assert [len(page.records) for page in answer] == [10, 10, 5]
    assert len({page.seq for page in answer}) == 1
    ids = [record.id for page in answer for record in page.records]
    assert ids == sorted(ids)
    assert not any(page.next_page_token for page in answer)


async def test_an_empty_answer_says_of_which_instant_it_is(synced: Client) -> None:
    [page] = await pages(synced, filters=[equal("surname", "Nobody")])
    assert not page.records
    assert page.seq > 0


async def test_a_limit_leaves_a_token_that_goes_on(synced: Client) -> None:
    first = await pages(synced, page_size=4, max_records=10)
    token = first[-1].next_page_token
    assert [len(page.records) for page in first] == [4, 4, 2]
    rest = await pages(synced, page_size=20, page_token=token)
    everything = await records(synced)
    assert [r.id for page in (*first, *rest) for r in page.records] == [r.id for r in everything]


async def test_a_stream_that_lasts_too_long_leaves_a_token_that_goes_on(
    synced: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "LONGEST_S", -1)
    first = await pages(synced, page_size=20)
    assert [len(page.records) for page in first] == [20]
    rest = await pages(synced, page_size=20, page_token=first[-1].next_page_token)
    monkeypatch.undo()
    everything = await records(synced)
    assert [r.id for page in (*first, *rest) for r in page.records] == [r.id for r in everything]


async def test_a_limit_that_leaves_nothing_out_gives_no_token(synced: Client) -> None:
    answer = await pages(synced, page_size=10, max_records=25)
    assert sum(len(page.records) for page in answer) == 25
    assert answer[-1].next_page_token == ""


async def test_g12_a_page_token_reads_one_instant_to_its_end(synced: Client, mis: ScriptedMis) -> None:
    before = await records(synced)
    first = await pages(synced, max_records=10)
    # Not all of them, for a change of nearly everybody would be held.
    mis.rows[STUDENTS][:18] = [student(number, surname="Changed") for number in range(18)]
    await synced.sync_to_the_end(SCHOOL)
    rest = await pages(synced, page_token=first[-1].next_page_token)
    seen = [record for page in (*first, *rest) for record in page.records]
    assert seen == before
    assert {page.seq for page in (*first, *rest)} == {first[0].seq}
    assert [r.student.surname for r in await records(synced)].count("Changed") == 18
    known_at = await records(synced, known_at_seq=first[0].seq)
    assert known_at == before


async def test_a_token_is_bound_to_school_question_and_itself(synced: Client) -> None:
    token = (await pages(synced, max_records=10))[-1].next_page_token
    foreign = q.QueryRecordsRequest(school_id="elm", kind=STUDENT, page_token=token)
    other = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, include_tombstones=True, page_token=token)
    mangled = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, page_token=token[:-2] + "AA")
    garbage = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, page_token="🦉" * 500)
    for request in (foreign, other, mangled, garbage):
        failure = await refused(synced.query.QueryRecords(request))
        assert failure.reason == "PAGE_TOKEN_INVALID"
        assert list(failure.violations) == ["page_token"]


async def test_filters_and_count_agree(synced: Client) -> None:
    asked = [equal("surname", "Surname003", "Surname007", "Nobody")]
    found = await records(synced, filters=asked)
    assert {r.student.surname for r in found} == {"Surname003", "Surname007"}
    request = q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT, filters=asked)
    assert (await synced.query.CountRecords(request)).count == 2


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (q.Filter(field="surname", operator=q.FILTER_OPERATOR_LESS, values=["Surname003"]), 3),
        (q.Filter(field="surname", operator=q.FILTER_OPERATOR_GREATER_OR_EQUAL, values=["Surname020"]), 5),
        (q.Filter(field="email", operator=q.FILTER_OPERATOR_PRESENT), 0),
        (q.Filter(field="email", operator=q.FILTER_OPERATOR_PRESENT, values=["false"]), 25),
    ],
)
async def test_every_operator_reaches_the_store(synced: Client, condition: q.Filter, expected: int) -> None:
    assert len(await records(synced, filters=[condition])) == expected


async def test_all_that_is_wrong_is_told_at_once(synced: Client) -> None:
    request = q.QueryRecordsRequest(
        school_id="Not An Id",
        kind=STUDENT,
        filters=[equal("shoe_size", "44"), q.Filter(field="surname", values=["x"])],
        effective_on="2026-02-30",
        page_size=5001,
        max_records=-1,
        known_at_seq=-1,
    )
    failure = await refused(synced.query.QueryRecords(request))
    assert failure.reason == "REQUEST_INVALID"
    assert list(failure.violations) == [
        "school_id",
        "filters[0].field",
        "filters[1].operator",
        "effective_on",
        "known_at_seq",
        "page_size",
        "max_records",
    ]


async def test_an_unknown_field_is_named(synced: Client) -> None:
    failure = await refused(
        synced.query.QueryRecords(
            q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, filters=[equal("shoe_size", "44")])
        )
    )
    assert (failure.reason, failure.metadata) == ("FILTER_INVALID", {"field": "shoe_size"})
    assert "surname" in failure.violations["filters[0].field"]


async def test_the_page_size_has_bounds(synced: Client) -> None:
    for size in (-1, 5001):
        request = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, page_size=size)
        failure = await refused(synced.query.QueryRecords(request))
        assert (failure.reason, failure.metadata) == ("PAGE_SIZE_INVALID", {"maximum": "5000"})


async def test_a_kind_is_needed(synced: Client) -> None:
    for kind in (0, 99):
        request = q.CountRecordsRequest(school_id=SCHOOL, kind=kind)  # type: ignore[arg-type]
        failure = await refused(synced.query.CountRecords(request))
        assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", ["kind"])


async def test_the_future_is_not_known(synced: Client) -> None:
    request = q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT, known_at_seq=10**9)
    failure = await refused(synced.query.CountRecords(request))
    assert list(failure.violations) == ["known_at_seq"]


async def test_g12_known_at_is_answered_as_of_the_commit_that_was_the_latest_then(
    synced: Client, mis: ScriptedMis
) -> None:
    before = await records(synced)
    then = before[0].committed_at
    for surname in ("Second", "Third"):
        mis.rows[STUDENTS][0] = student(0, surname=surname, person=1000)
        await synced.sync_to_the_end(SCHOOL)
    [third] = await records(synced, filters=[equal("surname", "Third")])
    versions = await synced.query.ListVersions(q.ListVersionsRequest(school_id=SCHOOL, record_id=third.id))
    for version in (version.record for version in versions.versions):
        request = q.GetRecordRequest(school_id=SCHOOL, record_id=third.id, known_at=version.committed_at)
        assert (await synced.query.GetRecord(request)).record == version
    first = await pages(synced, known_at=before[-1].committed_at)
    by_seq = await pages(synced, known_at_seq=first[0].seq)
    assert first == by_seq
    assert all(record.student.surname.startswith("Surname") for page in first for record in page.records)
    count = q.CountRecordsRequest(
        school_id=SCHOOL, kind=STUDENT, known_at=Timestamp(seconds=then.seconds - 10**6)
    )
    answer = await synced.query.CountRecords(count)
    assert (answer.count, answer.seq) == (0, 0)


@pytest.mark.parametrize(
    "asked",
    [
        {"known_at": Timestamp(seconds=4 * 10**9)},
        {"known_at": Timestamp(seconds=10**12)},
        {"known_at": Timestamp(seconds=1), "known_at_seq": 1},
    ],
)
async def test_a_time_that_cannot_be_answered_is_refused(synced: Client, asked: dict[str, Any]) -> None:
    requests = (
        synced.query.QueryRecords(q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT, **asked)),
        synced.query.CountRecords(q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT, **asked)),
        synced.query.GetRecord(q.GetRecordRequest(school_id=SCHOOL, record_id=f"stu_{0:032x}", **asked)),
    )
    for call in requests:
        failure = await refused(call)
        assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", ["known_at"])


async def test_an_unknown_school_is_not_found(synced: Client) -> None:
    requests = (
        synced.query.QueryRecords(q.QueryRecordsRequest(school_id="elm", kind=STUDENT)),
        synced.query.CountRecords(q.CountRecordsRequest(school_id="elm", kind=STUDENT)),
        synced.query.GetRecord(q.GetRecordRequest(school_id="elm", record_id=f"stu_{0:032x}")),
        synced.query.ListVersions(q.ListVersionsRequest(school_id="elm", record_id=f"stu_{0:032x}")),
    )
    for call in requests:
        failure = await refused(call)
        assert (failure.reason, failure.metadata) == ("SCHOOL_NOT_FOUND", {"school_id": "elm"})


async def test_a_record_by_id_and_by_key(synced: Client) -> None:
    key = SourceKey(namespace="scripted/students", parts=[KeyPart(integer=7)])
    by_key = await synced.query.GetRecord(q.GetRecordRequest(school_id=SCHOOL, source_key=key, kind=STUDENT))
    by_id = await synced.query.GetRecord(q.GetRecordRequest(school_id=SCHOOL, record_id=by_key.record.id))
    assert by_key == by_id
    assert by_id.record.student.surname == "Surname007"
    text = SourceKey(namespace="scripted/students", parts=[KeyPart(text="7")])
    request = q.GetRecordRequest(school_id=SCHOOL, source_key=text, kind=STUDENT)
    assert (await refused(synced.query.GetRecord(request))).reason == "RECORD_NOT_FOUND"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "reference"),
        ({"record_id": "stu_1"}, "record_id"),
        ({"source_key": SourceKey(namespace="x", parts=[KeyPart(integer=1)])}, "kind"),
        ({"source_key": SourceKey(namespace="x"), "kind": STUDENT}, "source_key"),
        ({"source_key": SourceKey(parts=[KeyPart(integer=1)]), "kind": STUDENT}, "source_key"),
        ({"source_key": SourceKey(namespace="x", parts=[KeyPart(text="")]), "kind": STUDENT}, "source_key"),
        ({"source_key": SourceKey(namespace="x", parts=[KeyPart()]), "kind": STUDENT}, "source_key.parts"),
    ],
)
async def test_a_malformed_reference_is_refused(synced: Client, asked: dict[str, Any], field: str) -> None:
    failure = await refused(synced.query.GetRecord(q.GetRecordRequest(school_id=SCHOOL, **asked)))
    assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", [field])


async def test_records_by_ids_and_keys(synced: Client) -> None:
    everything = await records(synced)
    key = SourceKey(namespace="scripted/students", parts=[KeyPart(integer=7)])
    by_key = await records(synced, source_keys=[key])
    assert [record.student.surname for record in by_key] == ["Surname007"]
    named = [everything[3].id, everything[20].id]
    both = await records(synced, ids=named, source_keys=[key])
    assert {record.id for record in both} == {*named, by_key[0].id}
    unknown = SourceKey(namespace="scripted/students", parts=[KeyPart(integer=77)])
    assert await records(synced, source_keys=[unknown]) == []
    request = q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT, ids=named, source_keys=[key])
    assert (await synced.query.CountRecords(request)).count == 3


async def test_an_order_holds_over_pages_and_a_token(synced: Client) -> None:
    asked = {"order_by": [q.Order(field="sex_code"), q.Order(field="surname", descending=True)]}
    first = await pages(synced, page_size=4, max_records=10, **asked)
    rest = await pages(synced, page_size=7, page_token=first[-1].next_page_token, **asked)
    surnames = [record.student.surname for page in (*first, *rest) for record in page.records]
    assert surnames == [f"Surname{number:03}" for number in reversed(range(25))]


async def test_a_mask_leaves_the_fields_named_and_everything_outside_of_the_body(synced: Client) -> None:
    mask = FieldMask(paths=["surname"])
    masked, wholes = await records(synced, field_mask=mask), await records(synced)
    for record, whole in zip(masked, wholes, strict=True):
        assert [field.name for field, _ in record.student.ListFields()] == ["surname"]
        record.student.CopyFrom(whole.student)
        assert record == whole
    request = q.GetRecordRequest(school_id=SCHOOL, record_id=masked[0].id, field_mask=mask)
    got = (await synced.query.GetRecord(request)).record
    assert [field.name for field, _ in got.student.ListFields()] == ["surname"]


async def test_counts_apart_by_fields_and_weeks(synced: Client, mis: ScriptedMis) -> None:
    mis.rows[MARKS] += [mark(number, "2026-10-06", "N" if number < 5 else "/") for number in range(20)]
    await synced.sync_to_the_end(SCHOOL)
    request = q.CountRecordsRequest(
        school_id=SCHOOL,
        kind=kinds.KIND_ATTENDANCE_MARK,
        group_by=[q.Grouping(field="date", period=q.GROUPING_PERIOD_WEEK), q.Grouping(field="code")],
    )
    answer = await synced.query.CountRecords(request)
    groups = [([value.text for value in group.values], group.count) for group in answer.groups]
    assert groups == [(["2026-09-28", "/"], 25), (["2026-10-05", "/"], 15), (["2026-10-05", "N"], 5)]
    assert answer.count == 45
    by_year = q.CountRecordsRequest(
        school_id=SCHOOL, kind=STUDENT, group_by=[q.Grouping(field="year_group_code")]
    )
    [group] = (await synced.query.CountRecords(by_year)).groups
    assert not group.values[0].HasField("text")
    assert group.count == 25


MARK = kinds.KIND_ATTENDANCE_MARK


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"kind": STUDENT, "ids": ["grp_" + 32 * "0"]}, "ids[0]"),
        ({"kind": STUDENT, "ids": ["stu_" + 32 * "0"] * 1001}, "ids"),
        ({"kind": STUDENT, "source_keys": [SourceKey(namespace="x")]}, "source_keys[0]"),
        ({"kind": STUDENT, "order_by": [q.Order(field="shoe_size")]}, "order_by[0].field"),
        ({"kind": STUDENT, "order_by": [q.Order(field="sex")]}, "order_by[0].field"),
        ({"kind": STUDENT, "order_by": [q.Order(field="upn"), q.Order(field="upn")]}, "order_by[1].field"),
        ({"kind": MARK, "order_by": [q.Order(field="date")]}, "order_by[0].field"),
        ({"kind": STUDENT, "field_mask": FieldMask(paths=["shoe_size"])}, "field_mask"),
        ({"kind": MARK, "filters": [equal("code", "N")]}, "filters"),
    ],
)
async def test_what_cannot_be_selected_is_named(synced: Client, asked: dict[str, Any], place: str) -> None:
    request = q.QueryRecordsRequest(school_id=SCHOOL, **asked)
    assert list((await refused(synced.query.QueryRecords(request))).violations) == [place]


@pytest.mark.parametrize(
    ("grouping", "place"),
    [
        (q.Grouping(field="shoe_size"), "group_by[0].field"),
        (q.Grouping(field="surname", period=q.GROUPING_PERIOD_WEEK), "group_by[0].period"),
        (q.Grouping(field="surname", period=9), "group_by[0].period"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_counted_apart_is_named(
    synced: Client, grouping: q.Grouping, place: str
) -> None:
    request = q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT, group_by=[grouping])
    assert list((await refused(synced.query.CountRecords(request))).violations) == [place]


async def test_marks_of_some_days_come_by_day(synced: Client, mis: ScriptedMis) -> None:
    mis.rows[MARKS] += [mark(number, "2026-10-06", "N") for number in range(20)]
    await synced.sync_to_the_end(SCHOOL)
    since = q.Filter(field="date", operator=q.FILTER_OPERATOR_GREATER_OR_EQUAL, values=["2026-10-01"])
    request = q.QueryRecordsRequest(school_id=SCHOOL, kind=MARK, filters=[since], page_size=7)
    places = [
        (record.attendance_mark.date, record.id)
        async for page in synced.query.QueryRecords(request)
        for record in page.records
    ]
    assert len(places) == 45
    assert places == sorted(places)
