"""Commits: versions, history, conflicts, totals."""

from __future__ import annotations

from typing import Any

import pytest

from schoolgate.v1 import record_pb2
from schoolgate_server.model.changes import Commit
from schoolgate_server.store.commits import KEPT_TOTALS
from schoolgate_server.store.errors import CommitConflict, RecordTooLarge
from schoolgate_server.store.store import Store
from tests.contract.store.conftest import OpenStore
from tests.support.faults import Step
from tests.support.store_samples import (
    SettableClock,
    commit,
    leased,
    states,
    student,
    student_id,
    surnames,
)

LEFT = record_pb2.TOMBSTONE_REASON_LEFT


async def test_a_commit_becomes_the_next_seq_with_its_totals(store: Store, clock: SettableClock) -> None:
    lease = await leased(store)
    assert (await store.leases.head("oak")).published == 0
    totals = {"students": {"created": 2, "unchanged": 0}, "odd.$name": {"created": 0}}
    seq = await store.commits.commit(lease, Commit("run_7", [student(1, "Ash"), student(2, "Bly")], totals))
    head = await store.leases.head("oak")
    assert seq == head.published == 1
    assert head.published_at == clock.now
    assert head.totals == {"run_7": totals}


async def test_g10_a_run_finds_its_totals_again_after_others_have_published(store: Store) -> None:
    lease = await leased(store)
    totals = {"students": {"created": 1}}
    await store.commits.commit(lease, Commit("run_7", [student(1, "Ash")], totals))
    for number in range(2, KEPT_TOTALS + 1):
        await store.commits.commit(lease, Commit(f"other_{number}", [student(number, "Bly")], {}))
    assert (await store.leases.head("oak")).totals["run_7"] == totals
    await store.commits.commit(lease, Commit("last", [student(KEPT_TOTALS + 1, "Cox")], {}))
    assert "run_7" not in (await store.leases.head("oak")).totals


async def test_a_record_carries_what_it_was_committed_with(store: Store, clock: SettableClock) -> None:
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash", forename="Ümit", pupil_premium=True, sex=1), run="run_9")
    record = await store.records.get("oak", student_id(1))
    assert record is not None
    assert record.WhichOneof("body") == "student"
    assert (record.student.surname, record.student.forename, record.student.sex) == ("Ash", "Ümit", 1)
    assert (record.version, record.seq, record.run_id, record.school_id) == (1, 1, "run_9", "oak")
    assert record.committed_at.ToDatetime(tzinfo=clock.now.tzinfo) == clock.now
    [key] = record.source_keys
    assert (key.namespace, [part.integer for part in key.parts]) == ("mis/student", [1])


async def test_g04_insert_delete_insert_keeps_both_lives_under_one_id(
    store: Store, clock: SettableClock
) -> None:
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash"))
    clock.advance(seconds=1)
    await commit(store, lease, student(1, "Ash", 1, tombstone=LEFT))
    clock.advance(seconds=1)
    await commit(store, lease, student(1, "Ash-Bly", 2))
    versions = await store.records.versions("oak", student_id(1), None, 10)
    assert [(v.version, v.student.surname, v.tombstone.reason) for v, _ in versions] == [
        (3, "Ash-Bly", 0),
        (2, "Ash", LEFT),
        (1, "Ash", 0),
    ]
    ends = [end for _, end in versions]
    assert ends == [None, versions[0][0].committed_at.ToDatetime(tzinfo=clock.now.tzinfo), ends[2]]
    assert ends[2] == versions[1][0].committed_at.ToDatetime(tzinfo=clock.now.tzinfo)
    assert len({v.id for v, _ in versions}) == 1


async def test_versions_come_in_pages(store: Store) -> None:
    lease = await leased(store)
    for version in range(5):
        await commit(store, lease, student(1, f"name {version}", version))
    first = await store.records.versions("oak", student_id(1), None, 2)
    second = await store.records.versions("oak", student_id(1), first[-1][0].version, 2)
    last = await store.records.versions("oak", student_id(1), second[-1][0].version, 2)
    assert [v.version for v, _ in [*first, *second, *last]] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_wrong_version_fails_the_commit_and_nothing_of_it_stays(store: Store, expected: int) -> None:
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash"), student(2, "Bly"))
    before = await states(store, "students")
    with pytest.raises(CommitConflict):
        await commit(store, lease, student(3, "Cox"), student(2, "Bly-Dee", 1), student(1, "Eve", expected))
    assert await states(store, "students") == before
    assert (await store.leases.head("oak")).published == 1
    assert await commit(store, lease, student(3, "Cox")) == 3
    assert await surnames(store, 3) == {student_id(1): "Ash", student_id(2): "Bly", student_id(3): "Cox"}


