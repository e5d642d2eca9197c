"""The change feed: how long after its publication a commit reaches a follower."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
from pymongo import AsyncMongoClient

from bench import progress, results
from bench.stage import DATABASE, Stage
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.query_service_pb2 import WatchChangesRequest
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.clock import system_clock
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.store.store import Store

_RECORDS = 50
"""Records of a commit: about what one page of a MIS changes."""

_PAUSE = 0.02

_Call: TypeAlias = Any
"""A stream of responses; the stubs type the one of another kind of channel."""


async def measure(stage: Stage, runs: int, commits: int) -> results.Figure:
    """Return the 99th percentile, in milliseconds, of the time from a commit's return to the receipt of the
    last of its changes; all have to come, as they were committed.

    Commits are made from this process, of a school that nothing else writes to; the follower is in this
    process, the server in its own. Where the follower has a commit before the writer knows that it is
    published, the time is 0.
    """
    school = stage.register()
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(stage.mongo_uri)
    store = Store.open(client, DATABASE, system_clock)
    async with client, grpc.aio.insecure_channel(stage.client.server) as channel:
        call: _Call = QueryServiceStub(channel).WatchChanges(WatchChangesRequest(school_id=school))
        await call.read()
        lags = [
            await _lag(store, call, school, run, commits) for run in progress.rounds("changes followed", runs)
        ]
        call.cancel()
        await store.close()
    return results.absolute("watch_lag_p99", lags, unit="ms", goal=100, better="lower")


async def _lag(store: Store, call: _Call, school: str, run: int, commits: int) -> float:
    """Return the 99th percentile over some commits."""
    received: dict[int, float] = {}
    waiting = {f"stu_{digits}": digits for number in range(commits) for digits in _digits(run, number)}

    async def receive() -> None:
        while waiting:
            response = await call.read()
            now = time.perf_counter()
            for change in response.changes:
                record = change.record
                assert record.student.surname == _surname(waiting.pop(record.id))
                received[record.seq] = now

    receiving = asyncio.create_task(receive())
    published: dict[int, float] = {}
    lease = await store.leases.acquire(school, f"bench-{run}", timedelta(minutes=5))
    assert lease is not None
    for number in range(commits):
        changes = [_change(digits) for digits in _digits(run, number)]
        seq = await store.commits.commit(lease, Commit("run_bench", changes))
        published[seq] = time.perf_counter()
        await asyncio.sleep(_PAUSE)
    await receiving
    await store.leases.release(lease)
    assert received.keys() == published.keys(), "changes came under another seq than their commit's"
    took = sorted(max(0.0, received[seq] - at) for seq, at in published.items())
    return 1000 * took[int(len(took) * 0.99)]


def _digits(run: int, number: int) -> list[str]:
    """Return what the ids of the records of one commit end in."""
    return [f"{run:04x}{number:08x}{index:020x}" for index in range(_RECORDS)]


def _surname(digits: str) -> str:
    return f"Surname {digits}"


def _change(digits: str) -> Change:
    message = Student(surname=_surname(digits), forename="Ada")
    wire = message.SerializeToString(deterministic=True)
    keys = (f'["bench/student","{digits}"]',)
    return Change(
        record_id=f"stu_{digits}",
        dataset="students",
        kind=KIND_STUDENT,
        keys=keys,
        wire=wire,
        digest=content_digest(wire, keys),
        expected_version=0,
    )
