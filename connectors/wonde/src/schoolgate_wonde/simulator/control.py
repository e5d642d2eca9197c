"""The control interface under ``/_simulator/``: edits, faults, approvals, the log; it asks for no token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from aiohttp import web

from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.testing.serving import FAULTS, WRITE_FAULTS
from schoolgate_sdk.testing.simulating import bad_request, json_object
from schoolgate_sdk.testing.world import WorldError
from schoolgate_wonde.simulator.school import SimulatedSchool
from schoolgate_wonde.simulator.scripted import KINDS
from schoolgate_wonde.simulator.service import STATES, WondeApi

_FIELDS: Final = frozenset(field.name for field in fields(Fault))
_SCRIPTED_FIELDS: Final = frozenset({"kind", "entity", "page", "times", "edit", "pupil"})


def checked_fault(given: dict[str, object]) -> dict[str, object]:
    """Return a fault as it came; raises ``ValueError`` where there is none such with these members."""
    kind = given.get("kind")
    members = dict.fromkeys(FAULTS | WRITE_FAULTS, _FIELDS) | dict.fromkeys(KINDS, _SCRIPTED_FIELDS)
    if not isinstance(kind, str) or kind not in members:
        raise ValueError(f"kind must be one of {', '.join(sorted(members))}")
    unknown = given.keys() - members[kind] - {"school"}
    if unknown:
        raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}")
    return given


class Control:
    """Handlers of the control interface over one :class:`WondeApi`."""

    def __init__(self, api: WondeApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/_simulator/", self.state),
            web.post("/_simulator/edit", self.edit),
            web.post("/_simulator/approval", self.approval),
            web.post("/_simulator/faults", self.add_fault),
            web.delete("/_simulator/faults", self.clear_faults),
            web.get("/_simulator/log", self.read_log),
            web.delete("/_simulator/log", self.clear_log),
        ]

    async def state(self, _request: web.Request) -> web.Response:
        """Say which schools there are, and how they stand."""
        schools = [
            {
                "school": school.id,
                "name": school.world.school.name,
                "state": school.state,
                "today": school.world.today.isoformat(),
                "revision": school.world.revision,
                "granted": sorted(school.server.granted),
            }
            for school in self._api.schools.values()
        ]
        return web.json_response({"schools": schools})

    async def edit(self, request: web.Request) -> web.Response:
        """Make one edit: ``{"school": "A…", "op": …}``; the school may be left out where there is one."""
        given = await json_object(request)
        school = self._school(given)
        try:
            concerned = school.world.apply({name: given[name] for name in given if name != "school"})
        except WorldError as refused:
            raise bad_request(str(refused)) from refused
        return web.json_response({"concerned": concerned, "revision": school.world.revision})

    async def approval(self, request: web.Request) -> web.Response:
        """Let a school approve, or not: ``{"state": "revoked"}``."""
        given = await json_object(request)
        state = given.get("state")
        if state not in {"approved", *STATES}:
            raise bad_request("state must be approved, " + ", ".join(STATES))
        self._school(given).state = str(state)
        return web.json_response({"state": state})

    async def add_fault(self, request: web.Request) -> web.Response:
        """Script one fault: ``{"kind": …, "entity": …, "page": …, "times": …}``."""
        given = await json_object(request)
        school = self._school(given)
        try:
            self.make_fault(school, checked_fault(given))
        except ValueError as error:
            raise bad_request(str(error)) from error
        return web.json_response({})

    def make_fault(self, school: SimulatedSchool, fault: Mapping[str, Any]) -> None:
        """Let a fault, :func:`checked_fault` or of the kit, strike a school."""
        given = {name: value for name, value in fault.items() if name != "school"}
        if given["kind"] in KINDS:
            self._api.scripted.add(given)
        else:
            school.server.fault(Fault(**given))

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """Forget the faults that have not struck; grants that were withdrawn stay so."""
        self.forget_faults()
        return web.json_response({})

    def forget_faults(self) -> None:
        """Forget the faults that have not struck."""
        self._api.scripted.clear()
        self._api.expired = False
        for school in self._api.schools.values():
            school.server.clear_faults()

    async def read_log(self, _request: web.Request) -> web.Response:
        """Return the log."""
        return web.json_response(self._api.log.as_json())

    async def clear_log(self, _request: web.Request) -> web.Response:
        """Empty the log."""
        self._api.log.clear()
        return web.json_response(self._api.log.as_json())

    def _school(self, given: Mapping[str, object]) -> SimulatedSchool:
        schools = self._api.schools
        found = given.get("school")
        if found is None and len(schools) == 1:
            return next(iter(schools.values()))
        if isinstance(found, str) and found in schools:
            return schools[found]
        raise bad_request("school must be the id of a school that is served")
