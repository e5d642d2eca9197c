"""The SOAP side: the school's account, its ticked entities, whole entities as DataSets, and the faults."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from xml.etree import ElementTree as ET

import orjson
from aiohttp import web

from schoolgate_bromcom.simulator import entity_filter, soap_text
from schoolgate_bromcom.simulator.effects import SchoolAccount, apply_effect
from schoolgate_bromcom.simulator.entities import ENTITIES
from schoolgate_bromcom.simulator.faults import Fault, FaultKind
from schoolgate_bromcom.simulator.school import SimulatedSchool
from schoolgate_bromcom.simulator.service import PartnerApi, padded

PATH: Final = "/Nucleus/WebServices/ThirdParty/TPReadOnlyDataService.asmx"
OPERATIONS: Final = ("findEntitiesBySchoolID", "testDatabaseConnection")
"""Those that are about no entity; faults and log know them by their own names."""

_TEMPURI: Final = "http://tempuri.org/"
_XML: Final = "text/xml"
_SOAP: Final = "{http://schemas.xmlsoap.org/soap/envelope/}"
_MOST_ARGUMENTS: Final = 20
_PIECE: Final = 1 << 15
_HALF: Final = (FaultKind.CUT, FaultKind.RESET, FaultKind.INVALID_JSON)

_BOMB: Final = (
    '<?xml version="1.0"?><!DOCTYPE bomb [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
)
_DOCUMENT_TYPE: Final = (
    '<?xml version="1.0"?><!DOCTYPE data SYSTEM "http://127.0.0.1:9/data.dtd"'
    ' [<!ENTITY file SYSTEM "file:///etc/hostname">]>'
)


class Refused(Exception):
    """The services answer with a fault of this text."""


@dataclass(slots=True)
class Call:
    """One call: the operation and its arguments, which are the credentials among others."""

    operation: str
    arguments: dict[str, str] = field(repr=False)
    entity: str = ""
    school: SimulatedSchool | None = None
    rows: int = 0


class ThirdPartyServices:
    """Answers ``POST …/TPReadOnlyDataService.asmx`` for the schools, faults and log of a Partner API."""

    def __init__(self, api: PartnerApi) -> None:
        self._api = api

    def routes(self) -> list[web.RouteDef]:
        """Return the route."""
        return [web.post(PATH, self.call)]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer one request and log it by its operation, or by the entity that it asks for."""
        try:
            call = call_of(
                await request.read(),
                request.headers.get("SOAPAction", ""),
                ("getEntityDataBySchoolID", *OPERATIONS),
            )
        except Refused as refused:
            return soap_fault(str(refused), "soap:Client")
        call.entity = call.arguments.get("entityName", call.operation)
        try:
            response = await self._answer(request, call)
        except (Refused, entity_filter.FilterRefused) as refused:
            # What the real services say is not public; the texts are made up.
            response = soap_fault(f"Server was unable to process request. ---> {refused}", "soap:Server")
        school = call.arguments.get("schoolID", "")
        self._api.log.add(call.entity, school, 0, response.status, call.rows, "soap")
        return response

    async def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        number = call.arguments.get("schoolID", "")
        school = self._api.schools.get(int(number)) if number.isascii() and number.isdigit() else None
        if school is None or school.number not in self._api.accounts:
            raise Refused("The school is not found.")
        call.school = school
        fault = self._api.faults.strike("soap", school.number, call.entity, 0)
        account = self._api.accounts[school.number]
        if fault is not None and fault.kind is not FaultKind.EDIT_MID_READ:
            apply_effect(fault, school, account)
        early = None if fault is None else await _early(fault)
        if early is not None:
            return early
        if call.operation == "testDatabaseConnection":
            return web.Response(text="".join(soap_text.response(call.operation, "true")), content_type=_XML)
        if "soap" in self._api.expired or not is_accepted(account, call.arguments):
            raise Refused("The account is not valid.")
        if call.operation == "findEntitiesBySchoolID":
            names = [{"EntityName": name} for name in sorted(account.granted)]
            return await self._table(request, call, names, {"EntityName": "string"}, fault)
        if call.entity not in account.granted or call.entity not in ENTITIES:
            raise Refused("The entity is not available.")
        return await self._entity(request, call, school, fault)

    async def _entity(
        self, request: web.Request, call: Call, school: SimulatedSchool, fault: Fault | None
    ) -> web.StreamResponse:
        text = call.arguments.get("entityFilter", "")
        if "{page:" in text:
            raise Refused("Incorrect syntax.")
        predicate, _ = entity_filter.parse(text)
        entity = ENTITIES[call.entity]
        shown = school
        if fault is not None and fault.kind is FaultKind.OTHER_SCHOOL:
            shown = next((other for other in self._api.schools.values() if other is not school), school)
        page = shown.page(entity, predicate, 0)
        names = list(orjson.loads(page.text)[0]) if page.rows else entity.columns
        types = soap_text.xsd_types(entity, shown.view(), names)
        return await self._table(request, call, _all_rows(shown, call.entity, predicate), types, fault)

    async def _table(
        self,
        request: web.Request,
        call: Call,
        rows: Iterable[Mapping[str, object]],
        types: Mapping[str, str],
        fault: Fault | None,
    ) -> web.StreamResponse:
        kind = None if fault is None else fault.kind
        if kind is FaultKind.NULL_DATA:
            before, after = soap_text.ENVELOPE
            empty = f'<{call.operation}Response xmlns="{_TEMPURI}" />'
            return web.Response(text=before + empty + after, content_type=_XML)
        if fault is not None:
            rows = _spoiled(rows, fault)
        before, after = soap_text.response(call.operation, soap_text.schema(types))
        if kind in {FaultKind.ENTITY_BOMB, FaultKind.DOCUMENT_TYPE}:
            reference = "&a9;" if kind is FaultKind.ENTITY_BOMB else "&file;"
            head = _BOMB if kind is FaultKind.ENTITY_BOMB else _DOCUMENT_TYPE
            row = "".join(soap_text.table([{"a": "REFERENCE"}], {})).replace("REFERENCE", reference)
            return web.Response(text=head + before.partition("?>")[2] + row + after, content_type=_XML)
        pieces = _counted(call, rows, types, before, after)
        if kind in _HALF or kind is FaultKind.EDIT_MID_READ:
            return await self._halved(request, call, "".join(pieces).encode(), fault)
        return await _streamed(request, pieces)

    async def _halved(
        self, request: web.Request, call: Call, body: bytes, fault: Fault | None
    ) -> web.StreamResponse:
        """Send half of the answer, and then what the fault says."""
        assert fault is not None
        response = web.StreamResponse(headers={"Content-Type": _XML})
        half = len(body) // 2
        if fault.kind is FaultKind.CUT:
            response.headers["Content-Length"] = str(len(body))
            response.force_close()
        await response.prepare(request)
        await response.write(body[:half])
        if fault.kind is FaultKind.EDIT_MID_READ and call.school is not None:
            apply_effect(fault, call.school, None)
            await response.write(body[half:])
        elif fault.kind is FaultKind.RESET and request.transport is not None:
            request.transport.abort()
        elif fault.kind is FaultKind.CUT and request.transport is not None:
            request.transport.close()
        return response


