"""Hostile and unlucky calls get a typed error, and the server lives (G18)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate_server.rpc.server import Listen
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Client, Served, failure_of, refused, served

STUDENT = kinds.KIND_STUDENT


async def alive(client: Client) -> bool:
    await client.schools.ListSchools(s.ListSchoolsRequest())
    return True


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x08"])
@pytest.mark.parametrize("path", ["SchoolService/GetSchool", "QueryService/QueryRecords"])
async def test_g18_bytes_that_are_no_message(client: Client, path: str, raw: bytes) -> None:
    channel: Any = client.channel
    failure = await refused(channel.unary_stream(f"/schoolgate.v1.{path}")(raw))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert await alive(client)


async def test_g18_a_request_above_the_limit(client: Client) -> None:
    request = s.GetSchoolRequest(school_id="x" * (4 * 1024 * 1024 + 1))
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await client.schools.GetSchool(request)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await alive(client)


async def test_g18_errors_stay_small_whatever_is_wrong(client: Client) -> None:
    request = s.CreateSchoolRequest(
        school=s.School(
            school_id="X" * 1_000_000,
            connector="y" * 100_000,
            settings={f"unknown-{number}": "x" for number in range(1000)},
            data_profile=["🦉" * 100] * 900,
        )
    )
    failure = await refused(client.schools.CreateSchool(request))
    assert failure.reason == "REQUEST_INVALID"
    assert "request_id" in failure.violations
    assert failure.violations["…"] == "and 883 more"

    filters = [q.Filter(field="🦉" * 50_000, operator=q.FILTER_OPERATOR_EQUAL, values=["x"])] * 20
    counted = q.CountRecordsRequest(school_id="oak", kind=STUDENT, filters=filters)
    assert (await refused(client.query.CountRecords(counted))).reason == "FILTER_INVALID"

    forbidden = s.GetSchoolRequest(school_id="x" * 500_000)
    assert (await refused(client.schools.GetSchool(forbidden))).reason == "REQUEST_INVALID"


@pytest.mark.parametrize(
    "asked",
    [
        {"filters": [q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=["x"])] * 21},
        {"filters": [q.Filter(field="surname", operator=q.FILTER_OPERATOR_IN, values=["x"] * 1001)]},
        {"filters": [q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=["x" * 257])]},
        {"filters": [q.Filter(field="surname.$where", operator=q.FILTER_OPERATOR_EQUAL, values=["x"])]},
        {"filters": [q.Filter(field="", operator=q.FILTER_OPERATOR_EQUAL, values=["x"])]},
        {"filters": [q.Filter(field="surname", operator=99, values=["x"])]},  # type: ignore[arg-type]
    ],
)
async def test_g18_filters_have_bounds(client: Client, asked: dict[str, Any]) -> None:
    request = q.CountRecordsRequest(school_id="oak", kind=STUDENT, **asked)
    assert (await refused(client.query.CountRecords(request))).reason == "FILTER_INVALID"


async def test_a_filters_value_is_a_value_and_never_a_query(client: Client) -> None:
    await client.create_school("oak", "scripted")
    for value in ('{"$ne": null}', "$surname", "\0", "'; drop"):
        condition = q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=[value])
        request = q.CountRecordsRequest(school_id="oak", kind=STUDENT, filters=[condition])
        assert (await client.query.CountRecords(request)).count == 0


async def test_a_defect_is_internal_and_says_nothing_of_its_text(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("Zebedee Smith")

    monkeypatch.setattr(store.schools, "get", broken)
    call = client.schools.GetSchool(
        s.GetSchoolRequest(school_id="oak"), metadata=(("x-correlation-id", "from-the-caller"),)
    )
    failure = await refused(call)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert failure.metadata == {"correlation_id": "from-the-caller"}
    assert "Zebedee" not in str(failure)


async def test_an_unavailable_store_says_when_to_try_again(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("mongodb://user:password@db cannot be reached")

    monkeypatch.setattr(store.schools, "get", down)
    for call in (
        client.schools.GetSchool(s.GetSchoolRequest(school_id="oak")),
        client.query.QueryRecords(q.QueryRecordsRequest(school_id="oak", kind=STUDENT)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert failure.retry_after == 2.0
        assert "password" not in str(failure)


@pytest.mark.parametrize(
    ("offered", "returned"),
    [
        ((("x-correlation-id", "abc-123"),), "abc-123"),
        ((("x-correlation-id", "not usable: spaces"),), "call-1"),
        ((("x-correlation-id", "x" * 65),), "call-1"),
        ((), "call-1"),
    ],
)
async def test_a_correlation_id_comes_back_with_success_and_with_failure(
    client: Client, offered: Any, returned: str
) -> None:
    call = client.schools.ListSchools(s.ListSchoolsRequest(), metadata=offered)
    await call
    assert dict(await call.trailing_metadata())["x-correlation-id"] == returned
    failing = client.schools.GetSchool(s.GetSchoolRequest(school_id="oak"), metadata=offered)
    assert (await refused(failing)).reason == "SCHOOL_NOT_FOUND"
    assert dict(await failing.trailing_metadata())["x-correlation-id"] in {returned, "call-2"}


async def test_a_method_that_nobody_knows_is_unimplemented(client: Client) -> None:
    channel: Any = client.channel
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await channel.unary_unary("/schoolgate.v1.SchoolService/DropEverything")(b"")
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture
async def narrow(store: Store, mis: ScriptedMis) -> AsyncGenerator[Served]:
    listen = Listen(concurrent_calls=2, drain_s=1)
    async with served(store, scripted_connector(mis), listen=listen, clock=TickingClock()) as running:
        yield running


@pytest.mark.timeout(30)
async def test_g18_too_many_calls_at_once_are_refused_and_the_rest_served(
    narrow: Served, mis: ScriptedMis
) -> None:
    """Also shows that a watcher which goes away frees its place."""
    client = narrow.client
    await client.create_school("oak", "scripted")
    await client.sync_to_the_end("oak")
    run = (await client.sync.ListRuns(sync.ListRunsRequest(school_id="oak"))).runs[0]
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    channels: list[Any] = [
        grpc.aio.insecure_channel(narrow.server.target, options=[("n", n)]) for n in range(2)
    ]
    watches = [channel.stream_stream(reflection)() for channel in channels]
    try:
        for watch in watches:
            await watch.write(b"")
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await client.sync.GetRun(sync.GetRunRequest(school_id="oak", run_id=run.run_id))
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for watch in watches:
            watch.cancel()
        for _ in range(50):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await client.sync.GetRun(sync.GetRunRequest(school_id="oak", run_id=run.run_id))
                break
        else:
            pytest.fail("watchers that went away still hold their places")
    finally:
        for channel in channels:
            await channel.close()


async def test_an_error_of_a_stream_comes_after_what_was_sent(
    client: Client, store: Store, monkeypatch: Any
) -> None:
    await client.create_school("oak", "scripted")
    await client.sync_to_the_end("oak")
    query, asked = store.records.serialised, 0

    async def fails_later(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise StoreUnavailable("lost")
        return await query(*args)

    monkeypatch.setattr(store.records, "serialised", fails_later)
    seen = 0
    request = q.QueryRecordsRequest(school_id="oak", kind=STUDENT, page_size=10)
    pages: Any = client.query.QueryRecords(request)
    for _ in range(2):
        seen += len((await pages.read()).records)
    assert seen == 20
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await pages.read()
    assert failure_of(refusal.value).reason == "STORE_UNAVAILABLE"


async def test_what_is_described_and_not_served_says_so(client: Client) -> None:
    from schoolgate.v1 import diagnostics_service_pb2 as d

    failure = await refused(client.diagnostics.Explain(d.ExplainRequest(school_id="oak")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_SERVED")
    assert failure.metadata == {"method": "Explain"}
