"""One school's connection to the SOAP services: what is sent, and what an answer means.

The credentials are in the body of nearly every request; neither bodies nor faults get into an error or a log
line. What a fault's text says is not public, so it is not read. What it is about is found out by asking the
two operations that are left: whether the school's database is there at all, which needs no account, and
which entities the account may read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import ClassVar, Final
from xml.sax.saxutils import escape

from schoolgate.v1 import failure_pb2
from schoolgate_bromcom.settings import BromcomSettings
from schoolgate_bromcom.soap_xml import SOAP, TEMPURI, SoapAnswer
from schoolgate_bromcom.surfaces import SchoolAccount, SurfaceSettings
from schoolgate_sdk import (
    AuthInvalid,
    ConnectorError,
    EntityDenied,
    Identity,
    Incomplete,
    Leaving,
    Row,
    SchemaChanged,
    Transient,
    Unsupported,
)
from schoolgate_sdk.http import HttpClient, HttpOptions, Request

_READ: Final = "getEntityDataBySchoolID"
_DISCOVER: Final = "findEntitiesBySchoolID"
_TEST: Final = "testDatabaseConnection"

_ROWS: Final = 1000
"""Rows that are handed on together; a page of them is some hundred KiB."""

_MOST_ENTITIES: Final = 10_000


class Faulted(ConnectorError):
    """The services answered with a SOAP fault; what it is about is yet to be found out.

    ``code`` is the fault's, as it was written.
    """

    failure_type: ClassVar[failure_pb2.FailureType.ValueType] = failure_pb2.FAILURE_TYPE_TRANSIENT

    def __init__(self, message: str, *, entity: str | None = None, code: str = "") -> None:
        super().__init__(message, entity=entity)
        self.code = code


def http_options(settings: BromcomSettings, surfaces: SurfaceSettings) -> HttpOptions:
    """Return how the SOAP services are asked; the requests carry the school's credentials alone."""
    return replace(
        settings.http,
        timeout=surfaces.soap_timeout,
        max_bytes=surfaces.soap_max_response,
        identity=Identity.SCHOOL,
        refusal=_fault_in,
    )


def _fault_in(status: int, _headers: Mapping[str, str], beginning: bytes) -> ConnectorError | None:
    """Return that the body of a refusal is a SOAP fault, where it is one."""
    if status not in {400, 500}:
        return None
    answer = SoapAnswer("")
    try:
        answer.feed(beginning)
    except (Transient, SchemaChanged):
        return None  # a web page, say: the status says enough
    if answer.fault is None:
        return None
    return Faulted("Bromcom answered with a fault", code=answer.fault.code)


