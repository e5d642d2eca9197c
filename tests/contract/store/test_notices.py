"""Notifications that wait in one run per school, and positions of reads of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.checkpoints import Checkpoint
from schoolgate_server.store.errors import LeaseLost
from schoolgate_server.store.notices import REMEMBERED, Notice
from schoolgate_server.store.store import Store
from tests.contract.store.test_runs import START, entry

Merge = Callable[[RunEntry | None], RunEntry]


def noting(key: str, number: int = 100) -> Merge:
    """Puts ``key`` into the run that collects, or into a new one with ``number``."""

    def merge(collecting: RunEntry | None) -> RunEntry:
        if collecting is None:
            collecting = entry(number)
            collecting.run.layer = sync.SYNC_LAYER_TARGETED
        keys = collecting.targets.setdefault("students", [])
        if key not in keys:
            keys.append(key)
        return collecting

    return merge


def note(request_id: str, digest: bytes = b"d") -> Notice:
    return Notice("oak", request_id, digest, START)


async def test_notifications_wait_together_beside_a_run_at_work(store: Store) -> None:
    await store.runs.insert(entry(1, sync.RUN_STATE_RUNNING))
    first = await store.notices.add(note("r1", b"1"), noting("a"))
    second = await store.notices.add(note("r2", b"2"), noting("b", 101))
    assert first.run.run_id == second.run.run_id
    assert (await store.runs.get("oak", first.run.run_id)).targets == {"students": ["a", "b"]}
    assert [found.run.run_id for found in await store.runs.unfinished("oak")] == ["run_0001", "run_0100"]
    at_work = await store.runs.at_work("oak")
    assert at_work is not None
    assert at_work.run.run_id == "run_0001"


async def test_a_run_that_has_begun_collects_nothing_more_and_the_next_one_does(store: Store) -> None:
    collecting = (await store.notices.add(note("r1", b"1"), noting("a"))).run.run_id
    begun = await store.runs.begin("oak", collecting)
    assert begun.targets == {"students": ["a"]}
    following = await store.notices.add(note("r2", b"2"), noting("b", 101))
    assert following.run.run_id != collecting
    assert (await store.runs.get("oak", collecting)).targets == {"students": ["a"]}
    begun.run.state = sync.RUN_STATE_RUNNING
    await store.runs.save(begun, 1)
    assert [found.run.run_id for found in await store.runs.unfinished("oak")] == [collecting, "run_0101"]
    begun.run.state = sync.RUN_STATE_SUCCEEDED
    await store.runs.save(begun, 1)
    assert [found.run.run_id for found in await store.runs.unfinished("oak")] == ["run_0101"]


async def test_a_run_that_is_to_stop_collects_nothing_more(store: Store) -> None:
    collecting = (await store.notices.add(note("r1", b"1"), noting("a"))).run.run_id
    assert (await store.runs.request_cancel("oak", collecting)).run.cancel_requested
    assert (await store.notices.add(note("r2", b"2"), noting("b", 101))).run.run_id != collecting


async def test_a_repeated_notification_gets_its_run_also_after_it_ended(store: Store) -> None:
    first = await store.notices.add(note("r1", b"1"), noting("a"))
    begun = await store.runs.begin("oak", first.run.run_id)
    begun.run.state = sync.RUN_STATE_SUCCEEDED
    await store.runs.save(begun, 1)
    again = await store.notices.add(note("r1", b"1"), noting("a", 101))
    assert again.run == begun.run
    assert await store.notices.find(note("r1", b"1")) == begun.run
    assert await store.notices.find(Notice("elm", "r1", b"1", START)) is None
    assert await store.runs.unfinished("oak") == []
    for ask in (store.notices.find(note("r1", b"2")), store.notices.add(note("r1", b"2"), noting("a"))):
        with pytest.raises(ServiceError) as raised:
            await ask
        assert raised.value.reason == reasons.ERROR_REASON_REQUEST_ID_REUSED


async def test_none_of_many_notifications_at_once_is_lost(store: Store) -> None:
    asked = (
        store.notices.add(note(f"r{number}"), noting(f"k{number}", 100 + number)) for number in range(20)
    )
    assert {entry.run.run_id for entry in await asyncio.gather(*asked)} == {
        found.run.run_id for found in await store.runs.unfinished("oak")
    }
    [collecting] = await store.runs.unfinished("oak")
    assert sorted(collecting.targets["students"]) == sorted(f"k{number}" for number in range(20))


async def test_one_notification_has_one_run_though_its_repetition_overtakes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where the run was not read back from the notification's own document."""
    original, overtaking = store.notices.find, list[str]()

    async def find(notice: Notice) -> sync.Run | None:
        found = await original(notice)
        if not overtaking:
            overtaking.append("begun")
            first = await store.notices.add(note("r1"), noting("a"))
            await store.runs.begin("oak", first.run.run_id)
        return found

    monkeypatch.setattr(store.notices, "find", find)
    late = await store.notices.add(note("r1"), noting("a", 101))
    assert late.run.run_id == "run_0100"
    assert (await store.notices.add(note("r1"), noting("a", 102))).run.run_id == "run_0100"


