"""The MIS beside what is measured: reading all its pages, and editing its marks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import date
from typing import Any

import aiohttp
import orjson

from bench.stage import MIS_NUMBER, SEED, YEAR, Stage
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_sdk.testing.entities import Mark
from schoolgate_server.cli.demo.mis import Simulator

_EDITS_AT_ONCE = 4

Rows = list[dict[str, Any]]


Reads = dict[str, tuple[str, str]]


def reads(until: date = YEAR[1]) -> Reads:
    """Return the entity and the filter of each dataset that a sync of the school reads, by its name; what has
    a date only before ``until``.
    """
    return {dataset.name: (dataset.entity, dataset.predicate(YEAR[0], until)) for dataset in DATASETS}


def headers(simulator: Simulator) -> dict[str, str]:
    """Return the HTTP headers with which a simulator answers."""
    given = simulator.credentials
    return {"ApplicationId": given["application_id"], "ApplicationSecret": given["application_secret"]}


async def _pages(
    http: aiohttp.ClientSession, base_url: str, entity: str, predicate: str
) -> AsyncIterator[Rows]:
    page = 0
    while True:
        query = {"schoolId": str(MIS_NUMBER), "entityFilter": f"{predicate}{{page:{page}}}"}
        async with http.get(f"{base_url}/{entity}", params=query) as response:
            decoded: Rows = orjson.loads(await response.read())["data"]
        if not decoded:
            return
        yield decoded
        page += 1


async def _decode(simulator: Simulator) -> tuple[int, float]:
    rows = 0
    async with aiohttp.ClientSession(headers=headers(simulator)) as http:
        began = time.perf_counter()
        for entity, predicate in reads().values():
            async for page in _pages(http, simulator.base_url, entity, predicate):
                rows += len(page)
        return rows, time.perf_counter() - began


def decode(stage: Stage) -> tuple[int, float]:
    """Read what a sync reads, and decode it; return the number of rows, and the seconds that it took.

    The simulator writes its pages when they are first asked for: a first call makes them for all that
    follow, until the next edit.
    """
    return asyncio.run(_decode(stage.simulator))


async def _read(simulator: Simulator, entity: str, predicate: str) -> Rows:
    async with aiohttp.ClientSession(headers=headers(simulator)) as http:
        return [row async for page in _pages(http, simulator.base_url, entity, predicate) for row in page]


def distinct_rows(stage: Stage, datasets: Reads) -> dict[str, int]:
    """Return how many rows each dataset has: a MIS pads texts and tells rows twice, which counts once."""
    return {
        name: len({tuple(_trimmed(row)) for row in asyncio.run(_read(stage.simulator, entity, predicate))})
        for name, (entity, predicate) in datasets.items()
    }


def _trimmed(row: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in row.items():
        yield name, value.rstrip() if isinstance(value, str) else value


def change_marks(stage: Stage, number: int, seed: int) -> None:
    """Correct ``number`` marks in the MIS, and in the world that the copy is compared with."""
    rng = random.Random(f"{SEED}:{seed}")
    chosen = rng.sample(list(stage.world.marks()), number)
    edits = [_correction(mark) for mark in chosen]
    for edit in edits:
        stage.world.apply(edit)
    asyncio.run(_edit(stage.simulator, edits))


def _correction(mark: Mark) -> dict[str, object]:
    return {
        "op": "correct_mark",
        "pupil": mark.pupil,
        "date": mark.date.isoformat(),
        "session": mark.session,
        "code": "I" if mark.code == "M" else "M",
    }


async def _edit(simulator: Simulator, edits: Sequence[dict[str, object]]) -> None:
    waiting = list(edits)
    async with aiohttp.ClientSession() as http:

        async def editor() -> None:
            while waiting:
                body = {"school": MIS_NUMBER, **waiting.pop()}
                async with http.post(f"{simulator.url}/_simulator/edit", json=body) as response:
                    assert response.status == 200, await response.text()

        await asyncio.gather(*(editor() for _ in range(_EDITS_AT_ONCE)))
