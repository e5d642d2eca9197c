"""A server that is no Wonde at all: typed errors, bounded memory (G18)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from schoolgate_sdk import (
    Departure,
    RowRejected,
    SchemaChanged,
    SchoolConnection,
    SourceKey,
    Transient,
    WriteRequest,
    WriteValue,
)
from schoolgate_sdk.http import http_client
from schoolgate_wonde.client import FieldErrors, WondeClient
from schoolgate_wonde.plugin import WondeSession, open_session, schoolgate_connector
from schoolgate_wonde.settings import WondeSettings
from tests.contract.wonde.conftest import DEFAULTS, SCHOOL, TOKEN, read


@asynccontextmanager
async def connected(*texts: str, status: int = 200) -> AsyncGenerator[SchoolConnection]:
    """Answer each request with the text of the page that is asked for, or the last one."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        text = texts[min(int(request.query.get("page", "1")), len(texts)) - 1]
        return web.Response(text=text, status=status, content_type="application/json")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        given = {"base_url": str(server.make_url("/v1.0")), "school_id": SCHOOL, "read_attempts": "1"}
        now = datetime(2026, 9, 21, tzinfo=UTC)
        yield SchoolConnection("school", DEFAULTS | given, lambda: now, {"token": TOKEN})


@pytest.mark.parametrize("row", ["{}", '{"a":[]}', "[]"])
async def test_g18_more_objects_than_a_page_can_hold_are_refused_before_they_are_made(row: str) -> None:
    text = '{"data":[' + ",".join([row] * 1_100_000) + "]}"
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        with pytest.raises(SchemaChanged, match="objects and lists"):
            await read(session, "students")


