"""A MIS that can be written to, under virtual time, and the doors through which servers come to it.

It does what the MIS of ``tests.support.write_mis`` does, and is asked by the same connector; only the way
there is another one. What befalls a request is drawn from a seed. Every request that arrives is noted with
its moment, and so is every effect, by the key of its write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

from schoolgate_sdk import (
    AuthInvalid,
    Connector,
    ConnectorError,
    Departure,
    Leaving,
    RateLimited,
    SchoolConnection,
    Transient,
    Unsupported,
    WriteValue,
)
from tests.support.write_mis.book import EVENTS, MARKS, NOTES, RESULTS, WRITTEN, people
from tests.support.write_mis.connector import STAFF, STUDENTS, LedgerSession, ledger_connector

Line = dict[str, Any]

REFUSED_BEFORE, TOOK_EFFECT, NEVER_ARRIVED = "error before effect", "error after effect", "request lost"
NO_ANSWER, HELD, NO_ANSWER_HELD = "no answer", "held back, error", "held back, no answer"
ACCEPTED, BUSY, DENIED, REFUSED, BROKEN = "asynchronous", "rate limit", "credentials", "refused", "defect"
FAULTS = (
    *(REFUSED_BEFORE, TOOK_EFFECT, NEVER_ARRIVED, NO_ANSWER, HELD, NO_ANSWER_HELD),
    *(ACCEPTED, BUSY, DENIED, REFUSED, BROKEN),
)


class Arrival(NamedTuple):
    """A request that writes, as it reached the MIS: ``at`` in seconds of the loop."""

    at: float
    entity: str
    key: str
    server: str


class Defect(Exception):
    """What a connector raises that is wrong itself."""


@dataclass
class Pass:
    """Where a server's requests to the MIS pass: ``at`` is told what is about to be done, and may not return.

    A server that is stalled waits there, and one that dies does so.
    """

    name: str
    at: Callable[[str], Awaitable[None]]


@dataclass
class SimulatedWriteMis:
    """``chance`` is how likely a request that writes is struck; ``late`` bounds how late one may be acted on.

    One that is not ``is_dated`` says of every event that it was written just now, so that its date tells
    nobody's apart. ``on_arrival`` looks at each such request before anything comes of it.
    """

    rng: Random
    now: Callable[[], datetime]
    chance: float = 0.0
    read_chance: float = 0.0
    late: float = 20.0
    students: int = 12
    is_dated: bool = True
    on_arrival: Callable[[Arrival], None] = lambda arrival: None
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    effects: Counter[str] = field(default_factory=Counter[str])
    struck: Counter[str] = field(default_factory=Counter[str])
    rows: dict[str, dict[int, Line]] = field(default_factory=lambda: {entity: {} for entity in WRITTEN})
    jobs: dict[int, Line] = field(default_factory=dict[int, Line])
    troubled: set[str] = field(default_factory=set[str])
    """Keys whose requests were struck."""
    _heeded: dict[str, Line] = field(default_factory=dict[str, Line])
    _numbers: int = 0

    def connector(self, passing: Pass) -> Connector:
        """Return the connector as one server has it."""

        @asynccontextmanager
        async def opens(connection: SchoolConnection) -> AsyncGenerator[LedgerSession]:
            await passing.at("open")
            yield LedgerSession(_Door(self, passing))

        return ledger_connector(opens)

    def strike(self) -> str:
        """Return what befalls the next request that writes; empty for nothing."""
        return self.rng.choice(FAULTS) if self.rng.random() < self.chance else ""

    def act(self, entity: str, body: Mapping[str, Any], native_key: str, key: str) -> Line:
        """Let a write take effect, unless its native key has been heeded."""
        if native_key and (known := self._heeded.get(native_key)) is not None:
            return known
        row = {**self._line(entity, body), "done": True}
        self.rows[entity][row["id"]] = row
        self.effects[key] += 1
        if native_key:
            self._heeded[native_key] = row
        return row

    def accept(self, entity: str, body: Mapping[str, Any], native_key: str, key: str) -> Line:
        """Promise to do a write soon, unless its native key has been heeded."""
        if native_key and (known := self._heeded.get(native_key)) is not None:
            return known
        job = {**self._line(entity, body), "done": False}
        self.jobs[job["id"]] = job
        if native_key:
            self._heeded[native_key] = job

        def do() -> None:
            if native_key:
                del self._heeded[native_key]
            job["row"] = self.act(entity, body, native_key, key)["id"]

        asyncio.get_running_loop().call_later(self.rng.uniform(0.1, self.late), do)
        return job

    def later(self, entity: str, body: Mapping[str, Any], native_key: str, key: str) -> None:
        """Let a write take effect when its client may have given up."""
        seconds = self.rng.uniform(0.1, self.late)
        asyncio.get_running_loop().call_later(seconds, self.act, entity, body, native_key, key)

    def found(self, path: str, params: Mapping[str, str]) -> Any:
        """Return the answer to a question."""
        if path in {STUDENTS, STAFF}:
            rows = people(self.students)
            return {"rows": rows, "next": len(rows), "total": len(rows)}
        entity, _, number = path.partition("/")
        if entity == "jobs":
            return {"row": self.jobs[int(number)].get("row")}
        rows = list(self.rows[entity].values())
        if "key" in params and entity == MARKS:
            known = self._heeded.get(params["key"])
            rows = [] if known is None else [known]
        elif "external_id" in params and entity == RESULTS:
            rows = [row for row in rows if row["external_id"] == params["external_id"]]
        elif "pupil" in params and entity == EVENTS:
            about = params["pupil"], params["day"]
            rows = [row for row in rows if (str(row["pupil"]), row["occurred_at"][:10]) == about]
            if not self.is_dated:
                rows = [{**row, "at": self.now().timestamp()} for row in rows]
        elif "ids" in params:
            wanted = {int(each) for each in params["ids"].split(",")}
            rows = [row for row in rows if row["id"] in wanted]
        return {"rows": rows, "next": len(rows), "total": len(rows)}

    def _line(self, entity: str, body: Mapping[str, Any]) -> Line:
        self._numbers += 1
        return {"id": self._numbers, "at": self.now().timestamp(), "entity": entity, **body}


class _Door:
    """One server's way into the MIS."""

    def __init__(self, mis: SimulatedWriteMis, passing: Pass) -> None:
        self._mis = mis
        self._passing = passing

    async def ask(self, path: str, params: Mapping[str, str]) -> Any:
        await self._passing.at("ask")
        mis = self._mis
        await asyncio.sleep(mis.rng.uniform(0.0, 0.2))
        if mis.rng.random() < mis.read_chance:
            raise Transient("the MIS answered HTTP 500")
        return mis.found(path, params)

    async def post(
        self, entity: str, headers: Mapping[str, str], body: Mapping[str, WriteValue], leaving: Leaving
    ) -> dict[str, Any]:
        mis, key = self._mis, headers["X-Judge"]
        native_key = headers.get("Idempotency-Key", "")
        await asyncio.sleep(mis.rng.choice((0.0, 0.05, 2.0, 5.0)))  # its turn
        await self._passing.at("leave")
        leaving(Departure(f"POST {entity}", str(body)))
        fault = mis.strike()
        if fault:
            mis.struck[fault] += 1
            mis.troubled.add(key)
        if fault == NEVER_ARRIVED:
            raise Transient("the connection failed")
        arrival = Arrival(asyncio.get_running_loop().time(), entity, key, self._passing.name)
        mis.arrivals.append(arrival)
        mis.on_arrival(arrival)
        if (error := _refusal(fault)) is not None:
            await self._passing.at("hear")
            raise error
        if fault in {HELD, NO_ANSWER_HELD}:
            mis.later(entity, body, native_key, key)
            return await self._nothing(silent=fault == NO_ANSWER_HELD)
        line = (mis.accept if fault == ACCEPTED else mis.act)(entity, body, native_key, key)
        if fault in {TOOK_EFFECT, NO_ANSWER}:
            return await self._nothing(silent=fault == NO_ANSWER)
        await asyncio.sleep(mis.rng.uniform(0.0, 0.3))
        await self._passing.at("hear")
        if fault == BROKEN:
            raise Defect("a connector's own fault")
        if line["done"]:
            return {"id": line["id"]}
        return {} if entity == NOTES else {"job": line["id"]}

    async def _nothing(self, *, silent: bool) -> dict[str, Any]:
        """Answer nothing that tells what came of it."""
        await self._passing.at("hear")
        if silent:
            await asyncio.Event().wait()
        raise Transient("the MIS answered HTTP 500")


def _refusal(fault: str) -> ConnectorError | None:
    """Return what a connector raises after a request that had no effect; ``None`` where it may have one."""
    if fault == BUSY:
        return RateLimited("the MIS asked for a pause")
    if fault == DENIED:
        return AuthInvalid("the MIS does not accept the credentials")
    if fault == REFUSED:
        return Unsupported("the MIS refuses a value")
    return Transient("the MIS answered HTTP 500") if fault == REFUSED_BEFORE else None