class SoapClient:
    """Asks the SOAP services for one school."""

    def __init__(self, http: HttpClient, url: str, school_number: int, account: SchoolAccount) -> None:
        self._http = http
        self._url = url
        self._school = str(school_number)
        self._account = account

    async def rows(self, entity: str, predicate: str) -> AsyncGenerator[list[Row]]:
        """Yield the rows of ``entity`` under ``predicate`` in lists, while the answer comes in.

        The last list is given once the document is whole. What fails before the first list is tried again;
        what fails later is raised, for rows that were given cannot be taken back.

        Raises:
            AuthInvalid: HTTP 401, or the account is refused.
            EntityDenied: HTTP 403, or the entity is not among those that the account may read.
            Unsupported: HTTP 404.
            RateLimited: HTTP 429, as :meth:`HttpClient.read` raises it.
            Transient: HTTP 5xx, a fault that nothing explains, a broken connection, a silence that is too
                long, a document that is not well-formed or not whole.
            SchemaChanged: another status or document, or one with a document type.
            Incomplete: the answer exceeds the size limit.
        """

        async def begin() -> tuple[_Reading, list[Row]]:
            reading = _Reading(self._http, self._request(_READ, entity, self._asking(entity, predicate)))
            try:
                return reading, await reading.take(entity)
            except Faulted:
                await reading.close()
                raise await self._explained(entity) from None
            except BaseException:
                await reading.close()
                raise

        reading, rows = await self._http.repeated(begin)
        try:
            while not reading.is_over:
                yield rows
                rows = await reading.take(entity)
            yield rows
        except Faulted:
            raise SchemaChanged("Bromcom's answer has a fault among its rows", entity=entity) from None
        finally:
            await reading.close()

    async def entities(self) -> frozenset[str]:
        """Return the entities that the account may read.

        Raises:
            AuthInvalid: the account is refused.
            ConnectorError: otherwise as :meth:`rows`.
        """

        async def ask() -> frozenset[str]:
            try:
                return await self._entities()
            except Faulted:
                raise await self._refused() from None

        return await self._http.repeated(ask)

    async def _entities(self) -> frozenset[str]:
        found: set[str] = set()
        reading = _Reading(self._http, self._request(_DISCOVER, None, self._credentials()))
        try:
            while not reading.is_over:
                for row in await reading.take(None):
                    name = {column.lower(): value for column, value in row.items()}.get("entityname")
                    if not isinstance(name, str):
                        raise SchemaChanged("Bromcom's list of entities has a row without EntityName")
                    found.add(name.strip())
                if len(found) > _MOST_ENTITIES:
                    raise Incomplete(f"Bromcom named more than {_MOST_ENTITIES} entities")
        finally:
            await reading.close()
        return frozenset(found)

    async def is_up(self) -> bool:
        """Say whether Bromcom reaches the school's database, which it tells without an account.

        A fault counts as no, and a result as yes unless it is the word false: what else it may be is not
        public.
        """
        reading = _Reading(self._http, self._request(_TEST, None, {"schoolID": self._school}))
        try:
            while not reading.is_over:
                await reading.take(None)
        except Faulted:
            return False
        finally:
            await reading.close()
        return (reading.value or "").lower() != "false"

    async def save(
        self, url: str, operation: str, arguments: Mapping[str, str], entity: str, leaving: Leaving
    ) -> str | None:
        """Send ``arguments`` and the credentials to an operation for writing, once; return the text of its
        result, if it has one. ``leaving`` is shown the request without the credentials.

        Raises:
            WriteStopped: as ``leaving`` raised it; nothing was sent.
            Unsupported: HTTP 404, or a fault that blames what was sent: by SOAP's own rules it was not
                processed.
            Transient: the outcome is unknown, as it is after any other fault, or a result of ``false``.
            ConnectorError: another refusal, as :meth:`HttpClient.send` raises it.
        """
        school = {"schoolId": self._school}
        account = {"username": self._account.username, "password": self._account.password}
        request = self._request(operation, entity, {**school, **account, **arguments})
        shown = self._request(operation, entity, {**school, **arguments}).body or b""
        request = replace(request, url=url, shown=shown.decode())
        answer = SoapAnswer(operation)
        try:
            answer.feed(bytes((await self._http.send(request, leaving=leaving)).body))
            answer.close()
        except Faulted as fault:
            raise _unsaved(fault.code, entity) from None
        except SchemaChanged:
            raise Transient("Bromcom's answer does not say what became of the write", entity=entity) from None
        if answer.fault is not None:
            raise _unsaved(answer.fault.code, entity)
        if (answer.value or "").lower() == "false":
            raise Transient("Bromcom's answer does not say that the write succeeded", entity=entity)
        return answer.value

    async def _explained(self, entity: str) -> ConnectorError:
        """Find out why asking for ``entity`` met a fault."""
        try:
            listed = await self._entities()
        except Faulted:
            return await self._refused(entity)
        if entity.lower() in {name.lower() for name in listed}:
            return Transient("Bromcom answered with a fault", entity=entity)
        return EntityDenied("the school has not ticked the entity for its account", entity=entity)

    async def _refused(self, entity: str | None = None) -> ConnectorError:
        """Find out why even the list of entities met a fault."""
        if await self.is_up():
            return AuthInvalid(
                "Bromcom does not accept the school's account for the SOAP services",
                identity=Identity.SCHOOL,
                entity=entity,
            )
        return Transient("Bromcom does not reach the school's database", entity=entity)

    def _credentials(self) -> dict[str, str]:
        return {
            "schoolID": self._school,
            "username": self._account.username,
            "password": self._account.password,
        }

    def _asking(self, entity: str, predicate: str) -> dict[str, str]:
        return {"entityName": entity, "entityFilter": predicate, **self._credentials()}

    def _request(self, operation: str, entity: str | None, arguments: Mapping[str, str]) -> Request:
        given = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
        body = (
            f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{SOAP}"><soap:Body>'
            f'<{operation} xmlns="{TEMPURI}">{given}</{operation}></soap:Body></soap:Envelope>'
        )
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{TEMPURI}{operation}"'}
        return Request("POST", self._url, entity or operation, headers=headers, body=body.encode())


def _unsaved(code: str, entity: str) -> ConnectorError:
    """Return what a fault in answer to a write means. SOAP 1.1 (4.4.1) has ``Client`` for a message that must
    not be sent again as it is; with ``Server`` it may have been processed.
    """
    if code.rpartition(":")[2].partition(".")[0] == "Client":
        return Unsupported("Bromcom refuses what the write holds", entity=entity)
    return Transient("Bromcom answered the write with a fault", entity=entity)


class _Reading:
    """One answer that is being read; close it."""

    def __init__(self, http: HttpClient, request: Request) -> None:
        self._http = http
        self._request = request
        operation = request.headers["SOAPAction"].rpartition("/")[2].strip('"')
        self._is_of_rows = operation != _TEST
        self._answer = SoapAnswer(operation)
        self._stack = AsyncExitStack()
        self._chunks: AsyncIterator[bytes] | None = None
        self.is_over = False

    @property
    def value(self) -> str | None:
        """The text of a result that is no table."""
        return self._answer.value

    async def take(self, entity: str | None) -> list[Row]:
        """Return the next rows; none but the last may be few.

        Raises:
            Faulted: the answer is a fault.
            ConnectorError: as :meth:`SoapClient.rows`.
        """
        rows: list[Row] = []
        try:
            if self._chunks is None:
                self._chunks = await self._stack.enter_async_context(self._http.opened(self._request))
            while len(rows) < _ROWS and not self.is_over:
                chunk = await anext(self._chunks, None)
                if chunk is None:
                    self._answer.close()
                    self._check_table()
                    self.is_over = True
                else:
                    rows += self._answer.feed(chunk)
        except (SchemaChanged, Transient) as error:
            if error.entity is None:
                error.entity = entity
            raise
        if self._answer.fault is not None:
            raise Faulted("Bromcom answered with a fault", entity=entity)
        return rows

    def _check_table(self) -> None:
        """Refuse a result of some text where rows were asked for: it does not say that there are none."""
        if self._is_of_rows and self._answer.fault is None and not self._answer.has_table:
            raise Transient("Bromcom answered without a table")

    async def close(self) -> None:
        """End the request, wherever it is."""
        await self._stack.aclose()