async def test_a_version_that_moves_during_the_commit_fails_it(opened: OpenStore) -> None:
    plain = opened()
    await plain.prepare()
    lease = await leased(plain)
    await commit(plain, lease, student(1, "Ash"), student(2, "Bly"))

    async def meddle(step: Step) -> None:
        if (step.moment, step.collection, step.operation) == ("after", "history", "insert_many"):
            await plain.database.collection("records").update_one(
                {"_id": student_id(2)}, {"$inc": {"version": 7}}
            )

    meddled = opened(meddle)
    with pytest.raises(CommitConflict):
        await commit(meddled, lease, student(1, "Ash-Cox", 1), student(2, "Bly-Cox", 1))
    assert await surnames(plain, 1) == {student_id(1): "Ash", student_id(2): "Bly"}


async def test_a_commit_may_change_a_record_once(store: Store) -> None:
    lease = await leased(store)
    with pytest.raises(ValueError, match="once"):
        await commit(store, lease, student(1, "Ash"), student(1, "Bly"))


async def test_g03_a_commit_without_changes_writes_nothing(opened: OpenStore) -> None:
    written: list[Step] = []

    async def note(step: Step) -> None:
        if step.is_write:
            written.append(step)

    store = opened(note)
    await store.prepare()
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash"))
    written.clear()
    assert await commit(store, lease) == 1
    assert written == []


async def test_a_first_load_writes_no_history(opened: OpenStore) -> None:
    written: list[Step] = []

    async def note(step: Step) -> None:
        if step.is_write and step.moment == "before":
            written.append(step)

    store = opened(note)
    await store.prepare()
    lease = await leased(store)
    written.clear()
    await commit(store, lease, *(student(number, "Ash") for number in range(100)))
    assert [(step.collection, step.operation) for step in written] == [
        ("heads", "update_one"),
        ("fences", "update_one"),
        ("records", "insert_many"),
        ("transaction", "commit_transaction"),
        ("heads", "update_one"),
    ]


async def test_more_changes_than_fit_into_a_bulk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schoolgate_server.store.handles.CHUNK", 3)
    lease = await leased(store)
    await commit(store, lease, *(student(number, "Ash") for number in range(10)))
    await commit(store, lease, *(student(number, "Bly", 1) for number in range(2, 10)), student(10, "Cox"))
    now = await surnames(store, 2, page=4)
    assert sorted(now.values()) == ["Ash"] * 2 + ["Bly"] * 8 + ["Cox"]
    assert set((await surnames(store, 1, page=4)).values()) == {"Ash"}
    with pytest.raises(CommitConflict):
        await commit(store, lease, *(student(number, "Dee", 2) for number in range(10)))
    assert await surnames(store, 2) == now


async def test_time_never_runs_backwards_within_a_school(store: Store, clock: SettableClock) -> None:
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash"))
    first = (await store.leases.head("oak")).published_at
    clock.advance(seconds=-10)
    await commit(store, lease, student(1, "Bly", 1))
    assert (await store.leases.head("oak")).published_at == first


async def test_a_record_that_cannot_fit_is_refused_before_anything_is_written(store: Store) -> None:
    lease = await leased(store)
    with pytest.raises(RecordTooLarge, match=student_id(2)):
        await commit(store, lease, student(1, "Ash"), student(2, "B" * 8 * 1024 * 1024))
    assert await states(store, "students") == []
    assert await commit(store, lease, student(1, "Ash")) == 1


async def test_a_record_that_just_fits_is_stored(store: Store) -> None:
    lease = await leased(store)
    long = "ß" * (7 * 1024 * 1024 // 2 - 16)
    await commit(store, lease, student(1, long))
    await commit(store, lease, student(1, "Ash", 1))
    assert (await surnames(store, 1))[student_id(1)] == long


async def test_the_document_is_readable_in_the_shell(store: Store) -> None:
    lease = await leased(store)
    await commit(store, lease, student(1, "Ash", sex=1, pupil_premium=False, tombstone=LEFT))
    document: Any = await store.database.collection("records").find_one({"_id": student_id(1)})
    assert document["body"] == {"surname": "Ash", "sex": "SEX_FEMALE", "pupil_premium": False}
    assert document["kind"] == "student"
    assert document["live"] is False
    assert document["tombstone"]["reason"] == "LEFT"