async def test_old_notifications_are_forgotten(store: Store) -> None:
    await store.notices.add(note("r1"), noting("a"))
    await store.runs.begin("oak", "run_0100")
    later = Notice("oak", "r2", b"d", START + REMEMBERED + timedelta(seconds=1))
    await store.notices.add(later, noting("b", 101))
    assert await store.database.collection("notices").count({}) == 1


async def test_what_a_schedule_began_last_is_known_by_layer(store: Store) -> None:
    assert await store.runs.last_scheduled("oak") == {}
    for number, (layer, scheduled) in enumerate(
        [
            (sync.SYNC_LAYER_FULL, True),
            (sync.SYNC_LAYER_CHANGES, True),
            (sync.SYNC_LAYER_CHANGES, True),
            (sync.SYNC_LAYER_CHANGES, False),
        ]
    ):
        kept = entry(number, sync.RUN_STATE_SUCCEEDED)
        kept.run.layer, kept.scheduled = layer, scheduled
        await store.runs.insert(kept)
    assert await store.runs.last_scheduled("oak") == {
        sync.SYNC_LAYER_FULL: START,
        sync.SYNC_LAYER_CHANGES: START + timedelta(minutes=2),
    }
    assert (await store.runs.finished("oak", 2))[0].run_id == "run_0003"


async def test_only_a_whole_read_counts_as_sealed(store: Store) -> None:
    """Seen to fail where every layer's success counted: a window looked like the last full snapshot."""
    for number, (layer, part_layer) in enumerate(
        [
            (sync.SYNC_LAYER_FULL, sync.SYNC_LAYER_UNSPECIFIED),
            (sync.SYNC_LAYER_CHANGES, sync.SYNC_LAYER_FULL),
            (sync.SYNC_LAYER_WINDOW, sync.SYNC_LAYER_UNSPECIFIED),
            (sync.SYNC_LAYER_CHANGES, sync.SYNC_LAYER_UNSPECIFIED),
        ]
    ):
        kept = entry(number, sync.RUN_STATE_SUCCEEDED, datasets={"students": sync.DATASET_STATE_SUCCEEDED})
        kept.run.layer = layer
        kept.run.datasets[0].layer = part_layer
        await store.runs.insert(kept)
    sealed = await store.runs.last_sealed("oak", "students")
    assert sealed is not None
    assert sealed.state.rows_read == 1


async def test_a_checkpoint_is_the_latest_one_of_its_dataset(store: Store) -> None:
    assert await store.checkpoints.get("oak", "students") is None
    lease = await store.leases.acquire("oak", "server-1", timedelta(seconds=30))
    assert lease is not None
    for dataset, cursor in (("students", "1"), ("odd.$name", "7"), ("students", "2")):
        await store.checkpoints.put(lease, dataset, Checkpoint(cursor, "f"))
    assert await store.checkpoints.get("oak", "students") == Checkpoint("2", "f")
    assert await store.checkpoints.get("oak", "odd.$name") == Checkpoint("7", "f")
    assert await store.checkpoints.get("elm", "students") is None


async def test_g15_an_owner_whose_lease_is_gone_stores_no_checkpoint(store: Store) -> None:
    """Seen to fail without the lease's epoch in the write's condition."""
    lease = await store.leases.acquire("oak", "server-1", timedelta(seconds=30))
    assert lease is not None
    await store.checkpoints.put(lease, "students", Checkpoint("1", "f"))
    await store.leases.release(lease)
    assert await store.leases.acquire("oak", "server-2", timedelta(seconds=30)) is not None
    with pytest.raises(LeaseLost):
        await store.checkpoints.put(lease, "students", Checkpoint("2", "f"))
    assert await store.checkpoints.get("oak", "students") == Checkpoint("1", "f")
