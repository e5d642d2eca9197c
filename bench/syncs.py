"""Syncs: the first load beside a plain insert, the unchanged snapshot beside a plain read."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import orjson
from pymongo import MongoClient
from pymongo.collection import Collection

from bench import results
from bench.stage import DATABASE, MIS_NUMBER, YEAR, Stage
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate.v1.query_service_pb2 import QueryRecordsRequest
from schoolgate.v1.sync_service_pb2 import Run
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_server.store.indexes import INDEXES

_BATCH = 5_000
_REFERENCE = "reference"
Document = dict[str, Any]


def _created(run: Run) -> int:
    return sum(dataset.created for dataset in run.datasets)


def _rows(run: Run) -> int:
    return sum(dataset.rows_read for dataset in run.datasets)


def measure(stage: Stage, runs: int) -> tuple[list[results.Figure], str]:
    """Return the figures of both, and the id of a school that is loaded."""
    client: MongoClient[Document] = MongoClient(stage.mongo_uri, w="majority")
    try:
        database = client[DATABASE]
        reference = database[_REFERENCE]
        reference.create_indexes(INDEXES["records"])
        first = stage.register()
        stage.sync(first)  # warms the simulator's pages, which both sides are served from
        check_contents(stage, first)
        documents = list(database["records"].find({"school": first}))

        loads: list[float] = []
        inserts: list[float] = []
        for number in range(runs):
            loads.append(_load(stage, len(documents)))
            inserts.append(_insert(reference, documents, number))
        expected = runs * len(documents)
        assert reference.count_documents({}) == expected, "the reference lost documents"

        resyncs: list[float] = []
        decodes: list[float] = []
        for _ in range(runs):
            run, rate = _resync(stage, first, len(documents))
            resyncs.append(rate)
            decodes.append(asyncio.run(_decode(stage, run)))
    finally:
        client.close()
    return [
        results.ratio(
            "first_load_vs_insert", loads, inserts, sides="records/s: sync, insert_many", goal=0.70
        ),
        results.ratio(
            "resync_unchanged_vs_decode", resyncs, decodes, sides="rows/s: sync, HTTP + orjson", goal=0.40
        ),
        results.absolute("resync_unchanged_rate", resyncs, unit="rows/s", goal=100_000),
    ], first


def _load(stage: Stage, expected: int) -> float:
    school = stage.register()
    began = time.perf_counter()
    run = stage.sync(school)
    took = time.perf_counter() - began
    assert _created(run) == expected, f"{_created(run)} records instead of {expected}"
    return expected / took


def _insert(reference: Collection[Document], documents: list[Document], number: int) -> float:
    # Same documents, other ids, as in another school; made before the clock runs.
    batches = list(_batches(documents, number))
    began = time.perf_counter()
    for batch in batches:
        reference.insert_many(batch, ordered=False)
    return len(documents) / (time.perf_counter() - began)


def _batches(documents: list[Document], number: int) -> Iterator[list[Document]]:
    for start in range(0, len(documents), _BATCH):
        yield [
            {**document, "_id": _other_id(document["_id"], number), "school": f"school-{number:012}"}
            for document in documents[start : start + _BATCH]
        ]


def _other_id(record_id: str, number: int) -> str:
    digest = hashlib.blake2b(f"{number}:{record_id}".encode(), digest_size=16).hexdigest()
    return f"{record_id[:4]}{digest}"


def _resync(stage: Stage, school: str, expected: int) -> tuple[Run, float]:
    began = time.perf_counter()
    run = stage.sync(school)
    took = time.perf_counter() - began
    assert run.seq_before == run.seq_after, "an unchanged sync wrote something"
    unchanged = sum(dataset.unchanged for dataset in run.datasets)
    assert unchanged == expected, f"{unchanged} records unchanged instead of {expected}"
    return run, _rows(run) / took


async def _decode(stage: Stage, run: Run) -> float:
    """Read what the run read, and decode it; return the rows of a second."""
    read = [dataset for dataset in DATASETS if dataset.name in {each.dataset for each in run.datasets}]
    credentials = stage.simulator.credentials
    headers = {
        "ApplicationId": credentials["application_id"],
        "ApplicationSecret": credentials["application_secret"],
    }
    rows = 0
    async with aiohttp.ClientSession(headers=headers) as http:
        began = time.perf_counter()
        for dataset in read:
            url = f"{stage.simulator.base_url}/{dataset.entity}"
            rows += await _decode_entity(http, url, dataset.predicate(*YEAR))
        took = time.perf_counter() - began
    assert rows == _rows(run), f"the reference read {rows} rows instead of {_rows(run)}"
    return rows / took


async def _decode_entity(http: aiohttp.ClientSession, url: str, predicate: str) -> int:
    rows, page = 0, 0
    while True:
        query = {"schoolId": str(MIS_NUMBER), "entityFilter": f"{predicate}{{page:{page}}}"}
        async with http.get(url, params=query) as response:
            decoded = orjson.loads(await response.read())["data"]
        if not decoded:
            return rows
        rows += len(decoded)
        page += 1


def check_contents(stage: Stage, school: str) -> None:
    """Compare every mark of ``school`` with the world that the MIS serves."""
    expected = {(m.pupil, m.date.isoformat(), m.session): m.code for m in stage.world.marks()}
    request = QueryRecordsRequest(school_id=school, kind=KIND_ATTENDANCE_MARK, page_size=5000)
    found = {
        (
            record.source_keys[0].parts[0].integer,
            record.attendance_mark.date,
            record.attendance_mark.period_name,
        ): record.attendance_mark.code
        for page in stage.client.stream(stage.client.query.QueryRecords, request)
        for record in page.records
    }
    assert found == expected, "the copy differs from the MIS"
