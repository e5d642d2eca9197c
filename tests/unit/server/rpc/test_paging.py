from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.questions import SerialisedRecord
from schoolgate_server.rpc import tokens
from schoolgate_server.rpc.paging import MOST_BYTES, Pages, add_related, responses, with_token
from schoolgate_server.rpc.tokens import make_token, question_of, read_token


def records(count: int, comment: str = "") -> list[Record]:
    made = [Record(id=f"mrk_{number:04}") for number in range(count)]
    for record in made:
        record.attendance_mark.comment = comment
    return made


def stored(count: int, comment: str = "") -> list[SerialisedRecord]:
    return [SerialisedRecord(record.id, record.SerializeToString()) for record in records(count, comment)]


def messages(found: Sequence[SerialisedRecord], seq: int) -> list[q.QueryRecordsResponse]:
    return [q.QueryRecordsResponse.FromString(part.wire) for part in responses(found, seq)]


async def read(total: int, size: int, most: int) -> tuple[list[int], bool, list[int]]:
    """Return the sizes of the pages, whether more was left out, and the limits that were asked for."""
    everything, limits = stored(total), list[int]()

    async def fetch(after: str, limit: int) -> Sequence[SerialisedRecord]:
        limits.append(limit)
        return [record for record in everything if record.id > after][:limit]

    sizes, left_out, seen = list[int](), False, list[SerialisedRecord]()
    async for page in Pages(fetch, "", size, most):
        sizes.append(len(page.records))
        seen += page.records
        left_out = page.more_left_out
    assert seen == everything[: len(seen)]
    return sizes, left_out, limits


@pytest.mark.parametrize(
    ("total", "size", "most", "sizes", "left_out"),
    [
        (0, 10, 0, [0], False),
        (5, 10, 0, [5], False),
        (10, 10, 0, [10], False),
        (25, 10, 0, [10, 10, 5], False),
        (25, 10, 5, [5], True),
        (25, 10, 10, [10], True),
        (25, 10, 12, [10, 2], True),
        (25, 10, 25, [10, 10, 5], False),
        (25, 10, 30, [10, 10, 5], False),
        (20, 10, 20, [10, 10], False),
        (0, 10, 5, [0], False),
    ],
)
async def test_pages_and_limits(total: int, size: int, most: int, sizes: list[int], left_out: bool) -> None:
    assert (await read(total, size, most))[:2] == (sizes, left_out)


async def test_the_next_page_is_fetched_while_the_present_one_is_used() -> None:
    everything, asked = stored(20), 0

    async def fetch(after: str, limit: int) -> Sequence[SerialisedRecord]:
        nonlocal asked
        asked += 1
        return [record for record in everything if record.id > after][:limit]

    pages = aiter(Pages(fetch, "", 10, 0))
    await anext(pages)
    await asyncio.sleep(0)
    assert asked == 2
    await pages.aclose()  # type: ignore[attr-defined]


async def test_an_abandoned_answer_stops_fetching() -> None:
    stopped = asyncio.Event()

    async def fetch(after: str, limit: int) -> Sequence[SerialisedRecord]:
        if after:
            try:
                await asyncio.sleep(3600)
            finally:
                stopped.set()
        return stored(limit)

    pages = aiter(Pages(fetch, "", 10, 0))
    await anext(pages)
    await asyncio.sleep(0)
    await pages.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(stopped.wait(), 1)


def test_a_page_too_large_for_one_response_is_divided() -> None:
    comment = "x" * 200_000
    parts = messages(stored(50, comment), 7)
    assert len(parts) > 1
    assert all(part.ByteSize() <= MOST_BYTES and part.seq == 7 for part in parts)
    assert [record for part in parts for record in part.records] == records(50, comment)


def test_a_record_larger_than_a_response_should_be_still_travels() -> None:
    [part] = messages(stored(1, comment="x" * (MOST_BYTES + 1)), 1)
    assert len(part.records) == 1


@pytest.mark.parametrize("own", [0, 3])
def test_related_records_fill_the_last_response_and_then_others(own: int) -> None:
    parts = messages(stored(own), 7)
    add_related(parts, related := records(40, comment="x" * 200_000))
    assert len(parts) > 1
    assert all(part.ByteSize() <= MOST_BYTES and part.seq == 7 for part in parts)
    assert [len(part.records) for part in parts] == [own, *[0] * (len(parts) - 1)]
    assert all(part.related for part in parts)
    assert [record for part in parts for record in part.related] == related


def test_few_related_records_travel_with_their_page() -> None:
    parts = messages(stored(3), 7)
    add_related(parts, related := records(2))
    assert [list(part.related) for part in parts] == [related]


def test_a_related_record_larger_than_a_response_should_be_has_one_of_its_own() -> None:
    parts = messages(stored(3), 7)
    add_related(parts, records(2, comment="x" * (MOST_BYTES + 1)))
    assert [(len(part.records), len(part.related)) for part in parts] == [(3, 0), (0, 1), (0, 1)]


@pytest.mark.parametrize("count", [0, 3])
def test_a_serialised_response_takes_a_token(count: int) -> None:
    [part] = responses(stored(count), 7)
    expected = q.QueryRecordsResponse(records=records(count), seq=7, next_page_token="x")
    assert q.QueryRecordsResponse.FromString(with_token(part, "x").wire) == expected


QUESTION = question_of(q.QueryRecordsRequest(school_id="oak", page_size=3, page_token="x"))


def test_a_token_comes_back_as_it_was_made() -> None:
    assert read_token(QUESTION, make_token(QUESTION, 42, "stu_1"), int, str) == (42, "stu_1")


def test_the_page_size_may_change_between_pages() -> None:
    assert question_of(q.QueryRecordsRequest(school_id="oak", page_size=9)) == QUESTION


@pytest.mark.parametrize("other", [{"school_id": "elm"}, {"school_id": "oak", "known_at_seq": 3}])
def test_a_token_of_another_question_is_refused(other: dict[str, object]) -> None:
    token = make_token(question_of(q.QueryRecordsRequest(**other)), 42, "stu_1")  # type: ignore[arg-type]
    with pytest.raises(ServiceError):
        read_token(QUESTION, token, int, str)


def test_a_token_of_another_method_is_refused() -> None:
    token = make_token(question_of(q.ListVersionsRequest(school_id="oak")), 42, "stu_1")
    with pytest.raises(ServiceError):
        read_token(QUESTION, token, int, str)


def test_a_token_from_before_an_order_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(tokens, "_PERSON", b"schoolgate-page")
        token = make_token(QUESTION, 42, "stu_1")
    with pytest.raises(ServiceError):
        read_token(QUESTION, token, int, str)


@pytest.mark.parametrize("seq", [-1, 1 << 63, (1 << 64) - 1])
def test_a_token_of_a_seq_that_none_can_be_is_refused(seq: int) -> None:
    """Anybody can work out a checksum."""
    with pytest.raises(ServiceError):
        read_token(QUESTION, make_token(QUESTION, seq, "stu_1"), int, str)


@pytest.mark.parametrize(
    "token",
    ["", "x", "====", "AAAA", "é", "a" * 5000, make_token(QUESTION, "a"), make_token(QUESTION, "a", 1)],
)
def test_a_malformed_token_is_refused(token: str) -> None:
    with pytest.raises(ServiceError):
        read_token(QUESTION, token, int, str)