def call_of(body: bytes, action: str, operations: Collection[str]) -> Call:
    """Return the call of one of ``operations``.

    Raises:
        Refused: it is none.
    """
    try:
        document = ET.fromstring(body)  # noqa: S314 - a simulator's own client
    except ET.ParseError:
        raise Refused("The request is no XML.") from None
    element = document.find(f"{_SOAP}Body/*")
    if document.tag != f"{_SOAP}Envelope" or element is None:
        raise Refused("The request is no SOAP.")
    namespace, _, operation = element.tag.rpartition("}")
    if namespace != f"{{{_TEMPURI}" or action.strip('"') != f"{_TEMPURI}{operation}":
        raise Refused("Server did not recognize the value of HTTP Header SOAPAction.")
    if operation not in operations:
        raise Refused("Server did not recognize the value of HTTP Header SOAPAction.")
    arguments = {child.tag.rpartition("}")[2]: child.text or "" for child in islice(element, _MOST_ARGUMENTS)}
    return Call(operation, arguments)


def is_accepted(account: SchoolAccount, arguments: Mapping[str, str]) -> bool:
    """Whether the credentials among ``arguments`` are those of the account."""
    given = (arguments.get("username", "").encode(), arguments.get("password", "").encode())
    known = (account.username.encode(), account.password.encode())
    return all(hmac.compare_digest(*pair) for pair in zip(given, known, strict=True))


