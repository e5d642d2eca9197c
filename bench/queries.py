"""Queries: a stream of records beside a cursor, single reads beside find_one."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from pymongo import AsyncMongoClient, MongoClient

from bench import progress, results
from bench.stage import DATABASE, SEED, Stage
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate.v1.query_service_pb2 import GetRecordRequest, QueryRecordsRequest
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate.v1.record_pb2 import Record

_CONCURRENCY = 16

Document = dict[str, Any]


def measure_streams(stage: Stage, school: str, runs: int) -> results.Figure:
    """Return how fast all marks of ``school`` arrive in this process, through gRPC and from a cursor.

    Both come in the same order, which one index has.
    """
    question = {"school": school, "kind": "attendance_mark"}
    with MongoClient[Document](stage.mongo_uri) as client:
        records = client[DATABASE]["records"]
        wires = {
            document["_id"]: _canonical(Record.FromString(document["wire"]))
            for document in records.find(question, {"wire": 1})
        }
        _check_stream(stage, school, wires)
        ours: list[float] = []
        reference: list[float] = []
        for _ in progress.rounds("QueryRecords, cursor", runs):
            began = time.perf_counter()
            streamed = _stream(stage, school)
            ours.append(len(wires) / (time.perf_counter() - began))
            began = time.perf_counter()
            found = sum(1 for _ in records.find(question).sort([("from", 1), ("_id", 1)]))
            reference.append(len(wires) / (time.perf_counter() - began))
            assert streamed == found == len(wires)
    return results.ratio(
        "query_vs_cursor", ours, reference, sides="records/s: QueryRecords, cursor", goal=1.0
    )


def _request(school: str) -> QueryRecordsRequest:
    return QueryRecordsRequest(school_id=school, kind=KIND_ATTENDANCE_MARK)


def _stream(stage: Stage, school: str) -> int:
    pages = stage.client.stream(stage.client.query.QueryRecords, _request(school))
    return sum(1 for page in pages for _ in page.records)


def _check_stream(stage: Stage, school: str, wires: dict[str, bytes]) -> None:
    seen: list[tuple[str, str]] = []
    for page in stage.client.stream(stage.client.query.QueryRecords, _request(school)):
        for record in page.records:
            assert _canonical(record) == wires[record.id]
            seen.append((record.attendance_mark.date, record.id))
    assert len(seen) == len(wires), "records are missing"
    assert seen == sorted(set(seen)), "records are doubled or out of order"


async def measure_points(stage: Stage, school: str, runs: int, points: int) -> results.Figure:
    """Return the 99th percentile of single reads at a concurrency of 16, both sides from this process."""
    client: AsyncMongoClient[Document] = AsyncMongoClient(stage.mongo_uri)
    async with client, grpc.aio.insecure_channel(stage.client.server) as channel:
        records = client[DATABASE]["records"]
        stub = QueryServiceStub(channel)
        cursor = records.find({"school": school, "kind": "attendance_mark"}, {"wire": 1})
        stored = {document["_id"]: document["wire"] async for document in cursor}
        sent = {name: _canonical(Record.FromString(wire)) for name, wire in stored.items()}
        rng = random.Random(SEED)
        ids = sorted(stored)

        async def get(record_id: str) -> bytes:
            answer = await stub.GetRecord(GetRecordRequest(school_id=school, record_id=record_id))
            return _canonical(answer.record)

        async def find(record_id: str) -> bytes:
            document = await records.find_one({"_id": record_id})
            assert document is not None
            wire: bytes = document["wire"]
            return wire

        ours: list[float] = []
        reference: list[float] = []
        for _ in progress.rounds("GetRecord, find_one", runs):
            chosen = rng.choices(ids, k=points)
            ours.append(await _p99(get, chosen, sent))
            reference.append(await _p99(find, chosen, stored))
    return results.ratio(
        "query_point_p99_vs_find_one",
        ours,
        reference,
        sides="ms: GetRecord, find_one",
        goal=3.0,
        better="lower",
    )


def _canonical(record: Record) -> bytes:
    return record.SerializeToString(deterministic=True)


async def _p99(
    read: Callable[[str], Awaitable[bytes]], ids: Sequence[str], expected: dict[str, bytes]
) -> float:
    """Return the 99th percentile of reading ``ids``, in milliseconds."""
    waiting = list(ids)
    took: list[float] = []

    async def worker() -> None:
        while waiting:
            record_id = waiting.pop()
            began = time.perf_counter()
            found = await read(record_id)
            took.append(time.perf_counter() - began)
            assert found == expected[record_id]

    await asyncio.gather(*(worker() for _ in range(_CONCURRENCY)))
    took.sort()
    return 1000 * took[int(len(took) * 0.99)]
