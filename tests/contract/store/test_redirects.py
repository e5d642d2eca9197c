"""Merged records as readers find them, and what refers to a record, as of a seq."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_LEFT, TOMBSTONE_REASON_MERGED, Record
from schoolgate_sdk import KINDS
from schoolgate_server.model.changes import Change
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.references import referring_fields
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import Driver, OpenStore
from tests.support.faults import Step
from tests.support.store_samples import commit, leased, mark, membership, student, student_id

KEYS = {number: student(number, "").keys for number in range(1, 6)}


def merged(number: int, into: int, expected: int) -> Change:
    tombstone = student(number, f"Name {number}", expected, tombstone=TOMBSTONE_REASON_MERGED)
    return tombstone._replace(merged_into=student_id(into))


def survivor(number: int, expected: int, *others: int) -> Change:
    keys = tuple(key for other in (number, *others) for key in KEYS[other])
    return student(number, f"Name {number}", expected)._replace(keys=keys)


async def chain(store: Store) -> Lease:
    """Seq 1: four students. Seq 2: 1 was merged into 2. Seq 3: 2 was merged into 3. Seq 4: 4 has left."""
    lease = await leased(store)
    await commit(store, lease, *(student(number, f"Name {number}") for number in range(1, 5)))
    await commit(store, lease, merged(1, 2, 1), survivor(2, 1, 1))
    await commit(store, lease, merged(2, 3, 2)._replace(keys=(*KEYS[2], *KEYS[1])), survivor(3, 1, 1, 2))
    await commit(store, lease, student(4, "Name 4", 1, tombstone=TOMBSTONE_REASON_LEFT))
    return lease


async def found(store: Store, number: int, seq: int) -> Record:
    record = await store.records.get("oak", student_id(number), seq)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("seq", "ends"),
    [
        (1, {1: 1, 2: 2, 3: 3, 4: 4}),
        (2, {1: 2, 2: 2, 3: 3, 4: 4}),
        (3, {1: 3, 2: 3, 3: 3, 4: 4}),
        (4, {1: 3, 4: 4}),
    ],
)
async def test_g12_a_merged_record_lives_on_as_whom_it_did_as_of_a_seq(
    store: Store, seq: int, ends: dict[int, int]
) -> None:
    """Seen to fail with the survivor read as of the latest seq."""
    await chain(store)
    for number, end in ends.items():
        kept = await store.redirects.follow("oak", await found(store, number, seq), seq)
        assert (kept.id, kept.seq <= seq) == (student_id(end), True)


@pytest.mark.parametrize(
    ("seq", "same"),
    [(1, [{1}, {2}, {3}]), (2, [{1, 2}, {3}]), (3, [{1, 2, 3}]), (4, [{1, 2, 3}])],
)
async def test_g12_ids_that_mean_one_entity_as_of_a_seq(store: Store, seq: int, same: list[set[int]]) -> None:
    """Seen to fail without each of the four looks, and with one step along a chain only."""
    await chain(store)
    for entity in same:
        for number in entity:
            ids = await store.redirects.same("oak", [student_id(number)], seq)
            assert ids == {student_id(other) for other in entity}
    everything = await store.redirects.same("oak", map(student_id, range(1, 5)), seq)
    assert everything == set(map(student_id, range(1, 5)))


async def test_g17_another_schools_merges_mean_nothing(store: Store) -> None:
    await chain(store)
    assert await store.redirects.same("elm", [student_id(1)], 4) == {student_id(1)}


async def test_g12_a_merge_that_is_written_over_is_still_known_as_of_its_seq(store: Store) -> None:
    lease = await chain(store)
    # No operation does so today; an answer as of an older seq must not depend on that.
    await commit(store, lease, student(1, "Back again", 2))
    for number in (1, 3):
        ids = await store.redirects.same("oak", [student_id(number)], 4)
        assert ids == {student_id(number) for number in (1, 2, 3)}
    assert await store.redirects.same("oak", [student_id(1)], 5) == {student_id(1)}


@pytest.mark.parametrize("collection", ["records", "history"])
async def test_g12_a_merge_that_overtakes_a_reader_does_not_show(opened: OpenStore, collection: str) -> None:
    """Seen to fail with the history looked at before the records."""
    writer = opened()
    await writer.prepare()
    lease = await chain(writer)
    done = False

    async def overtake(step: Step) -> None:
        nonlocal done
        if not done and (step.moment, step.collection) == ("before", collection):
            done = True
            await commit(writer, lease, student(1, "Back again", 2), survivor(2, 3, 1))

    reader = opened(overtake)
    ids = await reader.redirects.same("oak", [student_id(3)], 4)
    assert done
    assert ids == {student_id(number) for number in (1, 2, 3)}


async def test_a_key_names_the_record_that_was_made_from_it_though_it_is_merged(store: Store) -> None:
    """Seen to fail with live records always before others, and with merged ones before others of any key."""
    await chain(store)
    for seq, names in ((1, {1: 1, 2: 2, 3: 3}), (2, {1: 1, 2: 2}), (4, {1: 1, 2: 2, 3: 3, 4: 4})):
        for number, named in names.items():
            record = await store.records.find_by_key("oak", kinds.KIND_STUDENT, KEYS[number][0], seq)
            assert record is not None
            assert record.id == student_id(named)


async def test_a_further_key_names_the_survivor(store: Store) -> None:
    further = '["mis/person",7]'
    lease = await leased(store)
    await commit(store, lease, student(1, "A")._replace(keys=(*KEYS[1], further)), student(2, "B"))
    tombstone = merged(1, 2, 1)._replace(keys=(*KEYS[1], further))
    await commit(store, lease, tombstone, survivor(2, 1)._replace(keys=(*KEYS[2], *KEYS[1], further)))
    await commit(
        store, lease, student(2, "B", 2, tombstone=TOMBSTONE_REASON_LEFT)._replace(keys=(*KEYS[2], further))
    )
    for seq, number in ((1, 1), (2, 2), (3, 2)):
        record = await store.records.find_by_key("oak", kinds.KIND_STUDENT, further, seq)
        assert record is not None
        assert record.id == student_id(number)


async def test_what_refers_to_a_record_is_found_in_every_kind(store: Store) -> None:
    lease = await leased(store)
    await commit(
        store,
        lease,
        student(1, "A"),
        student(2, "B"),
        membership(1, None, None),
        membership(2, None, None),
        mark(1, "2026-09-01"),
        mark(1, "2026-09-02"),
        mark(2, "2026-09-01"),
    )
    gone = mark(1, "2026-09-02", expected=1)._replace(tombstone=TOMBSTONE_REASON_LEFT)
    await commit(store, lease, gone)
    referring = await store.references.referring("oak", student_id(1))
    assert [stored.record_id for stored in referring] == [
        membership(1, None, None).record_id,
        mark(1, "2026-09-01").record_id,
    ]
    sample = mark(1, "2026-09-01")
    assert (referring[1].dataset, referring[1].keys, referring[1].wire) == (
        sample.dataset,
        sample.keys,
        sample.wire,
    )
    assert referring[1].message == KINDS[sample.kind].message.FromString(sample.wire)
    assert (referring[1].version, referring[1].tombstone) == (1, None)
    assert await store.references.referring("elm", student_id(1)) == []
    assert await store.references.referring("oak", "enr_" + "0" * 32) == []


def test_every_reference_of_every_kind_names_the_kind_that_it_is_to() -> None:
    known = {
        (kind, field)
        for target in KINDS
        for kind, fields in referring_fields(target).items()
        for field in fields
    }
    assert known == {(kind, field) for kind, info in KINDS.items() for field in info.references}


async def test_what_evidence_is_made_from(store: Store) -> None:
    lease = await leased(store)
    assert not await store.references.any_gone("oak", kinds.KIND_STUDENT)
    await commit(store, lease, student(1, "A", upn="X1", in_care=True), student(2, "B"), student(3, "C"))
    await commit(store, lease, merged(3, 2, 1))
    assert not await store.references.any_gone("oak", kinds.KIND_STUDENT)
    await commit(store, lease, student(2, "B", 1, tombstone=TOMBSTONE_REASON_LEFT))
    assert await store.references.any_gone("oak", kinds.KIND_STUDENT)
    assert not await store.references.any_gone("oak", kinds.KIND_STAFF)
    assert not await store.references.any_gone("elm", kinds.KIND_STUDENT)
    fields = ("upn", "surname", "in_care")
    seen = [found async for found in store.references.attributes("oak", kinds.KIND_STUDENT, fields)]
    assert sorted(seen) == [
        (student_id(1), True, {"upn": "X1", "surname": "A"}),
        (student_id(2), False, {"surname": "B"}),
    ]
    await commit(store, lease, student(4, "D"))
    began = await store.references.began("oak", [student_id(2), student_id(4)])
    assert began == {student_id(2): 1, student_id(4): 4}


async def test_what_was_merged_is_looked_up_without_reading_anything_else(
    store: Store, driver: Driver
) -> None:
    driver.requires("plans")
    lease = await leased(store)
    await commit(store, lease, *(student(number, "Ash") for number in range(6, 56)))
    tombstone = student(6, "Ash", 1, tombstone=TOMBSTONE_REASON_MERGED)
    await commit(store, lease, tombstone._replace(merged_into=student_id(7)))
    query: dict[str, Any] = {
        "school": "oak",
        "seq": {"$lte": 9},
        "tombstone.merged_into": {"$in": [student_id(7), student_id(8)]},
    }
    explain = {"find": "records", "filter": query}
    plan = await store.database.driver.command("explain", explain, verbosity="executionStats")
    assert plan["executionStats"]["nReturned"] == 1
    assert plan["executionStats"]["totalDocsExamined"] == 1
