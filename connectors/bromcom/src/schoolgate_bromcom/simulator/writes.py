"""The Partner API's one write: ``POST /v2/BehaviourEventRecords``.

What is not public is made up here, on the cautious side: an event about somebody whom the school does not
have is HTTP 400; one that ``eventRecordId`` names is changed; the answer does not carry the new event's id.
The eventDate is taken as UTC, as its Z says, and shown by the clock of the school.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, cast
from zoneinfo import ZoneInfo

import orjson
from aiohttp import web

from schoolgate_bromcom.simulator.faults import Fault, FaultKind
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_sdk.testing.world import EditRefused

ENTITY: Final = "BehaviourEventRecords"

_NUMBERS: Final = (
    "studentId",
    "eventRecordId",
    "eventId",
    "ownerId",
    "classId",
    "locationId",
    "adjustment",
)
_CLOCK: Final = ZoneInfo("Europe/London")


class WriteRefused(Exception):
    """The body is none that an event can be made of."""


class PartnerWrites:
    """Takes behaviour events into the worlds of an API's schools.

    Faults of reads do not strike here; those of writes do.
    """

    def __init__(self, api: PartnerApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.post("/v2/{entity}", self.write)]

    async def write(self, request: web.Request) -> web.StreamResponse:
        """Answer one write and log it."""
        entity = request.match_info["entity"]
        refusal = self._api.authentication_failure(request)
        if refusal is not None:
            return self._logged(entity, "", refusal)
        if entity != ENTITY:
            return self._logged(entity, "", _refused(404, "No such entity."))
        try:
            given = _object(await request.read())
            school = self._api.schools.get(_number(given, "schoolId"))
        except WriteRefused as problem:
            return self._logged(entity, "", _refused(400, str(problem)))
        if school is None:
            return self._logged(entity, "", _refused(400, "unknown schoolId"))
        fault = self._api.faults.strike("partner", school.number, entity, 0, write=True)
        response = await self._take(request, school, given, fault)
        return self._logged(entity, str(school.number), response)

    def _logged(self, entity: str, school: str, response: web.StreamResponse) -> web.StreamResponse:
        self._api.log.add(entity, school, None, response.status, 0)
        return response

    async def _take(
        self, request: web.Request, school: SimulatedSchool, given: Mapping[str, object], fault: Fault | None
    ) -> web.StreamResponse:
        kind = fault.kind if fault else None
        if ENTITY not in school.granted or not school.may_be_written:
            return _refused(403, "Not in the granted scope, or no Third Party Write Licence.")
        if kind is FaultKind.ERROR_BEFORE_EFFECT:
            return _refused(500, "An error has occurred.")
        try:
            record(school, given)
            if kind is FaultKind.DUPLICATE_EFFECT:
                record(school, given)
        except (EditRefused, WriteRefused) as problem:
            return _refused(400, str(problem))
        if kind is FaultKind.ERROR_AFTER_EFFECT:
            return _refused(500, "An error has occurred.")
        if kind is FaultKind.FALSE_AFTER_EFFECT:
            return _refused(200, "An error has occurred.")
        if kind is FaultKind.LOST_ANSWER and request.transport is not None:
            request.transport.abort()
        return web.json_response({"success": True, "data": None})


def record(school: SimulatedSchool, given: Mapping[str, object]) -> None:
    """Make or change the event in the school's world.

    Raises:
        WriteRefused: a member is missing or of the wrong type, or the pupil's consent was withdrawn.
        EditRefused: the world has no such pupil, type, teacher, class, room or event.
    """
    numbers = {name: _number(given, name) for name in _NUMBERS}
    comment, internal = _text(given, "comment"), _text(given, "internalComment")
    occurred_at = _shown(given.get("eventDate"))
    if numbers["studentId"] in school.world.withheld:
        raise WriteRefused("studentId is nobody's")
    if numbers["eventRecordId"]:
        school.world.correct_behaviour(
            numbers["eventRecordId"], points=numbers["adjustment"], comment=comment
        )
        return
    school.world.record_behaviour(
        numbers["studentId"],
        numbers["eventId"],
        occurred_at,
        points=numbers["adjustment"],
        staff=numbers["ownerId"] or None,
        group=numbers["classId"] or None,
        room=numbers["locationId"] or None,
        comment=comment,
        internal_comment=internal,
    )


def _shown(value: object) -> datetime:
    """Return the local clock's time to the minute."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WriteRefused("eventDate is no moment")
    return moment.astimezone(_CLOCK).replace(tzinfo=None, second=0, microsecond=0)


def _object(body: bytes) -> dict[str, object]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise WriteRefused("the body is no JSON object")
    return cast("dict[str, object]", given)


def _number(given: Mapping[str, object], name: str) -> int:
    value = given.get(name)
    if type(value) is not int:
        raise WriteRefused(f"{name} is no integer")
    return value


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise WriteRefused(f"{name} is no text")
    return value or None


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"success": False, "message": message, "data": None}, status=status)
