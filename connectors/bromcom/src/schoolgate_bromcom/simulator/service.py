"""The Partner API's side: authentication, grants, filters, pages, and the faults that strike them."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from schoolgate_bromcom.simulator import entity_filter
from schoolgate_bromcom.simulator.effects import SchoolAccount, apply_effect
from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.faults import SURFACES, Fault, FaultKind, FaultScript, Surface
from schoolgate_bromcom.simulator.request_log import RequestLog
from schoolgate_bromcom.simulator.school import PageText, SimulatedSchool

_JSON: Final = "application/json"
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT", re.ASCII)
_EMPTY_PAGE: Final = PageText(b"[]", 0)


class PartnerApi:
    """Answers ``GET /v2/{Entity}``.

    ``accounts`` are those of the schools at the SOAP services, which are another service's to check; here
    they only hear of grants that are withdrawn. ``expired`` are surfaces that take no credentials any more.
    """

    def __init__(
        self,
        schools: Mapping[int, SimulatedSchool],
        application_id: str,
        application_secret: str,
        accounts: Mapping[int, SchoolAccount] | None = None,
    ) -> None:
        self.schools = schools
        self.accounts = accounts or {}
        self.faults = FaultScript()
        self.log = RequestLog()
        self.expired: set[Surface] = set()
        self._application_id = application_id.encode()
        self._application_secret = application_secret.encode()

    def expire(self, fault: Fault) -> None:
        """Let the credentials of the fault's surface, or of both, expire."""
        self.expired.update(surface for surface in SURFACES if fault.surface in {None, surface})

    def forget_faults(self) -> None:
        """Forget the faults that have not struck, and take credentials again; grants stay as they are."""
        self.faults.clear()
        self.expired.clear()

    async def entity(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and log it, without what it asked for beyond entity, school and page."""
        entity = request.match_info["entity"]
        school_id = request.query.get("schoolId", "")
        try:
            predicate, page = entity_filter.parse(request.query.get("entityFilter", ""))
        except entity_filter.FilterRefused as refused:
            self.log.add(entity, school_id, None, 200, 0)
            return self.authentication_failure(request) or _unsuccessful(str(refused))
        response, rows = await self._answer(request, entity, school_id, predicate, page)
        self.log.add(entity, school_id, page, response.status, rows)
        return response

    async def _answer(
        self,
        request: web.Request,
        entity: str,
        school_id: str,
        predicate: entity_filter.Predicate,
        number: int,
    ) -> tuple[web.StreamResponse, int]:
        refusal = self.authentication_failure(request)
        if refusal is not None:
            return refusal, 0
        school = self.schools.get(int(school_id)) if school_id.isascii() and school_id.isdigit() else None
        if school is None:
            return _unsuccessful("unknown schoolId"), 0
        if entity not in ENTITIES:
            return web.json_response({"message": "No such entity."}, status=404), 0
        fault = self.faults.strike("partner", school.number, entity, number)
        if fault is not None:
            apply_effect(fault, school, self.accounts.get(school.number))
        if entity not in school.granted:
            return web.json_response({"message": "Not in the granted scope."}, status=403), 0
        looped = fault.page if fault and fault.kind is FaultKind.LOOP_PAGE else None
        served = number if looped is None else looped
        try:
            page = self._page(school, entity, predicate, served, fault)
        except entity_filter.FilterRefused as refused:
            return _unsuccessful(str(refused)), 0
        if fault is not None and fault.kind in _STRIKES:
            return await _STRIKES[fault.kind](request, fault, page), page.rows
        return _page_response(page), page.rows

    def _page(
        self,
        school: SimulatedSchool,
        entity: str,
        predicate: entity_filter.Predicate,
        number: int,
        fault: Fault | None,
    ) -> PageText:
        kind = fault.kind if fault else None
        if kind is FaultKind.OTHER_SCHOOL:
            others = [other for other in self.schools.values() if other is not school]
            return others[0].page(ENTITIES[entity], predicate, number) if others else _EMPTY_PAGE
        page = school.page(ENTITIES[entity], predicate, number)
        if kind is FaultKind.TRUNCATE_PAGE and fault is not None:
            rows = orjson.loads(page.text)
            kept = rows[: len(rows) // 2 if fault.keep is None else fault.keep]
            return PageText(orjson.dumps(kept), len(kept))
        if kind is FaultKind.DUPLICATE_ROWS:
            rows = orjson.loads(page.text)
            return PageText(orjson.dumps([row for row in rows for _ in range(2)]), 2 * page.rows)
        if kind is FaultKind.PADDED_ROWS:
            rows = orjson.loads(page.text)
            return PageText(orjson.dumps([padded(row) for row in rows]), page.rows)
        return page

    def authentication_failure(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request without the application's credentials, else ``None``."""
        given_id = request.headers.get("ApplicationId", "").encode()
        given_secret = request.headers.get("ApplicationSecret", "").encode()
        accepted = hmac.compare_digest(given_id, self._application_id) and hmac.compare_digest(
            given_secret, self._application_secret
        )
        accepted = accepted and "partner" not in self.expired
        return None if accepted else web.json_response({"message": "Unauthorized."}, status=401)


def padded(row: Mapping[str, object]) -> dict[str, object]:
    """Return the row with all its texts padded; dates and times are no text to a database."""
    return {
        name: f"{value}     " if isinstance(value, str) and not _MOMENT.match(value) else value
        for name, value in row.items()
    }


def _page_response(page: PageText) -> web.Response:
    return web.Response(body=b'{"success":true,"data":' + page.text + b"}", content_type=_JSON)


def _unsuccessful(message: str) -> web.Response:
    return web.json_response({"success": False, "message": message, "data": None})


async def _status(_request: web.Request, fault: Fault, page: PageText) -> web.StreamResponse:
    # The rows are in the body on purpose: an error that quotes it would leak pupils' data.
    return web.Response(status=fault.status, body=page.text, content_type=_JSON)


async def _invalid_json(_request: web.Request, _fault: Fault, page: PageText) -> web.StreamResponse:
    text = b'{"success":true,"data":' + page.text
    return web.Response(body=text[: max(1, len(text) * 2 // 3)], content_type=_JSON)


async def _success_false(_request: web.Request, _fault: Fault, _page: PageText) -> web.StreamResponse:
    return _unsuccessful("An error has occurred.")


async def _null_data(_request: web.Request, _fault: Fault, _page: PageText) -> web.StreamResponse:
    return web.json_response({"success": True, "data": None})


async def _slow(_request: web.Request, fault: Fault, page: PageText) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return _page_response(page)


async def _rate_limit(_request: web.Request, fault: Fault, _page: PageText) -> web.StreamResponse:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    return web.json_response({"message": "Too many requests."}, status=429, headers=headers)


async def _registration_hour(request: web.Request, fault: Fault, page: PageText) -> web.StreamResponse:
    if fault.struck % 3 == 0:
        return await _rate_limit(request, fault, page)
    return await _slow(request, fault, page)


async def _broken(request: web.Request, page: PageText, *, in_order: bool) -> web.StreamResponse:
    """Send half of the answer, and then close the connection, in order or not."""
    body = b'{"success":true,"data":' + page.text + b"}"
    response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(body))})
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        if in_order:
            request.transport.close()
        else:
            request.transport.abort()
    return response


async def _cut(request: web.Request, _fault: Fault, page: PageText) -> web.StreamResponse:
    return await _broken(request, page, in_order=True)


async def _reset(request: web.Request, _fault: Fault, page: PageText) -> web.StreamResponse:
    return await _broken(request, page, in_order=False)


_Strike = Callable[[web.Request, Fault, PageText], Awaitable[web.StreamResponse]]
_STRIKES: Final[Mapping[FaultKind, _Strike]] = {
    FaultKind.STATUS: _status,
    FaultKind.INVALID_JSON: _invalid_json,
    FaultKind.SUCCESS_FALSE: _success_false,
    FaultKind.NULL_DATA: _null_data,
    FaultKind.SLOW: _slow,
    FaultKind.LATE: _slow,
    FaultKind.CUT: _cut,
    FaultKind.RESET: _reset,
    FaultKind.RATE_LIMIT: _rate_limit,
    FaultKind.REGISTRATION_HOUR: _registration_hour,
}