@pytest.mark.parametrize("item", ["null", "3", '"Reid"', "[{}]"])
async def test_g09_one_item_that_is_no_object_does_not_cost_the_others(item: str) -> None:
    """Seen to fail where each must be an object: the dataset failed, and nobody was told of the item."""
    pagination = '{"more":false,"per_page":50,"current_page":1}'
    text = f'{{"data":[{item},{{"id":"A1"}}],"meta":{{"pagination":{pagination}}}}}'
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        rows, _ = await read(session, "groups")
    assert [row.get("id") for row in rows] == [None, "A1"] * (len(rows) // 2)


async def test_g09_one_row_without_what_nests_may_be_all_of_the_last_page() -> None:
    """Seen to fail where it must nest in a row of every page: the dataset failed, run after run."""
    rows_text = '{"id":"A1","contacts":{"data":[{"id":"C1"}]}}', '{"id":"A2"}'
    texts = [
        f'{{"data":[{row}],"meta":{{"pagination":{{"more":{more},"per_page":1,"current_page":{number}}}}}}}'
        for row, more, number in zip(rows_text, ("true", "false"), (1, 2), strict=True)
    ]
    async with connected(*texts) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        whole, odd = (await read(session, "student_contacts"))[0]
    parse = schoolgate_connector().dataset("student_contacts").parser
    assert len(list(parse(whole, {}))) == 1
    with pytest.raises(RowRejected):
        list(parse(odd, {}))


async def test_g18_what_nests_deeper_than_json_is_written_ends_no_read() -> None:
    """Seen to fail, with an error of no known type, where pages were told apart by all that is in them."""
    pagination = '{"more":false,"per_page":50,"current_page":1}'
    deep = "[" * 300 + "]" * 300
    text = f'{{"data":[{{"name":{deep}}},{{"id":"A1"}}],"meta":{{"pagination":{pagination}}}}}'
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        rows, _ = await read(session, "subjects")
    assert [row.get("id") for row in rows] == [None, "A1"]


async def test_g09_half_a_character_costs_nothing_else() -> None:
    """Seen to fail where it was no JSON: the dataset failed, run after run."""
    pagination = '{"more":false,"per_page":50,"current_page":1}'
    text = f'{{"data":[{{"id":"A1","name":"Art \\ud83d"}}],"meta":{{"pagination":{pagination}}}}}'
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        rows, _ = await read(session, "subjects")
    assert [row["name"] for row in rows] == ["Art \ufffd"]


@pytest.mark.parametrize("number", ["1e400", "-" + "9" * 400, "9" * 20], ids=len)
@pytest.mark.parametrize(
    ("dataset", "before", "after", "field"),
    [
        ("subjects", '"name":', "", "name"),
        (
            "staff",
            '"contact_details":{"data":{"emails":{"email":',
            "}}}",
            "contact_details.data.emails.email",
        ),
        ("staff", '"contact_details":{"data":', "}", "contact_details.data.emails.email"),
        ("student_contacts", '"contacts":', "", "nested.id"),
        ("student_contacts", '"contacts":{"data":', "}", "nested.id"),
    ],
)
async def test_g09_a_number_that_is_too_large_costs_its_row_alone(
    number: str, dataset: str, before: str, after: str, field: str
) -> None:
    """Seen to fail where it was no JSON: the dataset failed, run after run."""
    pagination = '{"more":false,"per_page":50,"current_page":1}'
    well = '{"id":"A2","contacts":{"data":[{"id":"C2"}]}}'
    rows_text = f'{{"id":"A1",{before}{number}{after}}},{well}'
    async with (
        connected(f'{{"data":[{rows_text}],"meta":{{"pagination":{pagination}}}}}') as connection,
        open_session(connection) as session,
    ):
        assert isinstance(session, WondeSession)
        rows, _ = await read(session, dataset)
    parse = schoolgate_connector().dataset(dataset).parser
    [refused, whole] = rows
    with pytest.raises(RowRejected) as rejected:
        list(parse(refused, {}))
    assert rejected.value.field == field
    assert len(list(parse(whole, {}))) == 1


async def test_g18_pages_that_go_round_in_circles_end_the_read() -> None:
    """Seen to fail, with twenty thousand requests, where such a page was noted and the next one asked for."""
    pagination = '{"more":true,"per_page":1,"current_page":1}'
    text = f'{{"data":[{{"id":"A1"}}],"meta":{{"pagination":{pagination}}}}}'
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        rows, end = await read(session, "subjects")
    assert len(rows) == 2
    assert end.contradiction == "another page came than was asked for"


async def test_a_count_beyond_all_schools_is_a_count_that_differs() -> None:
    """Seen to fail where it came through: what holds a count has 64 bits, and the connector was blamed."""
    async with connected('{"data":{"students":18446744073709551615}}') as connection:
        settings = WondeSettings.parse(connection.settings)
        async with http_client(connection, settings.http, {}) as http:
            assert await WondeClient(http, settings).count("students") == 1 << 53


@pytest.mark.parametrize("items", ["[null]", "[3,4]", '["Reid"]', "3", "{}"])
async def test_g18_an_answer_without_any_object_is_none(items: str) -> None:
    pagination = '{"more":false,"per_page":50,"current_page":1}'
    text = f'{{"data":{items},"meta":{{"pagination":{pagination}}}}}'
    async with connected(text) as connection, open_session(connection) as session:
        assert isinstance(session, WondeSession)
        with pytest.raises(SchemaChanged):
            await read(session, "groups")


@pytest.mark.parametrize("given", ["7", '" w-1 "', '"' + "w" * 201 + '"', "true", "null", '" "'])
async def test_g18_a_receipt_is_an_id_and_no_longer_than_one(given: str) -> None:
    """What is longer would be kept. Seen to fail without the bound."""
    values: dict[str, WriteValue] = {
        "student_id": SourceKey("wonde/student", ("A1",)),
        "type_code": "1",
        "occurred_at": "2026-09-08T10:20:00+01:00",
        "staff_id": SourceKey("wonde/employee", ("A2",)),
        "points": 1,
    }
    request = WriteRequest("record_behaviour_event", "key", values)
    async with connected(f'{{"writeback_id":{given}}}') as connection:
        writing = replace(connection, settings={**connection.settings, "behaviour_writes": "yes"})
        async with open_session(writing) as session:
            told = {"7": "7", '" w-1 "': "w-1"}.get(given)
            if told is None:
                with pytest.raises(Transient):
                    await session.write(request)
            else:
                assert (await session.write(request)).pending == told


async def test_a_refused_write_is_refused_whatever_is_said_about_it() -> None:
    """Seen to fail where a text that is no JSON counted as an outcome not known."""
    async with connected("Unprocessable", status=422) as connection:
        settings = WondeSettings.parse(connection.settings)
        async with http_client(connection, settings.http, {}) as http:
            told: list[Departure] = []
            with pytest.raises(FieldErrors):
                await WondeClient(http, settings).send("POST", "behaviours", {"a": 1}, told.append)
    assert told == [Departure("POST behaviours", '{"a":1}')]
