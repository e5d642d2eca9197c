"""The SOAP services' one write that the simulator has: saving an assessment result.

What is not public is made up here, on the cautious side: the operation's name; that wrong arguments are a
fault of the client's; that a save with ``studentResultID`` 0 replaces the pupil's result of that assessment,
subject and term, if there is one; and that the answer is empty.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from aiohttp import web

from schoolgate_bromcom.simulator import soap_text
from schoolgate_bromcom.simulator.faults import FaultKind
from schoolgate_bromcom.simulator.record_rows import (
    ASSESSMENT_TYPES,
    SAVE_RESULT,
    TERMS,
    YEAR_GROUPS,
    subject_numbers,
)
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi
from schoolgate_bromcom.simulator.soap_service import Call, Refused, call_of, is_accepted, soap_fault
from schoolgate_sdk.testing.entities import AssessmentResult
from schoolgate_sdk.testing.world import EditRefused

WRITE_PATH: Final = "/Nucleus/WebServices/ThirdParty/TPWriteDataService.asmx"
ENTITY: Final = "AssociationAssessmentResultsRaw"
"""By which faults and the log know the write: the save has no entity of its own."""

_ERROR: Final = "Server was unable to process request. ---> An error has occurred."


class ThirdPartyWrites:
    """Answers ``POST …/TPWriteDataService.asmx`` for the schools, faults and log of a Partner API."""

    def __init__(self, api: PartnerApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(WRITE_PATH, self.call)]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer one write and log it."""
        school = ""
        try:
            call = call_of(await request.read(), request.headers.get("SOAPAction", ""), (SAVE_RESULT,))
            school = call.arguments.get("schoolId", "")
            response = self._answer(request, call)
        except (Refused, EditRefused) as refused:
            response = soap_fault(str(refused), "soap:Client")
        self._api.log.add(ENTITY, school, None, response.status, 0, "soap")
        return response

    def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        school = self._api.schools.get(_number(call, "schoolId"))
        account = None if school is None else self._api.accounts.get(school.number)
        if school is None or account is None:
            raise Refused("The school is not found.")
        struck = self._api.faults.strike("soap", school.number, ENTITY, 0, write=True)
        kind = None if struck is None else struck.kind
        if "soap" in self._api.expired or not is_accepted(account, call.arguments):
            return soap_fault("The account is not valid.", "soap:Server")
        if ENTITY not in account.granted or not school.may_be_written:
            return web.Response(status=403, text="No Third Party Write Licence.")
        if kind is FaultKind.ERROR_BEFORE_EFFECT:
            return soap_fault(_ERROR, "soap:Server")
        result = save(school, call)
        if kind is FaultKind.DUPLICATE_EFFECT:
            school.doubled.add(result.number)
        if kind is FaultKind.ERROR_AFTER_EFFECT:
            return soap_fault(_ERROR, "soap:Server")
        if kind is FaultKind.LOST_ANSWER and request.transport is not None:
            request.transport.abort()
        said = "false" if kind is FaultKind.FALSE_AFTER_EFFECT else ""
        return web.Response(text="".join(soap_text.response(SAVE_RESULT, said)), content_type="text/xml")


def save(school: SimulatedSchool, call: Call) -> AssessmentResult:
    """Enter the result in the school's world.

    Raises:
        Refused: an argument is missing, or an id is nobody's and nothing's.
        EditRefused: the world has no such pupil.
    """
    if _number(call, "studentResultID") != 0:
        raise Refused("studentResultID is no result's.")
    numbers = {number: code for code, number in subject_numbers(school.view()).items()}
    pupil = school.world.pupils.get(_number(call, "studentID"))
    if pupil is None or pupil.number in school.world.withheld:
        raise Refused("studentID is nobody's.")
    if YEAR_GROUPS.get(pupil.year_group) != _number(call, "yearGroupID"):
        raise Refused("yearGroupID is not the pupil's.")
    assessments = {number: name for name, number in ASSESSMENT_TYPES.items()}
    terms = {term["id"]: name for name, term in TERMS.items()}
    try:
        day = datetime.fromisoformat(call.arguments.get("resultDate", "")).date()
        return school.world.record_result(
            pupil.number,
            assessments[_number(call, "assessmentTypeID")],
            call.arguments.get("result", ""),
            subject=numbers[_number(call, "subjectID")],
            term=terms[_number(call, "termID")],
            entered_on=day,
        )
    except (KeyError, ValueError):
        raise Refused("An id or the date is not known.") from None


def _number(call: Call, name: str) -> int:
    value = call.arguments.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 11):
        raise Refused(f"{name} is no number.")
    return int(value)
