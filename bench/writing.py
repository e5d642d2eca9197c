"""Writes: how long it takes to accept one, beside one insert with the same concern."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc
from pymongo import AsyncMongoClient
from pymongo.write_concern import WriteConcern

from bench import progress, results
from bench.stage import DATABASE, SEED, Stage
from schoolgate.v1.kind_pb2 import KIND_STAFF, KIND_STUDENT, Kind
from schoolgate.v1.query_service_pb2 import QueryRecordsRequest
from schoolgate.v1.writeback_service_pb2 import (
    WRITE_POLICY_APPROVAL,
    WRITE_STATE_PENDING,
    GetWriteRequest,
    RecordBehaviourEvent,
    SetWritePolicyRequest,
    SubmitWriteRequest,
    WriteOperation,
)
from schoolgate.v1.writeback_service_pb2_grpc import WritebackServiceStub
from schoolgate_server.model.clock import system_clock

_OPERATION = "record_behaviour_event"


async def measure(stage: Stage, school: str, runs: int, writes: int) -> results.Figure:
    """Return the 99th percentile of SubmitWrite, one call at a time, over that of ``insert_one``.

    Writes are accepted under policy APPROVAL, so that they stay where their acceptance has put them: durable
    and PENDING. At the end each is looked up in the ledger, where it has to be what was submitted.
    """
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(stage.mongo_uri)
    async with client, grpc.aio.insecure_channel(stage.client.server) as channel:
        stub = WritebackServiceStub(channel)
        await stub.SetWritePolicy(
            SetWritePolicyRequest(
                school_id=school,
                operation=_OPERATION,
                policy=WRITE_POLICY_APPROVAL,
                request_id=str(uuid.uuid4()),
            )
        )
        database = client[DATABASE]
        plain = database.get_collection("bench_inserts", write_concern=WriteConcern(w="majority"))
        requests = _requests(stage, school, runs * writes)
        size = len(requests[0].SerializeToString())
        waiting = iter(requests)
        accepted: list[str] = []

        async def submit() -> None:
            answer = await stub.SubmitWrite(next(waiting))
            assert answer.write.state == WRITE_STATE_PENDING
            assert not answer.repeated
            accepted.append(answer.write.write_id)

        async def insert() -> None:
            await plain.insert_one({"_id": uuid.uuid4().hex, "body": bytes(size)})

        ours: list[float] = []
        reference: list[float] = []
        for _ in progress.rounds("SubmitWrite, insert_one", runs):
            ours.append(await _p99(submit, writes))
            reference.append(await _p99(insert, writes))
        stored = await database["writes"].count_documents({"school": school})
        assert stored == runs * writes, "a write that was accepted is not in the ledger"
        assert await plain.count_documents({}) == runs * writes, "the reference lost documents"
        for request, write_id in zip(requests, accepted, strict=True):
            found = await stub.GetWrite(GetWriteRequest(school_id=school, write_id=write_id))
            assert found.write.state == WRITE_STATE_PENDING
            assert found.write.operation == request.operation, "the ledger differs from what was submitted"
    return results.ratio(
        "write_accept_p99_vs_insert",
        ours,
        reference,
        sides="ms: SubmitWrite, insert_one",
        goal=3.0,
        better="lower",
    )


def _requests(stage: Stage, school: str, number: int) -> list[SubmitWriteRequest]:
    rng = random.Random(SEED)
    students, staff = _ids(stage, school, KIND_STUDENT), _ids(stage, school, KIND_STAFF)
    types = sorted(stage.world.behaviour_types)
    now = system_clock()
    return [
        SubmitWriteRequest(
            school_id=school,
            operation=WriteOperation(
                record_behaviour_event=RecordBehaviourEvent(
                    student_id=rng.choice(students),
                    type_code=str(rng.choice(types)),
                    occurred_at=_minute(now - timedelta(minutes=n)),
                    staff_id=rng.choice(staff),
                    points=1,
                    comment="Helped to clear the laboratory after the lesson.",
                )
            ),
            source_record_id=f"bench-{n}",
        )
        for n in range(number)
    ]


def _minute(at: datetime) -> str:
    return at.replace(second=0, microsecond=0).isoformat()


def _ids(stage: Stage, school: str, kind: Kind.ValueType) -> list[str]:
    pages = stage.client.stream(
        stage.client.query.QueryRecords, QueryRecordsRequest(school_id=school, kind=kind)
    )
    return [record.id for page in pages for record in page.records]


async def _p99(act: Callable[[], Awaitable[None]], times: int) -> float:
    """Return the 99th percentile of acting, in milliseconds."""
    took: Sequence[float] = [await _timed(act) for _ in range(times)]
    return 1000 * sorted(took)[int(times * 0.99)]


async def _timed(act: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await act()
    return time.perf_counter() - began