async def _early(fault: Fault) -> web.StreamResponse | None:
    """Return the answer of a fault that asks for no rows; wait where it says so."""
    if fault.kind is FaultKind.REGISTRATION_HOUR and fault.struck % 3:
        await asyncio.sleep(fault.seconds)
        return None
    match fault.kind:
        case FaultKind.SLOW | FaultKind.LATE:
            await asyncio.sleep(fault.seconds)
        case FaultKind.STATUS:
            # A text as of a pupil's row is in the body on purpose: an error that quotes it would leak it.
            return web.Response(status=fault.status, text="<html>Ada Lovelace, H801200001001</html>")
        case FaultKind.RATE_LIMIT | FaultKind.REGISTRATION_HOUR:
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return web.Response(status=429, headers=headers)
        case FaultKind.SUCCESS_FALSE:
            raise Refused("An error has occurred.")
        case _:
            pass
    return None


def _spoiled(rows: Iterable[Mapping[str, object]], fault: Fault) -> Iterable[Mapping[str, object]]:
    match fault.kind:
        case FaultKind.TRUNCATE_PAGE:
            whole = list(rows)
            return whole[: len(whole) // 2 if fault.keep is None else fault.keep]
        case FaultKind.DUPLICATE_ROWS:
            return (row for row in rows for _ in range(2))
        case FaultKind.PADDED_ROWS:
            return (padded(row) for row in rows)
        case _:
            return rows


def _all_rows(
    school: SimulatedSchool, entity: str, predicate: entity_filter.Predicate
) -> Iterator[dict[str, object]]:
    number = 0
    while (page := school.page(ENTITIES[entity], predicate, number)).rows:
        yield from orjson.loads(page.text)
        number += 1


def _counted(
    call: Call,
    rows: Iterable[Mapping[str, object]],
    types: Mapping[str, str],
    before: str,
    after: str,
) -> Iterator[str]:
    def counting() -> Iterator[Mapping[str, object]]:
        for row in rows:
            call.rows += 1
            yield row

    yield before
    yield from soap_text.table(counting(), types)
    yield after


async def _streamed(request: web.Request, pieces: Iterator[str]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": f"{_XML}; charset=utf-8"})
    await response.prepare(request)
    async for piece in _pieces(pieces):
        await response.write(piece)
    await response.write_eof()
    return response


async def _pieces(texts: Iterator[str]) -> AsyncIterator[bytes]:
    """Yield the texts in pieces of some size, with a turn for others after each."""
    gathered: list[str] = []
    size = 0
    for text in texts:
        gathered.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(gathered).encode()
            gathered, size = [], 0
            await asyncio.sleep(0)
    yield "".join(gathered).encode()


def soap_fault(text: str, code: str) -> web.Response:
    """Return a SOAP fault."""
    before, after = soap_text.ENVELOPE
    said = re.sub("[<>&]", " ", text)
    body = (
        f"<soap:Fault><faultcode>{code}</faultcode><faultstring>{said}</faultstring><detail /></soap:Fault>"
    )
    return web.Response(status=500, text=before + body + after, content_type=_XML)
