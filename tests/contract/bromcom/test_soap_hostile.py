"""An answer over SOAP that never ends is taken no faster than it is used, and not beyond its limit (G18)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from schoolgate_bromcom.session import BromcomSession
from schoolgate_bromcom.simulator import soap_text
from schoolgate_sdk import (
    Incomplete,
    RowRejected,
    SchoolConnection,
    Scope,
    Transient,
    source_key,
)
from tests.contract.bromcom.conftest import ACCOUNT, CONNECTOR, NOW, read_all

COLUMNS = {"staffId": "int", "lastName": "string"}
STAFF = Scope("staff", "2026/27")


class Mute:
    """Answers with a text, or nothing, where a table belongs."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        head, tail = soap_text.response("getEntityDataBySchoolID", self._text)
        return web.Response(text=head + tail, content_type="text/xml")


class Rows:
    """Answers with a table of rows as they are given, in XML."""

    def __init__(self, rows: str, *, with_schema: bool = True) -> None:
        self._rows = rows
        self._schema = soap_text.schema(COLUMNS) if with_schema else ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        head, tail = soap_text.response("getEntityDataBySchoolID", self._schema)
        begin, end = "".join(soap_text.table([{}], COLUMNS)).split(
            '<Table diffgr:id="Table1" msdata:rowOrder="0"></Table>'
        )
        return web.Response(text=f"{head}{begin}{self._rows}{end}{tail}", content_type="text/xml")


class Endless:
    """Sends members of staff for as long as somebody takes them."""

    def __init__(self) -> None:
        self.sent = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/xml"})
        await response.prepare(request)
        head, _ = soap_text.response("getEntityDataBySchoolID", soap_text.schema(COLUMNS))
        rows = [{"staffId": number, "lastName": "Doe" * 20} for number in range(1, 1001)]
        begin, first, rest = "".join(soap_text.table(rows, COLUMNS)).partition('<Table diffgr:id="Table1"')
        whole = (first + rest).replace("</NewDataSet></diffgr:diffgram>", "").encode()
        await response.write((head + begin).encode())
        while True:
            await response.write(whole)
            self.sent += len(whole)


@asynccontextmanager
async def reading(mis: Mute | Rows | Endless, **settings: str) -> AsyncGenerator[BromcomSession]:
    application = web.Application()
    application.router.add_post("/x.asmx", mis.answer)
    async with TestServer(application) as server:
        given = {"surface": "soap", "soap_url": str(server.make_url("/x.asmx")), "school_number": "1"}
        connection = SchoolConnection("s", given | settings, lambda: NOW, ACCOUNT)
        async with CONNECTOR.open(connection) as session:
            assert isinstance(session, BromcomSession)
            yield session


@pytest.mark.parametrize("text", ["", "the database is being upgraded"])
async def test_g02_a_text_in_place_of_a_table_is_not_no_rows(text: str) -> None:
    """Seen to fail where any result counts: a proven end without rows."""
    async with reading(Mute(text), read_attempts="1") as session:
        with pytest.raises(Transient, match="without a table"):
            await read_all(session, "staff")


STAFF_ROW = "<Table><staffId>{}</staffId>{}<lastName>Reid</lastName></Table>"
ODD = {
    "columns": "".join(f"<c{number}/>" for number in range(600)),
    "values": "".join(f"<c{number}>{'x' * 200_000}</c{number}>" for number in range(5))
    + f"<firstName>{'x' * 200_000}</firstName>",
    "text": "Reid",
    "a long name": f"<{'n' * 300}/>",
}


@pytest.mark.parametrize("what", ODD)
async def test_g09_an_odd_row_is_refused_by_its_key_and_costs_no_other(what: str) -> None:
    """Seen to fail where it cost its dataset, run after run."""
    text = STAFF_ROW.format(1, "") + STAFF_ROW.format(2, ODD[what]) + STAFF_ROW.format(3, "")
    async with reading(Rows(text)) as session:
        rows, end = await read_all(session, "staff")
    assert end.terminator_proven
    parse = CONNECTOR.dataset("staff").parser
    first, odd, last = rows
    with pytest.raises(RowRejected) as rejected:
        list(parse(odd, {}))
    assert rejected.value.key == source_key("bromcom/staff", 2)
    assert rejected.value.field == ("firstName" if what == "values" else "")
    assert [parsed.key.parts for row in (first, last) for parsed in parse(row, {})] == [(1,), (3,)]


async def test_g09_rows_without_their_key_cost_no_others_once_some_had_it() -> None:
    """Seen to fail where whatever came in at once must have the columns of the key, wherever that began."""
    well = "".join(STAFF_ROW.format(number, "") for number in range(1, 5_001))
    odd = "<Table><lastName>Doe</lastName></Table>" * 5_000
    async with reading(Rows(well + odd, with_schema=False)) as session:
        rows, end = await read_all(session, "staff")
    assert (len(rows), end.terminator_proven) == (10_000, True)
    with pytest.raises(RowRejected) as rejected:
        list(CONNECTOR.dataset("staff").parser(rows[-1], {}))
    assert rejected.value.field == "staffId"


async def test_g18_no_more_is_taken_than_is_used() -> None:
    """Seen to fail where an answer is taken as a whole: the first page never comes."""
    endless = Endless()
    async with reading(endless) as session:
        pages = session.read(STAFF)
        page = await anext(pages)
        assert page.rows[0]["staffId"] == 1
        await asyncio.sleep(0.3)
        before = endless.sent
        await asyncio.sleep(0.3)
        assert endless.sent == before, "it waits until somebody takes more"
        assert before < 64 << 20


async def test_g18_the_limit_ends_what_does_not_end() -> None:
    endless = Endless()
    async with reading(endless, soap_max_response_mib="2") as session:
        with pytest.raises(Incomplete, match="2 MiB"):
            await read_all(session, "staff")
