"""Syncs: first loads, unchanged and changed snapshots, each beside what they are compared with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from bench import progress, results, source
from bench.checks import check_counts, check_marks, rows_read
from bench.peer import Peer
from bench.stage import DATABASE, Stage
from schoolgate_server.store.indexes import INDEXES

_BATCH = 5_000
_REFERENCE = "reference"
_CHANGED = 0.01
"""The part of the rows that changes."""

Document = dict[str, Any]


@dataclass(slots=True)
class _Sides:
    """The runs of both sides, in seconds or as rows/s."""

    ours: list[float] = field(default_factory=list[float])
    reference: list[float] = field(default_factory=list[float])
    peer: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class _School:
    """A school that is loaded: how many rows its MIS has, and the documents of its records."""

    id: str
    rows: int
    documents: list[Document]


def measure(stage: Stage, peer: Peer, runs: int) -> tuple[list[results.Figure], str]:
    """Return the figures, and the id of a school that is loaded."""
    client: MongoClient[Document] = MongoClient(stage.mongo_uri, w="majority")
    try:
        database = client[DATABASE]
        rows, _ = source.decode(stage)  # makes the simulator's pages, which all sides are served from
        peer.choose()
        school_id = stage.register()
        run = stage.sync(school_id)
        assert rows_read(run) == rows, f"{rows_read(run)} rows were read instead of {rows}"
        check_marks(stage, school_id)
        school = _School(school_id, rows, list(database["records"].find({"school": school_id})))
        check_counts(run, created=len(school.documents))
        reference = database[_REFERENCE]
        reference.create_indexes(INDEXES["records"])
        loads = _first_loads(stage, peer, school, reference, runs)
        reference.drop()
        resyncs = _resyncs(stage, peer, school, runs)
        changed = _changes(stage, school, runs)
    finally:
        client.close()
    return [
        results.ratio(
            "first_load_vs_insert",
            [len(school.documents) / took for took in loads.ours],
            loads.reference,
            sides="records/s: sync, insert_many",
            goal=0.70,
        ),
        results.ratio(
            "resync_unchanged_vs_decode",
            resyncs.ours,
            resyncs.reference,
            sides="rows/s: sync, HTTP + orjson",
            goal=0.40,
        ),
        results.absolute("resync_unchanged_rate", resyncs.ours, unit="rows/s", goal=100_000),
        results.ratio(
            "resync_1pct_changed_vs_unchanged",
            changed.ours,
            changed.reference,
            sides="s: 1% changed, unchanged",
            goal=1.5,
            better="lower",
        ),
        _beside_dlt("first_load", [rows / took for took in loads.ours], loads.peer, peer, "first_load"),
        _beside_dlt("resync_unchanged", resyncs.ours, resyncs.peer, peer, "unchanged"),
    ], school.id


def _beside_dlt(what: str, ours: list[float], dlt: list[float], peer: Peer, tried: str) -> results.Figure:
    return results.ratio(
        f"{what}_vs_dlt_scd2",
        ours,
        dlt,
        sides=f"rows/s: sync, dlt ({peer.way})",
        goal=10,
        details={f"dlt by {way}, a month (rows/s)": rate for way, rate in peer.tried[tried].items()},
    )


def _first_loads(
    stage: Stage, peer: Peer, school: _School, reference: Collection[Document], runs: int
) -> _Sides:
    """Return the seconds of ours, the documents/s of the reference and the rows/s of the peer."""
    sides = _Sides()
    for number in progress.rounds("first load, insert_many, dlt", runs):
        loaded = stage.register()
        began = time.perf_counter()
        run = stage.sync(loaded)
        sides.ours.append(time.perf_counter() - began)
        check_counts(run, created=len(school.documents))
        check_marks(stage, loaded)
        sides.reference.append(_insert(reference, school.documents, number))
        sides.peer.append(school.rows / peer.first_load())
        peer.check()
    expected = runs * len(school.documents)
    assert reference.count_documents({}) == expected, "the reference lost documents"
    return sides


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


def _resyncs(stage: Stage, peer: Peer, school: _School, runs: int) -> _Sides:
    """Return the rows/s of each side."""
    sides = _Sides()
    for _ in progress.rounds("unchanged: sync, decode, dlt", runs):
        sides.ours.append(school.rows / _unchanged(stage, school))
        rows, took = source.decode(stage)
        assert rows == school.rows, f"the reference read {rows} rows instead of {school.rows}"
        sides.reference.append(rows / took)
        sides.peer.append(school.rows / peer.load())
    peer.check()
    check_marks(stage, school.id)
    return sides


def _unchanged(stage: Stage, school: _School) -> float:
    began = time.perf_counter()
    run = stage.sync(school.id)
    took = time.perf_counter() - began
    check_counts(run, unchanged=len(school.documents))
    assert rows_read(run) == school.rows, f"{rows_read(run)} rows were read instead of {school.rows}"
    return took


def _changes(stage: Stage, school: _School, runs: int) -> _Sides:
    """Return the seconds of a snapshot in which 1% of the rows changed, and of the same one again."""
    sides = _Sides()
    number = round(_CHANGED * school.rows)
    for seed in progress.rounds("1% changed, unchanged", runs):
        source.change_marks(stage, number, seed)
        source.decode(stage)  # makes the simulator's pages again: its time is not ours
        began = time.perf_counter()
        run = stage.sync(school.id)
        sides.ours.append(time.perf_counter() - began)
        check_counts(run, updated=number, unchanged=len(school.documents) - number)
        check_marks(stage, school.id)
        sides.reference.append(_unchanged(stage, school))
    return sides
