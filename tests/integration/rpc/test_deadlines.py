"""Reads end in time, whatever keeps them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import ExecutionTimeout
from pymongo.monitoring import CommandListener, CommandStartedEvent

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.rpc import query
from schoolgate_server.rpc.server import Listen
from schoolgate_server.rpc.tokens import make_token, question_of
from schoolgate_server.store.limits import limited
from schoolgate_server.store.records import Records
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import Failure, new_request_id, refused, served

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]

pytestmark = pytest.mark.timeout(60)

STUDENT = kinds.KIND_STUDENT
SHORT_S = 0.2


async def failing(store: Store, request: Any, timeout: float | None = None) -> Failure:
    """Return how a read of a store that never answers fails."""
    await store.schools.create(School(school_id=SCHOOL, connector="scripted"), new_request_id(), b"")
    async with served(
        store, scripted_connector(ScriptedMis()), listen=Listen(read_s=SHORT_S), clock=TickingClock()
    ) as running:
        name = type(request).__name__.removesuffix("Request")
        return await refused(getattr(running.client.query, name)(request, timeout=timeout))


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_asked: Any) -> None:
        await asyncio.Event().wait()

    for name in ("count", "serialised", "versions"):
        monkeypatch.setattr(Records, name, never)


@pytest.mark.usefixtures("stalled")
@pytest.mark.parametrize("timeout", [None, 3600])
@pytest.mark.parametrize(
    "request_",
    [
        q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT),
        q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT),
        q.ListVersionsRequest(school_id=SCHOOL, record_id=f"stu_{1:032x}"),
    ],
    ids=["count", "query", "versions"],
)
async def test_g18_a_read_that_takes_too_long_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch, request_: Any, timeout: float | None
) -> None:
    """Whether its caller gives no deadline or one too long. Seen to hang without the interceptor."""
    monkeypatch.setattr(query, "LONGEST_S", 0)
    failure = await failing(store, request_, timeout)
    method = type(request_).__name__.removesuffix("Request")
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert failure.metadata == {"method": method, "limit_seconds": "0.2"}


async def test_mongodb_that_does_not_get_done_is_no_outage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where it counts as unavailable: its caller asks again, and again."""

    async def slow(*_asked: Any) -> int:
        with limited():
            raise ExecutionTimeout("operation exceeded time limit", 50, {})

    monkeypatch.setattr(Records, "count", slow)
    failure = await failing(store, q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT))
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert failure.metadata == {"method": "CountRecords", "limit_seconds": "30"}


@pytest.mark.parametrize("seq", [7, 10**9])
async def test_g12_no_token_leads_beyond_what_is_published(store: Store, seq: int) -> None:
    """Nor into a commit in the making. Seen to fail where the token's seq is taken as it is."""
    asked = q.QueryRecordsRequest(school_id=SCHOOL, kind=STUDENT)
    asked.page_token = make_token(question_of(asked), seq, "")
    failure = await failing(store, asked)
    assert failure.reason == "PAGE_TOKEN_INVALID"


async def test_who_watches_is_not_cut_off(store: Store) -> None:
    await store.schools.create(School(school_id=SCHOOL, connector="scripted"), new_request_id(), b"")
    listen = Listen(read_s=SHORT_S, drain_s=1)
    async with served(
        store, scripted_connector(ScriptedMis()), listen=listen, clock=TickingClock()
    ) as running:
        watch = running.client.query.WatchChanges(
            q.WatchChangesRequest(school_id=SCHOOL, heartbeat_seconds=1)
        )
        # At once, and after a second, which is longer than a read may take.
        assert [(await anext(aiter(watch))).seq for _ in range(2)] == [0, 0]
        watch.cancel()


class Limits(CommandListener):
    """How long MongoDB may take over what it is sent, in milliseconds, by collection."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in {"find", "aggregate"}:
            self.of[str(event.command[event.command_name])] = event.command.get("maxTimeMS", 0)

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


@pytest.mark.mongod
async def test_mongodb_ends_what_nobody_waits_for(mongo_uri: str, mongo_database: str) -> None:
    """Seen to fail where only the server's own wait is limited: MongoDB then goes on for 30 seconds."""
    limits = Limits()
    handle: Any = AsyncMongoClient[Any](mongo_uri, serverMonitoringMode="poll", event_listeners=[limits])
    store = Store.open(handle, mongo_database, TickingClock())
    await store.prepare()
    await store.schools.create(School(school_id=SCHOOL, connector="scripted"), new_request_id(), b"")
    async with served(
        store, scripted_connector(ScriptedMis()), listen=Listen(read_s=9), clock=TickingClock()
    ) as running:
        request = q.CountRecordsRequest(school_id=SCHOOL, kind=STUDENT)
        await running.client.query.CountRecords(request)
        assert 0 < limits.of["records"] <= 10_000
        await running.client.query.CountRecords(request, timeout=4)
        # What is left of a deadline is told a little off.
        assert 0 < limits.of["records"] <= 6_000
    await store.close()
