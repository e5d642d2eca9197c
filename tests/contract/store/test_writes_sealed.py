"""What the ledger keeps encrypted: what was to be written, what was sent, and what was answered."""

from __future__ import annotations

import secrets

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteConditions
from schoolgate_server.store.store import Store
from schoolgate_server.store.vault import CredentialVault, Kms
from tests.contract.store.conftest import Driver, OpenStore
from tests.support.store_samples import SettableClock
from tests.support.writes import BEHAVIOUR, COMMENT, START, ShiftSeal, attempted, new_write


@pytest.fixture
async def store(opened: OpenStore) -> Store:
    store = opened()
    store.row_seal = ShiftSeal()
    await store.prepare()
    return store


async def test_g16_nothing_that_was_written_or_answered_is_readable_in_the_database(store: Store) -> None:
    """Seen to fail where the operation, or an attempt's payload or response, stays in the message."""
    entry = new_write()
    attempted(entry, 1, body='{"note": "Planted body"}', response="Planted response")
    await store.writes.insert(entry)
    attempted(entry, 2, body='{"note": "Planted body"}', response="Planted response")
    assert await store.writes.save(entry)
    [raw] = await store.database.collection("writes").find({})
    assert b"Planted response" not in repr(raw).encode()
    for planted in (COMMENT, "Zebedee", "Planted", "B1"):
        assert planted not in repr(raw)
        assert planted.encode() not in b"".join(bytes(raw[name]) for name in ("wire", "sealed"))
    assert (await store.writes.get("oak", entry.write_id)).write == entry.write


async def test_g16_keys_of_the_mis_and_the_task_that_names_them_are_not_readable(store: Store) -> None:
    """They are a pupil's number, an assessment, a year group. Seen to fail with either as it was given."""
    key = "bromcom/results|s:4711|s:Planted assessment|s:Year 9"
    entry = new_write(state=pb.WRITE_STATE_SENT, keys=[key])
    entry.write.task = "In Bromcom, take back Planted assessment of 4711"
    await store.writes.insert(entry)
    assert await store.writes.save(entry)
    [raw] = await store.database.collection("writes").find({})
    for planted in ("4711", "Planted", "Year 9"):
        assert planted not in repr(raw)
        assert planted.encode() not in bytes(raw["wire"])
    [found] = await store.writes.made_by_keys("oak", [key, "another"])
    assert found == entry
    assert await store.writes.made_by_keys("elm", [key]) == []


async def test_after_the_loss_of_the_master_key_the_ledger_still_tells_what_is_not_sealed(
    store: Store,
) -> None:
    """The update is that of the operations guide. Seen to fail where what has no contents is queued again."""
    entry = new_write()
    attempted(entry, 1, body="{}", response="504")
    await store.writes.insert(entry)
    await store.database.collection("writes").update_one(
        {"school": "oak"},
        {"$unset": {"sealed": "", "due_at": ""}, "$set": {"sealed_attempts": []}, "$inc": {"revision": 1}},
    )
    assert not await store.writes.save(entry)
    [kept] = await store.writes.list("oak", WriteConditions(), None, 10)
    assert not kept.write.HasField("operation")
    assert kept.write.operation_name == BEHAVIOUR
    assert [attempt.correlation_id for attempt in kept.write.attempts] == ["corr-1"]
    assert await store.writes.requeue("oak", "live", [BEHAVIOUR], START) == 0
    assert await store.writes.insert(new_write()) == (kept, False)
    kept.move(pb.WRITE_STATE_CANCELLED, START)
    assert await store.writes.save(kept)


async def test_only_what_is_new_is_sealed(store: Store) -> None:
    entry = new_write()
    attempted(entry, 1, body="{}", response="504")
    await store.writes.insert(entry)
    read = await store.writes.get("oak", entry.write_id)
    seal = store.row_seal = ShiftSeal()
    assert await store.writes.save(read)
    assert seal.sealed == 0
    attempted(read, 2, body="{}")
    read.attempt.response = "201"
    assert await store.writes.save(read)
    assert seal.sealed == 1
    assert await store.writes.get("oak", entry.write_id) == read


async def test_g18_a_document_stays_small_however_often_a_write_is_tried(store: Store) -> None:
    entry = new_write()
    await store.writes.insert(entry)
    for number in range(1, 121):
        attempted(entry, number, body="ä" * 50_000, response="x" * 100_000)
        if number in {60, 120}:
            assert await store.writes.save(entry)
    kept = await store.writes.get("oak", entry.write_id)
    assert kept == entry
    assert [attempt.number for attempt in kept.write.attempts] == [*range(1, 6), *range(76, 121)]
    for attempt in kept.write.attempts:
        assert attempt.sent.body.endswith("… [cut; 100000 bytes in all]")
        assert len(attempt.sent.body.encode()) in {64 * 1024 - 1, 64 * 1024}
        assert attempt.response.endswith("… [cut; 100000 bytes in all]")


async def test_g16_with_the_vault_contents_come_back_for_their_school_alone(
    store: Store, driver: Driver, clock: SettableClock
) -> None:
    driver.requires("encryption")
    kms = Kms.local(secrets.token_bytes(96))
    vault = CredentialVault(store.database.handle, store.database.name, store.schools, kms, clock)
    store.row_seal = vault
    entry, foreign = new_write(), new_write(school="elm")
    attempted(entry, 1, body="{}", response="504")
    await store.writes.insert(entry)
    await store.writes.insert(foreign)
    assert await store.writes.get("oak", entry.write_id) == entry
    writes = store.database.collection("writes")
    [raw] = await writes.find({"school": "elm"})
    assert COMMENT.encode() not in raw["sealed"]
    await writes.update_one({"school": "oak"}, {"$set": {"sealed": raw["sealed"]}})
    with pytest.raises(ServiceError) as raised:
        await store.writes.get("oak", entry.write_id)
    assert raised.value.reason == reasons.ERROR_REASON_VAULT_UNAVAILABLE
    await vault.close()
