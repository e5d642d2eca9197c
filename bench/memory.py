"""Measures the memory of a run: peak resident size above idle, for a school with very many marks.

The engine, a real MongoDB in a process of its own, and a connector that makes its rows as they are asked for,
so that nothing but the run takes memory. Three runs are measured: the first load, one of an unchanged school,
and one in which every mark changed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from rich.console import Console
from rich.table import Table

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import (
    Connector,
    Dataset,
    EndOfSnapshot,
    KindSpec,
    Page,
    Parsed,
    Row,
    SchoolConnection,
    Scope,
    source_key,
)
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.reconcile.holds import Thresholds
from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor

_PAGE = 20_000
_YEAR = date(2026, 9, 1)
_SCHOOL = "memory"
_GOAL = 300.0
_RUNS = (("first load", "/"), ("unchanged", "/"), ("every mark changed", "N"))
"""Each run, and the code that every mark has in it."""


class _Plain:
    """Keeps rows unsealed and no credentials: neither is what is measured."""

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        return plain

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        return sealed

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        raise NotImplementedError

    async def get(self, school_id: str) -> dict[str, str] | None:
        return None

    async def forget(self, school_id: str) -> None:
        return None


@dataclass
class _Mis:
    """A MIS of ``rows`` marks; all have ``code``."""

    rows: int
    code: str = "/"

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        first = int(cursor or 0)
        while first < self.rows:
            last = min(first + _PAGE, self.rows)
            rows = [{"student": n // 1400, "slot": n % 1400, "code": self.code} for n in range(first, last)]
            end = EndOfSnapshot(True, expected_rows=self.rows) if last == self.rows else None
            yield Page(rows, str(last), end)
            first = last


def _parse(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    day = (_YEAR + timedelta(days=row["slot"] // 7)).isoformat()
    mark = AttendanceMark(date=day, code=row["code"], period_name=str(row["slot"] % 7))
    key = source_key("memory/mark", row["student"], day, row["slot"] % 7)
    return (Parsed(kinds.KIND_ATTENDANCE_MARK, key, mark),)


def _connector(mis: _Mis) -> Connector:
    @asynccontextmanager
    async def opened(connection: SchoolConnection) -> AsyncGenerator[_Mis]:
        yield mis

    spec = KindSpec(kinds.KIND_ATTENDANCE_MARK, "memory/mark", "date")
    dataset = Dataset("marks", (spec,), ("marks",), _parse, 1, windowed=True)
    return Connector("memory", "Memory", "1", (), (), (dataset,), opened)


def _now() -> datetime:
    return datetime.now(UTC)


def _resident(field: str) -> float:
    """Return a line of the process's memory in MiB: VmRSS, or VmHWM for the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def _run(supervisor: Supervisor) -> pb.Run:
    accepted = await supervisor.start_sync(_SCHOOL, ["marks"], str(uuid.uuid4()), "bench")
    *_, latest = [run async for run in supervisor.watch(_SCHOOL, accepted.run_id)]
    if latest.state != pb.RUN_STATE_SUCCEEDED:
        raise RuntimeError(f"a sync did not succeed: {latest}")
    return latest


async def _measure(rows: int, runs: int) -> list[tuple[str, float, float]]:
    figures: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory(prefix="schoolgate-bench-") as folder:
        async with EmbeddedMongod(EmbeddedOptions(folder=Path(folder), cache_gb=1.0)) as mongod:
            client: Any = AsyncMongoClient[Any](mongod.uri)
            store = Store.open(client, "memory", _now)
            store.credentials = store.row_seal = _Plain()
            await store.prepare()
            mis = _Mis(rows)
            options = SyncOptions(thresholds=Thresholds(updates_fraction=1.0))
            host = ConnectorHost({"memory": _connector(mis)}, {})
            supervisor = Supervisor(store, host, _now, options, "bench", lambda: uuid.uuid4().hex)
            school = School(school_id=_SCHOOL, connector="memory", data_profile=CORE_PROFILE)
            await store.schools.create(school, str(uuid.uuid4()), b"")
            await supervisor.start()
            idle = _resident("VmRSS")
            for name, code in _RUNS[:runs]:
                mis.code = code
                gc.collect()
                _forget_peak()
                began = time.perf_counter()
                await _run(supervisor)
                took = time.perf_counter() - began
                figures.append((name, _resident("VmHWM") - idle, took))
                print(f"{name}: {figures[-1][1]:.0f} MiB above {idle:.0f} idle, {took:.0f} s", flush=True)
            await supervisor.stop()
            await store.close()
    return figures


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="marks of the school (2,000,000)")
    parser.add_argument("--runs", type=int, default=len(_RUNS), help="how many of the runs (all)")
    arguments = parser.parse_args()
    rows = arguments.rows
    table = Table(title=f"memory_per_run, {rows:,} marks")
    for column in ("run", "MiB above idle", "goal", "seconds"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, above, took in asyncio.run(_measure(rows, arguments.runs)):
        table.add_row(name, f"{above:.0f}", f"≤ {_GOAL:.0f}", f"{took:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
