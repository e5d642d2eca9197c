"""The API: authentication, approvals, pages, counts, deletions and writes, and faults that strike them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from schoolgate_wonde.simulator.entities import CONDUCT, RESOURCES
from schoolgate_wonde.simulator.ids import moment_of
from schoolgate_wonde.simulator.request_log import RequestLog
from schoolgate_wonde.simulator.school import Row, SimulatedSchool
from schoolgate_wonde.simulator.scripted import Scripted
from schoolgate_wonde.simulator.writes import WRITABLE, answer_delete, answer_write

STATES: Final = ("pending", "audited", "declined", "revoked")
"""Lists of schools beside those that have approved."""

_SERVED: Final = frozenset({*RESOURCES, *CONDUCT})
_ID: Final = re.compile(r"A\d+")
_LARGEST_PAGE: Final = 10_000
_COUNTED: Final = ("students", "contacts")


class WondeApi:
    """Answers ``/v1.0/schools/…`` for some schools and one token.

    With ``data`` false it is Wonde of another region: it takes the token, and has no data.
    """

    def __init__(self, schools: Mapping[str, SimulatedSchool], token: str, *, has_data: bool = True) -> None:
        self.schools = schools
        self.log = RequestLog()
        self.scripted = Scripted()
        self.expired = False
        self._has_data = has_data
        self._authorization = f"Bearer {token}".encode()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and log it, without what it asked for beyond school and resource."""
        parts = request.match_info["path"].strip("/").split("/")
        response = await self._answer(request, parts)
        school, resource = (parts[0], "/".join(parts[1:])) if len(parts) > 1 else ("", parts[0])
        self.log.add(request.method, school, resource, response.status)
        return response

    async def _answer(self, request: web.Request, parts: Sequence[str]) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        if self.expired or not hmac.compare_digest(given, self._authorization):
            return _refused(401)
        if len(parts) == 1:
            return self._list(request, parts[0])
        school = self.schools.get(parts[0])
        if school is None or school.state != "approved":
            return _refused(404 if school is None else 403)
        if request.method == "GET":
            return await self._read(request, school, parts)
        resource = "/".join(parts[1:])
        if request.method == "POST" and resource in WRITABLE:
            return await answer_write(school, request, resource)
        if request.method == "DELETE":
            return await answer_delete(school, request, parts[1], parts[-1])
        return _refused(405)

    async def _read(
        self, request: web.Request, school: SimulatedSchool, parts: Sequence[str]
    ) -> web.StreamResponse:
        resource = "/".join(parts[1:])
        if resource == "counts":
            return await self._counts(school, request)
        if resource == "deletions":
            return await self._page(school, request, resource, school.deletions())
        if resource in _SERVED:
            return await self._page(school, request, resource, self._rows(school, resource))
        if len(parts) > 2 and "/".join(parts[1:-1]) in _SERVED and _ID.fullmatch(parts[-1]):
            return self._single(school, request, "/".join(parts[1:-1]), parts[-1])
        return _refused(404)

    def _rows(self, school: SimulatedSchool, resource: str) -> list[Row]:
        return school.rows(resource) if self._has_data else []

    def _list(self, request: web.Request, state: str) -> web.StreamResponse:
        if state not in {*STATES, "all"}:
            return _refused(404)
        there = [{"id": s.id, "name": s.world.school.name} for s in self.schools.values() if s.state == state]
        return web.json_response(_body(there, *_paging(request, len(there))))

    async def _page(
        self, school: SimulatedSchool, request: web.Request, resource: str, rows: list[Row]
    ) -> web.StreamResponse:
        include = _include(request)
        if any(name not in school.server.granted for name in include):
            return _refused(403)
        if "updated_after" in request.query:
            after = moment_of(request.query["updated_after"])
            if after is None:
                return _refused(400)
            rows = [row for row in rows if row.updated >= after]
        number, size, _ = paging = _paging(request, len(rows))
        scripted = self.scripted.strike(resource, number - 1)
        if scripted is not None:
            special = self._scripted(scripted, school, paging)
            if special is not None:
                return special
            rows = rows if "updated_after" in request.query else self._rows(school, resource)

        def shown(page: int) -> list[dict[str, Any]]:
            return [row.shown(include) for row in rows[page * size : (page + 1) * size]]

        return await school.server.answer(
            request, resource, number - 1, shown, lambda given: _body(given, *paging)
        )

    def _scripted(
        self, fault: Mapping[str, Any], school: SimulatedSchool, paging: tuple[int, int, int]
    ) -> web.StreamResponse | None:
        match fault["kind"]:
            case "null_data":
                return web.json_response({**_body([], *paging), "data": None})
            case "edit_mid_read":
                school.world.apply(fault["edit"])
            case "consent_withdrawn":
                school.world.withdraw_consent(fault["pupil"])
            case "other_school":
                others = [other for other in self.schools.values() if other is not school]
                rows = others[0].rows(fault["resource"]) if others else []
                number, size, _ = paging
                page = [row.shown(()) for row in rows[(number - 1) * size : number * size]]
                return web.json_response(_body(page, *paging))
            case _:
                self.expired = True
                return _refused(401)
        return None

    def _single(
        self, school: SimulatedSchool, request: web.Request, resource: str, identifier: str
    ) -> web.StreamResponse:
        include = _include(request)
        if any(name not in school.server.granted for name in (resource, *include)):
            return _refused(403)
        for row in self._rows(school, resource):
            if row.entity.base["id"] == identifier:
                return web.json_response({"data": row.shown(include)})
        return _refused(404)

    async def _counts(self, school: SimulatedSchool, request: web.Request) -> web.StreamResponse:
        counts = {
            name: {"data": {"count": len(self._rows(school, name))}}
            for name in _include(request)
            if name in _COUNTED
        }
        return web.json_response({"data": counts})


def _include(request: web.Request) -> list[str]:
    return [name for name in request.query.get("include", "").split(",") if name]


def _paging(request: web.Request, total: int) -> tuple[int, int, int]:
    """Return the number of the page that is asked for, from 1, rows per page, and rows in all."""
    number, size = (request.query.get(name, "") for name in ("page", "per_page"))
    return (
        max(1, int(number)) if number.isdecimal() else 1,
        min(_LARGEST_PAGE, max(1, int(size))) if size.isdecimal() else 50,
        total,
    )


def _body(rows: list[dict[str, Any]], number: int, size: int, total: int) -> dict[str, object]:
    more = number * size < total
    # An address at another host: whoever follows it takes the token there.
    after = f"https://elsewhere.example/v1.0/?page={number + 1}" if more else None
    pagination = {
        "next": after,
        "previous": None,
        "more": more,
        "per_page": size,
        "current_page": number,
    }
    return {"data": rows, "meta": {"pagination": pagination}}


def _refused(status: int) -> web.Response:
    return web.json_response({"error": status}, status=status)
