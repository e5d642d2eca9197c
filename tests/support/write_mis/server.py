"""A MIS that can be written to, as a process of its own: ``python -m tests.support.write_mis.server``.

It is honest about what it keeps, and as ugly as such things are: it stores the same event as often as it is
told to, answers 500 after it has done what was asked, and acts on requests whose clients have long gone.
Every write carries the header ``X-Judge`` with the key that the server asked for it under. The MIS takes no
notice of it but to tell the judge what came of that key; only marks heed a key, of a header of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from schoolgate_sdk.testing.simulating import bad_request, json_object, run_simulator, serve_until_ended
from tests.support.write_mis import faults
from tests.support.write_mis.book import EVENTS, MARKS, NOTES, RESULTS, WRITTEN, Book
from tests.support.write_mis.disk import Line
from tests.support.write_mis.faults import Fates, Odds

PAGE = 500
"""Rows."""
ODDS = "odds.json"
TICK = 0.02
"""Seconds between looks at what is due."""
SLOW_SECONDS = 0.3
HELD_LONGER = 60.0
"""Seconds that a request is left without an answer after it was acted upon."""


class WriteMis:
    """Answers requests from its book, as the odds have it."""

    def __init__(self, folder: Path, pupils: int) -> None:
        self._folder = folder
        self._book = Book(folder, pupils)
        odds = Odds.read(orjson.loads(path.read_bytes())) if (path := folder / ODDS).exists() else Odds()
        struck = Counter(str(line["judged"]) for line in self._book.noted() if "fault" in line)
        self._fates = Fates(odds, struck)
        self._held: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return what serves it."""
        application = web.Application()
        application.router.add_post("/_control/odds", self._set_odds)
        for name in self._book.people:
            application.router.add_get(f"/{name}", self._people)
        application.router.add_get("/jobs/{number}", self._job)
        for entity in WRITTEN:
            application.router.add_post(f"/{entity}", self._written)
        for entity in (MARKS, RESULTS, EVENTS):
            application.router.add_get(f"/{entity}", self._read)
        application.cleanup_ctx.append(self._working)
        return application

    async def _working(self, application: web.Application) -> AsyncGenerator[None]:
        async def work() -> None:
            while True:
                self._book.do_what_is_due()
                await asyncio.sleep(TICK)

        working = asyncio.create_task(work())
        yield
        for task in (working, *self._held):
            task.cancel()
        await asyncio.gather(working, *self._held, return_exceptions=True)

    async def _set_odds(self, request: web.Request) -> web.Response:
        try:
            self._fates.odds = Odds.read(await json_object(request))
        except (ValueError, TypeError) as error:
            raise bad_request(str(error)) from None
        (self._folder / ODDS).write_bytes(orjson.dumps(self._fates.odds.as_json()))
        return web.json_response({})

    async def _people(self, request: web.Request) -> web.Response:
        return _page(request, self._book.people[request.path.removeprefix("/")])

    async def _job(self, request: web.Request) -> web.Response:
        job = self._book.jobs.get(int(request.match_info["number"]))
        if job is None:
            raise web.HTTPNotFound
        return web.json_response({"row": job.get("row")})

    async def _read(self, request: web.Request) -> web.Response:
        """Show rows: all of them in pages, or those that the query names."""
        entity, query = request.path.removeprefix("/"), request.query
        rows = [_shown(row) for row in self._book.rows[entity].values()]
        if "key" in query and entity == MARKS:
            found = self._book.heeded(query["key"])
            return _rows([] if found is None else [_shown(found)])
        if "external_id" in query and entity == RESULTS:
            rows = [row for row in rows if row["external_id"] == query["external_id"]]
        elif "pupil" in query and entity == EVENTS:
            about = query["pupil"], query["day"]
            rows = [row for row in rows if (str(row["pupil"]), row["occurred_at"][:10]) == about]
        elif "ids" in query:
            wanted = {int(number) for number in query["ids"].split(",")}
            rows = [row for row in rows if row["id"] in wanted]
        else:
            return _page(request, rows)
        return _rows(rows)

    async def _written(self, request: web.Request) -> web.StreamResponse:
        entity, judged = request.path.removeprefix("/"), request.headers["X-Judge"]
        key = request.headers.get("Idempotency-Key", "") if entity == MARKS else ""
        body = await json_object(request)
        self._book.arrived(entity, judged)
        fault, rng = self._fates.fate(entity, judged)
        if fault:
            self._book.note(fault, entity, judged)

        def act() -> Line:
            return self._book.write(entity, body, key, judged)

        if fault in faults.WITH_EFFECT:
            act()
        if fault in faults.REFUSALS:
            return _refused(request, fault)
        odds = self._fates.odds
        match fault:
            case faults.HELD:
                return await self._hold(rng.uniform(*odds.held), act)
            case faults.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            case faults.ASYNCHRONOUS if not key or self._book.heeded(key) is None:
                seconds = rng.uniform(*odds.delay)
                return _accepted(entity, self._book.accept(entity, body, key, judged, seconds))
            case _:
                pass
        return _answered(entity, act())

    async def _hold(self, seconds: float, act: Callable[[], object]) -> web.Response:
        """Act when the client has long given up; nobody waits for the answer."""

        async def held() -> None:
            await asyncio.sleep(seconds)
            act()

        task = asyncio.create_task(held())
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        await asyncio.sleep(seconds + HELD_LONGER)
        return _error(504)


def _shown(row: Line) -> dict[str, Any]:
    """Return a row as the MIS shows it: of the judge's key it says nothing."""
    return {"id": row["id"], "at": row["at"], "done": row["what"] == "row", **row["body"]}


def _answered(entity: str, line: Line) -> web.Response:
    if line["what"] == "job":
        return _accepted(entity, line)
    return web.json_response({"id": line["id"]}, status=201)


def _accepted(entity: str, job: Line) -> web.Response:
    """Say that a write will be done; for notes the MIS does not say how to ask."""
    return web.json_response({} if entity == NOTES else {"job": job["id"]}, status=202)


def _error(status: int) -> web.Response:
    return web.json_response({"error": status}, status=status)


def _refused(request: web.Request, fault: str) -> web.Response:
    """Answer as a fault has it that leaves no answer, or a bad one."""
    if fault in {faults.EXITS, faults.EXITS_AFTER}:
        os._exit(3)
    if fault == faults.BUSY:
        return web.Response(status=429, headers={"Retry-After": "1"})
    if fault in {faults.DROPPED, faults.DROPPED_BEFORE} and request.transport is not None:
        request.transport.abort()
    return _error(500)


def _rows(rows: Sequence[Mapping[str, Any]]) -> web.Response:
    return web.Response(body=orjson.dumps({"rows": list(rows)}), content_type="application/json")


def _page(request: web.Request, rows: Sequence[Mapping[str, Any]]) -> web.Response:
    start = int(request.query.get("from", "0"))
    part = list(rows[start : start + PAGE])
    body = {"rows": part, "next": start + len(part), "total": len(rows)}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def main() -> int:
    """Serve until SIGTERM, or until a fault ends the process with status 3."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pupils", type=int, default=40)
    given = parser.parse_args()
    mis = WriteMis(given.folder, given.pupils)
    serving = serve_until_ended(mis.application(), "127.0.0.1", given.port, lambda url: {})
    return run_simulator("write_mis", serving)


if __name__ == "__main__":
    raise SystemExit(main())
