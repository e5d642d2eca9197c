"""The control interface under ``/_simulator/``: edits, faults, the log. It asks for no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from aiohttp import web

from schoolgate_bromcom.simulator.effects import set_grant
from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.faults import Fault, FaultKind, FaultMalformed
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_bromcom.simulator.soap_service import OPERATIONS
from schoolgate_sdk.testing.simulating import as_object, bad_request, json_object
from schoolgate_sdk.testing.world import WorldError

_NAMES: Final = frozenset({*ENTITIES, *OPERATIONS})


class Control:
    """Handlers of the control interface over one :class:`PartnerApi`."""

    def __init__(self, api: PartnerApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/_simulator/", self.state),
            web.post("/_simulator/edit", self.edit),
            web.post("/_simulator/faults", self.add_faults),
            web.delete("/_simulator/faults", self.clear_faults),
            web.get("/_simulator/log", self.read_log),
            web.delete("/_simulator/log", self.clear_log),
        ]

    async def state(self, _request: web.Request) -> web.Response:
        """Say which schools there are, and how they stand."""
        schools = [
            {
                "school": school.number,
                "name": school.world.school.name,
                "today": school.today.isoformat(),
                "revision": school.world.revision,
                "granted": sorted(school.granted),
                "granted_over_soap": sorted(self._granted_over_soap(school.number)),
            }
            for school in self._api.schools.values()
        ]
        return web.json_response({"schools": schools, "pending_faults": self._api.faults.pending()})

    def _granted_over_soap(self, number: int) -> set[str]:
        account = self._api.accounts.get(number)
        return set() if account is None else account.granted

    async def edit(self, request: web.Request) -> web.Response:
        """Make one edit: ``{"school": N, "op": …}``; the school may be left out where there is one."""
        given = await json_object(request)
        school = self._school(given)
        try:
            concerned = school.apply({name: value for name, value in given.items() if name != "school"})
        except WorldError as refused:
            raise bad_request(str(refused)) from refused
        return web.json_response({"concerned": concerned, "revision": school.world.revision})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Script one fault, or ``{"faults": […]}`` in order; none is taken when one is malformed."""
        given = await json_object(request)
        try:
            faults = [Fault.from_json(fault) for fault in _listed(given)]
        except FaultMalformed as malformed:
            raise bad_request(str(malformed)) from malformed
        for fault in faults:
            if fault.entity is not None and fault.entity not in _NAMES:
                raise bad_request("a fault names an entity that is not served")
        for fault in faults:
            self.add_fault(fault)
        return web.json_response({"pending_faults": self._api.faults.pending()})

    def add_fault(self, fault: Fault) -> None:
        """Let a fault strike from now on; grants are given, and withdrawn without a page, at once, and
        credentials expire at once.
        """
        if fault.kind is FaultKind.GRANT or (fault.kind is FaultKind.REVOKE and fault.page is None):
            self._set_grant(fault)
        elif fault.kind is FaultKind.EXPIRE_CREDENTIALS:
            self._api.expire(fault)
        else:
            self._api.faults.add(fault)

    def _set_grant(self, fault: Fault) -> None:
        for school in self._api.schools.values():
            if fault.school in {None, school.number}:
                set_grant(fault, school, self._api.accounts.get(school.number))

    async def clear_faults(self, _request: web.Request) -> web.Response:
        """Forget the faults that have not struck; grants that were withdrawn stay so."""
        self._api.forget_faults()
        return web.json_response({"pending_faults": 0})

    async def read_log(self, _request: web.Request) -> web.Response:
        """Return the log."""
        return web.json_response(self._api.log.as_json())

    async def clear_log(self, _request: web.Request) -> web.Response:
        """Empty the log."""
        self._api.log.clear()
        return web.json_response(self._api.log.as_json())

    def _school(self, given: Mapping[str, object]) -> SimulatedSchool:
        number = given.get("school")
        schools = self._api.schools
        if number is None and len(schools) == 1:
            return next(iter(schools.values()))
        if isinstance(number, int) and number in schools:
            return schools[number]
        raise bad_request("school must be the number of a school that is served")


def _listed(given: Mapping[str, object]) -> list[dict[str, object]]:
    """Return the objects under ``faults``, or the one that ``given`` is itself."""
    if set(given) != {"faults"}:
        return [dict(given)]
    listed: Any = given["faults"]
    if not isinstance(listed, list):
        raise bad_request("faults must be a list")
    return [as_object(item) for item in cast("list[object]", listed)]
