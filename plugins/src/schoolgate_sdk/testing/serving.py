"""A small HTTP server for simulators of MISs, which makes the faults on the wire that the kit asks for.

    server = FaultyServer(("pupils", "groups"))
    async with server.serving(handle) as url:
        …

``handle(request)`` is the simulator's: it looks at credentials and path, and returns
``server.refuse(status)`` or ``await server.answer(request, entity, page, rows, body)``, through which faults
strike. ``server.fault``, ``server.clear_faults``, ``server.struck`` and ``lambda: server.requests`` are what
``SimulatedMis`` asks for, :data:`FAULTS` what the target can name. Needs the extra ``schoolgate-sdk[http]``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import orjson
from aiohttp import web

from schoolgate_sdk.testing.conformance.target import Fault

Rows: TypeAlias = list[dict[str, Any]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON: Final = "application/json"
_PADDING: Final = "   "

FAULTS: Final = frozenset(
    {
        *("slow", "late", "cut", "reset", "status", "rate_limit", "invalid_json", "truncate_page"),
        *("duplicate_rows", "padded_rows", "loop_page", "revoke", "grant", "registration_hour"),
    }
)
"""Names of the faults that the server makes."""

WRITE_FAULTS: Final = frozenset({"error_after_effect", "lost_answer", "error_before_effect"})
"""Names of those that strike a write; see :meth:`FaultyServer.wrote`."""

_OF_ROWS: Final = frozenset({"truncate_page", "duplicate_rows", "padded_rows", "loop_page"})

_EVERY: Final = 4
"""Of a registration hour, every fourth request is refused."""


class FaultyServer:
    """Answers on the loopback address. ``granted`` are the entities that may be read; at first all."""

    def __init__(self, entities: Collection[str]) -> None:
        self.granted = set(entities)
        self.requests = 0
        self._faults: list[Fault] = []
        self._struck: Counter[str] = Counter()

    def fault(self, fault: Fault) -> None:
        """Let a fault strike the next requests that it matches; grants change at once."""
        if fault.kind == "grant" and fault.entity:
            self.granted.add(fault.entity)
        elif fault.kind == "revoke" and fault.entity and fault.page is None:
            self.granted.discard(fault.entity)
        else:
            self._faults.append(fault)

    def clear_faults(self) -> None:
        """Forget the faults that may still strike."""
        self._faults.clear()

    def struck(self, kind: str) -> int:
        """Return how many requests faults of a kind have struck, and not left as they were."""
        return self._struck[kind]

    @asynccontextmanager
    async def serving(self, handler: Handler) -> AsyncGenerator[str]:
        """Answer by ``handler`` on a free port until the block is left; yields the address."""

        async def counted(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            return await handler(request)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", counted)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def refuse(self, status: int) -> web.Response:
        """Return a refusal."""
        return web.json_response({"error": status}, status=status)

    async def answer(
        self,
        request: web.Request,
        entity: str,
        page: int,
        rows: Callable[[int], Rows],
        body: Callable[[Rows], object],
    ) -> web.StreamResponse:
        """Answer with one page, or as a fault has it.

        ``page`` is the number of the page from 0, ``rows(page)`` its rows, and ``body(rows)`` what the MIS
        sends for them.
        """
        fault = self._strike(entity, page)
        kind = fault.kind if fault else ""
        if kind == "revoke":
            self.granted.discard(entity)
            self._struck[kind] += 1
        if entity not in self.granted:
            return self.refuse(403)
        honest = rows(page)
        found = rows(fault.page or 0) if fault and kind == "loop_page" and page > 0 else honest
        spoiled = _spoiled(found, fault)
        text = orjson.dumps(body(spoiled))
        if fault is None:
            return _response(text)
        if kind not in _OF_ROWS or spoiled != honest:
            self._struck[kind] += 1
        return await self._faulty(request, fault, text)

    async def wrote(
        self, request: web.Request, entity: str, effect: Callable[[], object]
    ) -> web.StreamResponse:
        """Let a write take effect and answer with what ``effect`` returns, or as a fault has it."""
        fault = self._strike(entity, 0)
        if fault is not None:
            self._struck[fault.kind] += 1
        if fault is not None and fault.kind == "error_before_effect":
            return self.refuse(500)
        text = orjson.dumps(effect())
        if fault is None:
            return _response(text)
        if fault.kind == "error_after_effect":
            return self.refuse(500)
        return await self._faulty(request, replace(fault, kind="reset"), text)

    def _strike(self, entity: str, page: int) -> Fault | None:
        for place, fault in enumerate(self._faults):
            if fault.entity not in {None, entity}:
                continue
            later = fault.kind == "loop_page" and fault.page is not None and page > fault.page
            if not later and fault.page not in {None, page}:
                continue
            if fault.times is not None:
                left = fault.times - 1
                self._faults[place : place + 1] = [replace(fault, times=left)] if left else []
            return fault
        return None

    async def _faulty(self, request: web.Request, fault: Fault, text: bytes) -> web.StreamResponse:
        match fault.kind:
            case "slow" | "late":
                await asyncio.sleep(fault.seconds or 0.0)
            case "registration_hour":
                await asyncio.sleep(fault.seconds or 0.0)
                if self.requests % _EVERY == 0:
                    return self.refuse(429)
            case "status":
                # With the rows in the body: an error that quotes it would tell of pupils.
                return web.Response(status=fault.status or 500, body=text, content_type=_JSON)
            case "rate_limit":
                headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return web.json_response({}, status=429, headers=headers)
            case "invalid_json":
                return _response(text[: len(text) * 2 // 3])
            case "cut" | "reset":
                return await _broken(request, text, abort=fault.kind == "reset")
            case _:
                pass
        return _response(text)


def _spoiled(rows: Rows, fault: Fault | None) -> Rows:
    match fault:
        case Fault(kind="truncate_page", keep=keep):
            return rows[: len(rows) // 2 if keep is None else keep]
        case Fault(kind="duplicate_rows"):
            return [row for row in rows for _ in range(2)]
        case Fault(kind="padded_rows"):
            return [
                {name: value + _PADDING if isinstance(value, str) else value for name, value in row.items()}
                for row in rows
            ]
        case _:
            return rows


def _response(text: bytes) -> web.Response:
    return web.Response(body=text, content_type=_JSON)


async def _broken(request: web.Request, text: bytes, *, abort: bool) -> web.StreamResponse:
    """Send half of the body that was announced, then end the connection."""
    response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": f"{len(text)}"})
    await response.prepare(request)
    await response.write(text[: len(text) // 2])
    if request.transport is not None:
        if abort:
            request.transport.abort()
        else:
            request.transport.close()
    return response
