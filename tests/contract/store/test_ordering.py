"""Orders, names and groups: every page size and every seq against plain Python over the same states."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cmp_to_key, partial
from itertools import combinations, product
from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import record_pb2
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk.keys import encode_key, source_key
from schoolgate_server.model.groups import Grouping, Values, summed
from schoolgate_server.model.questions import Condition, Ordering, Question
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import ProcessDied, Step, dies_at
from tests.support.store_samples import (
    EVERYTHING,
    commit,
    leased,
    mark,
    membership,
    states,
    student,
    student_id,
)

MEMBERSHIP = kinds.KIND_GROUP_MEMBERSHIP
LEFT = record_pb2.TOMBSTONE_REASON_LEFT
FIELDS = ("surname", "forename", "year_group_code")
ORDERS = [
    tuple(Ordering(field, descending) for field, descending in zip(fields, descents, strict=True))
    for count in (1, 2)
    for fields in combinations(FIELDS, count)
    for descents in ((False,) * count, (True,) * count, (True, False)[:count])
]


async def pupils(store: Store) -> int:
    """Commit pupils with equal, missing and changing names, and return the last seq."""
    lease = await leased(store)
    surnames, forenames = ("Ash", "Bly", "Cox", "É"), (None, "Ada", "Bea")

    def fields(number: int) -> dict[str, Any]:
        forename = forenames[number % 3]
        year = {"year_group_code": str(7 + number % 2)} if number % 4 else {}
        return year | ({"forename": forename} if forename else {})

    await commit(store, lease, *(student(n, surnames[n % 4], **fields(n)) for n in range(12)))
    await commit(
        store, lease, *(student(n, surnames[(n + 1) % 4], 1, **fields(n + 1)) for n in range(0, 12, 2))
    )
    return await commit(store, lease, student(3, "Zed", 1, tombstone=LEFT), student(20, "Abe"))


def expected(records: list[Record], order: tuple[Ordering, ...]) -> list[str]:
    def compare(one: Record, other: Record) -> int:
        for field, descending in order:
            values = [
                (r.student.HasField(field), getattr(r.student, field))  # type: ignore[arg-type]
                for r in (one, other)
            ]
            if values[0] != values[1]:
                return (-1 if values[0] < values[1] else 1) * (-1 if descending else 1)
        return (-1 if one.id < other.id else 1) * (-1 if order[-1].descending else 1)

    return [record.id for record in sorted(records, key=cmp_to_key(compare))]


async def listed(
    store: Store, question: Question, seq: int, page: int, kind: kinds.Kind.ValueType = kinds.KIND_STUDENT
) -> list[str]:
    found: list[str] = []
    while True:
        after = found[-1] if found else ""
        records = await store.records.query("oak", kind, question, seq, after, page)
        ids = [record.id for record in records]
        assert not set(ids) & set(found), "a record stands on two pages"
        found += ids
        if len(records) < page:
            return found


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_pages_of_any_size_stand_in_the_order(store: Store, order: tuple[Ordering, ...]) -> None:
    last = await pupils(store)
    for seq in range(1, last + 1):
        everything = await store.records.query("oak", kinds.KIND_STUDENT, EVERYTHING, seq, "", 100)
        question = Question(include_tombstones=True, order=order)
        for page in (1, 5, 100):
            assert await listed(store, question, seq, page) == expected(everything, order)


async def test_days_are_ordered_by_the_day(store: Store) -> None:
    lease = await leased(store)
    days = ["2026-09-01", "2026-09-02", "2026-09-03", "2026-09-07"]
    await commit(store, lease, *(mark(number, day) for number in range(5) for day in days))
    conditions = (
        Condition("date", q.FILTER_OPERATOR_GREATER_OR_EQUAL, ("2026-09-02",)),
        Condition("date", q.FILTER_OPERATOR_LESS, ("2026-09-07",)),
    )
    for descending in (False, True):
        question = Question(conditions, order=(Ordering("date", descending),))
        ids = await listed(store, question, 1, 3, kinds.KIND_ATTENDANCE_MARK)
        whole = await store.records.query("oak", kinds.KIND_ATTENDANCE_MARK, question, 1, "", 100)
        assert [record.id for record in whole] == ids
        places = [(record.attendance_mark.date, record.id) for record in whole]
        assert places == sorted(places, reverse=descending)
        assert {day for day, _ in places} == {"2026-09-02", "2026-09-03"}
        assert len(places) == 10


@pytest.mark.parametrize("of_pupils", [False, True], ids=["all", "of some pupils"])
@pytest.mark.parametrize("descending", [False, True])
async def test_records_without_a_day_have_their_place_among_days(
    store: Store, descending: bool, of_pupils: bool
) -> None:
    """Before the others, or after them, on whichever page. Seen to fail where a later page asks for days."""
    lease = await leased(store)
    days = [None, "2026-09-03", "2026-09-01", None, "2026-09-03", None]
    last = await commit(store, lease, *(membership(number, day, None) for number, day in enumerate(days)))
    expected = sorted(range(len(days)), key=lambda number: (days[number] or "", number), reverse=descending)
    pupils = tuple(student_id(number) for number in range(len(days)))
    conditions = (Condition("student_id", q.FILTER_OPERATOR_IN, pupils),) if of_pupils else ()
    question = Question(conditions, order=(Ordering("valid_from", descending),))
    for size in (1, 2, 3):
        found = await listed(store, question, last, size, MEMBERSHIP)
        assert [int(record_id.removeprefix("mem_"), 16) for record_id in found] == expected


@pytest.mark.parametrize("question", [Question(), EVERYTHING], ids=["live", "everything"])
@pytest.mark.parametrize("descending", [None, False, True], ids=["as they stand", "ascending", "descending"])
async def test_what_ever_grows_stands_in_order_of_its_day_as_of_every_seq(
    store: Store, question: Question, descending: bool | None
) -> None:
    """Days change, come and go with every commit. Seen to fail where history is cut short at another day."""
    lease = await leased(store)
    chance = random.Random(7)
    days = [None, "2026-09-01", "2026-09-02", "2026-09-03", "2026-09-04"]
    states: list[dict[int, tuple[str | None, int, bool]]] = [{}]
    for _ in range(8):
        state = dict(states[-1])
        for number in chance.sample(range(24), 9):
            version = state[number][1] if number in state else 0
            state[number] = (chance.choice(days), version + 1, chance.random() < 0.8)
        changed = {number: new for number, new in state.items() if states[-1].get(number) != new}
        await commit(
            store,
            lease,
            *(
                membership(number, day, None)._replace(
                    expected_version=version - 1, tombstone=None if lives else LEFT
                )
                for number, (day, version, lives) in changed.items()
            ),
        )
        states.append(state)
    order = () if descending is None else (Ordering("valid_from", descending),)
    asked = replace(question, order=order)
    for seq, state in enumerate(states):
        wanted = sorted(
            (day or "", number)
            for number, (day, _, lives) in state.items()
            if lives or question.include_tombstones
        )
        expected = [number for _, number in sorted(wanted, reverse=bool(descending))]
        for size in (1, 3, 7, 100):
            found = await listed(store, asked, seq, size, MEMBERSHIP)
            assert [int(record_id.removeprefix("mem_"), 16) for record_id in found] == expected
        assert await store.records.count("oak", MEMBERSHIP, asked, seq) == len(expected)


@pytest.mark.parametrize("descending", [False, True])
async def test_g12_a_page_by_day_is_of_its_seq_whatever_is_committed_or_undone_between_its_reads(
    store: Store, opened: OpenStore, descending: bool
) -> None:
    """Seen to fail where the history is asked whether there is any before the records are read."""
    lease = await leased(store)
    chance = random.Random(11)
    days = [None, "2026-09-01", "2026-09-02", "2026-09-03"]
    await commit(store, lease, *(membership(number, chance.choice(days), None) for number in range(10)))
    question = Question(order=(Ordering("valid_from", descending),))
    steps = interfered = 0

    async def interfere(begin: int, step: Step) -> None:
        nonlocal steps, interfered
        steps += 1
        if not begin <= steps < begin + 3:
            return
        interfered += 1
        await store.commits.recover(lease)  # of what was cut short at the step before
        versions = {state.record_id: state.version for state in await states(store, "group_memberships")}
        changes = [membership(number, chance.choice(days), None) for number in chance.sample(range(10), 4)]
        writer = opened(dies_at(chance.choice((1, 2, 3, 4)), "after")) if chance.random() < 0.5 else store
        with suppress(ProcessDied):
            await commit(
                writer, lease, *(each._replace(expected_version=versions[each.record_id]) for each in changes)
            )

    for size, begin in product((2, 3, 100), range(1, 14)):
        await store.commits.recover(lease)
        seq = (await store.leases.head("oak")).published
        expected = await listed(store, question, seq, 100, MEMBERSHIP)
        steps = 0
        reader = opened(partial(interfere, begin))
        assert await listed(reader, question, seq, size, MEMBERSHIP) == expected
    assert interfered > 50


@pytest.mark.parametrize("descending", [False, True])
async def test_another_server_goes_on_with_a_page_by_day(
    store: Store, opened: OpenStore, descending: bool
) -> None:
    """From the record alone that the page before ended with, be it superseded by then."""
    lease = await leased(store)
    days = [None, "2026-09-01", "2026-09-02", "2026-09-02", None, "2026-09-01", "2026-09-03"]
    first = await commit(store, lease, *(membership(number, day, None) for number, day in enumerate(days)))
    await commit(
        store,
        lease,
        *(membership(number, "2026-09-09", None)._replace(expected_version=1) for number in range(0, 7, 2)),
    )
    expected = sorted(range(7), key=lambda number: (days[number] or "", number), reverse=descending)
    question = Question(order=(Ordering("valid_from", descending),))
    found: list[str] = []
    while len(found) < len(days):
        after = found[-1] if found else ""
        [record, *_] = await opened().records.query("oak", MEMBERSHIP, question, first, after, 2)
        found.append(record.id)
    assert [int(record_id.removeprefix("mem_"), 16) for record_id in found] == expected


async def test_only_the_records_named_are_meant(store: Store) -> None:
    last = await pupils(store)
    named = (student_id(3), student_id(4), student_id(20), student_id(99))
    for seq, found in ((1, [3, 4]), (last, [4, 20])):
        question = Question(ids=named)
        records = await store.records.query("oak", kinds.KIND_STUDENT, question, seq, "", 100)
        assert [record.id for record in records] == [student_id(number) for number in found]
        assert await store.records.count("oak", kinds.KIND_STUDENT, question, seq) == len(found)
        for page in (1, 2):
            assert await listed(store, question, seq, page) == [record.id for record in records]
            by_name = Question(ids=named, order=(Ordering("surname", descending=True),))
            assert set(await listed(store, by_name, seq, page)) == {record.id for record in records}
    assert await store.records.query("oak", kinds.KIND_STUDENT, Question(ids=()), last, "", 9) == []


async def test_keys_lead_to_ids(store: Store) -> None:
    await pupils(store)
    keys = [encode_key(source_key("mis/student", number)) for number in (3, 20, 77)]
    assert await store.records.ids_of_keys("oak", kinds.KIND_STUDENT, keys, 3) == {
        student_id(3),
        student_id(20),
    }
    assert await store.records.ids_of_keys("oak", kinds.KIND_STUDENT, keys, 1) == {student_id(3)}
    assert await store.records.ids_of_keys("elm", kinds.KIND_STUDENT, keys, 3) == set()


async def test_groups_are_those_of_the_records_at_every_seq(store: Store) -> None:
    last = await pupils(store)
    for seq in range(1, last + 1):
        for question in (Question(), EVERYTHING, Question(ids=(student_id(1), student_id(2)))):
            records = await store.records.query("oak", kinds.KIND_STUDENT, question, seq, "", 100)
            for fields in (["year_group_code"], ["surname", "forename"]):
                groups = await store.records.groups("oak", kinds.KIND_STUDENT, question, fields, seq)
                assert groups == Counter(
                    tuple(getattr(r.student, f) if r.student.HasField(f) else None for f in fields)  # type: ignore[arg-type]
                    for r in records
                )


def test_days_are_summed_by_week_and_month() -> None:
    counts: dict[Values, int] = {
        ("/", "2026-08-30"): 1,
        ("/", "2026-08-31"): 2,
        ("N", "2026-09-06"): 4,
        ("/", None): 8,
    }
    groupings = [Grouping("code"), Grouping("date", q.GROUPING_PERIOD_WEEK)]
    assert summed(counts, groupings) == {
        ("/", "2026-08-24"): 1,
        ("/", "2026-08-31"): 2,
        ("N", "2026-08-31"): 4,
        ("/", None): 8,
    }
    by_month = summed(counts, [Grouping("code"), Grouping("date", q.GROUPING_PERIOD_MONTH)])
    assert by_month == {("/", "2026-08-01"): 3, ("N", "2026-09-01"): 4, ("/", None): 8}
