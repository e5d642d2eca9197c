"""Credentials: encrypted at rest, one key per school, useless under another key."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.store import Store
from schoolgate_server.store.together import together
from schoolgate_server.store.vault import CredentialVault, Kms
from tests.contract.store.conftest import Driver
from tests.support.store_samples import SettableClock

KEY = secrets.token_bytes(96)
SECRET = {"application_id": "oak-app", "application_secret": "s3cr3t-ü\x00", "odd.$name": ""}


class Vaults:
    def __init__(self, store: Store, clock: SettableClock) -> None:
        self.store = store
        self.clock = clock
        self.opened: list[CredentialVault] = []

    def open(self, kms: Kms | None = None) -> CredentialVault:
        vault = CredentialVault(
            self.store.database.handle,
            self.store.database.name,
            self.store.schools,
            kms or Kms.local(KEY),
            self.clock,
        )
        self.opened.append(vault)
        return vault


@pytest.fixture
async def vaults(store: Store, clock: SettableClock, driver: Driver) -> AsyncGenerator[Vaults]:
    driver.requires("encryption")
    for number, school_id in enumerate(("oak", "elm")):
        await store.schools.create(School(school_id=school_id), f"request-{number}", b"d")
    vaults = Vaults(store, clock)
    yield vaults
    for vault in vaults.opened:
        await vault.close()


async def test_credentials_come_back_and_the_school_shows_that_they_are_there(vaults: Vaults) -> None:
    vault = vaults.open()
    assert await vault.get("oak") is None
    at = await vault.set("oak", SECRET, "request-1")
    assert await vaults.open().get("oak") == SECRET
    school = await vaults.store.schools.get("oak")
    assert school.has_credentials
    assert school.credentials_set_at.ToDatetime(tzinfo=at.tzinfo) == at
    await vault.set("oak", {"application_id": "new"}, "request-2")
    assert await vault.get("oak") == {"application_id": "new"}
    assert await vault.get("elm") is None


async def test_g16_nothing_of_them_is_readable_in_the_database(vaults: Vaults) -> None:
    await vaults.open().set("oak", SECRET, "request-3")
    for name in await vaults.store.database.driver.list_collection_names():
        for document in await vaults.store.database.collection(name).find({}):
            assert "s3cr3t" not in repr(document)
            assert "oak-app" not in repr(document)


async def test_servers_that_store_at_once_make_one_key(vaults: Vaults) -> None:
    many = [vaults.open() for _ in range(8)]
    await asyncio.gather(*(vault.set("oak", SECRET, "request-4") for vault in many))
    assert await vaults.store.database.collection("__keyVault").count({}) == 1
    for vault in many:
        assert await vault.get("oak") == SECRET


async def test_schools_have_keys_of_their_own(vaults: Vaults) -> None:
    vault = vaults.open()
    await vault.set("oak", SECRET, "request-5")
    await vault.set("elm", SECRET, "request-6")
    assert await vaults.store.database.collection("__keyVault").count({}) == 2


async def test_g17_credentials_of_another_school_are_not_taken_for_ones_own(vaults: Vaults) -> None:
    vault = vaults.open()
    await vault.set("oak", SECRET, "request-7")
    ciphertext = await vaults.store.schools.credentials("oak")
    assert ciphertext is not None
    await vaults.store.schools.put_credentials("elm", ciphertext, vaults.clock.now, "request-c")
    with pytest.raises(ServiceError) as raised:
        await vault.get("elm")
    assert raised.value.reason == reasons.ERROR_REASON_VAULT_UNAVAILABLE


async def test_a_wrong_master_key_is_an_error_that_names_the_next_step(vaults: Vaults) -> None:
    await vaults.open().set("oak", SECRET, "request-8")
    wrong = vaults.open(Kms.local(secrets.token_bytes(96)))
    for attempt in (wrong.get("oak"), wrong.set("oak", {"application_id": "new"}, "request-9")):
        with pytest.raises(ServiceError) as raised:
            await attempt
        assert raised.value.reason == reasons.ERROR_REASON_VAULT_UNAVAILABLE
        assert "give the server the one that it was made with" in raised.value.message
        assert "s3cr3t" not in str(raised.value)
    assert await vaults.open().get("oak") == SECRET


async def test_a_key_that_is_none_is_an_error_that_names_the_next_step(vaults: Vaults) -> None:
    for kms in (Kms.local(b"short"), Kms("local", {}), Kms("aws", {"accessKeyId": "a"})):
        with pytest.raises(ServiceError, match="check the vault settings") as raised:
            await vaults.open(kms).set("oak", SECRET, "request-10")
        assert raised.value.reason == reasons.ERROR_REASON_VAULT_UNAVAILABLE


async def test_forgotten_credentials_are_unreadable_even_from_a_backup(vaults: Vaults) -> None:
    vault = vaults.open()
    await vault.set("oak", SECRET, "request-11")
    backup = await vaults.store.schools.credentials("oak")
    assert backup is not None
    await vault.forget("oak")
    assert await vault.get("oak") is None
    assert not (await vaults.store.schools.get("oak")).has_credentials
    await vaults.store.schools.put_credentials("oak", backup, vaults.clock.now, "request-c")
    with pytest.raises(ServiceError):
        await vaults.open().get("oak")
    await vault.set("oak", SECRET, "request-12")
    assert await vaults.open().get("oak") == SECRET


async def test_a_school_that_is_not_there_gets_no_key(vaults: Vaults) -> None:
    with pytest.raises(ServiceError) as raised:
        await vaults.open().set("fir", SECRET, "request-13")
    assert raised.value.reason == reasons.ERROR_REASON_SCHOOL_NOT_FOUND
    assert await vaults.store.database.collection("__keyVault").count({}) == 0


def test_g16_a_master_key_does_not_show() -> None:
    shown = repr(Kms.local(KEY)) + str(Kms("aws", {"secretAccessKey": "s3cr3t"}, {"region": "eu-west-2"}))
    assert "s3cr3t" not in shown
    assert repr(KEY) not in shown


async def test_without_a_vault_there_is_an_error_that_says_so(store: Store) -> None:
    attempts: list[Any] = [
        store.credentials.get("oak"),
        store.credentials.set("oak", SECRET, "request-14"),
        store.credentials.forget("oak"),
    ]
    for attempt in attempts:
        with pytest.raises(ServiceError) as raised:
            await attempt
        assert raised.value.reason == reasons.ERROR_REASON_VAULT_UNAVAILABLE


async def test_a_handle_without_encryption_says_so(
    store: Store, driver: Driver, clock: SettableClock
) -> None:
    if driver.name != "mongomock":
        pytest.skip("this handle has encryption")
    await store.schools.create(School(school_id="oak"), "request-1", b"d")
    vault = CredentialVault(store.database.handle, driver.database, store.schools, Kms.local(KEY), clock)
    with pytest.raises(ServiceError, match="offers no client-side encryption"):
        await vault.set("oak", SECRET, "request-15")


async def test_a_late_duplicate_does_not_bring_old_credentials_back(vaults: Vaults) -> None:
    vault = vaults.open()
    first = await vault.set("oak", SECRET, "request-old")
    second = await vault.set("oak", {"application_id": "new"}, "request-new")
    assert await vaults.open().set("oak", SECRET, "request-old") == second >= first
    assert await vault.get("oak") == {"application_id": "new"}


async def test_a_request_id_may_not_bring_other_credentials(vaults: Vaults) -> None:
    vault = vaults.open()
    at = await vault.set("oak", SECRET, "request-x")
    assert await vault.set("oak", dict(reversed(SECRET.items())), "request-x") == at
    with pytest.raises(ServiceError) as raised:
        await vault.set("oak", {**SECRET, "application_secret": "other"}, "request-x")
    assert raised.value.reason == reasons.ERROR_REASON_REQUEST_ID_REUSED
    assert await vault.get("oak") == SECRET


@pytest.mark.parametrize("size", [0, 1, 4 * 1024 * 1024, 9 * 1024 * 1024])
async def test_sealed_rows_come_back_for_their_school_and_no_other(vaults: Vaults, size: int) -> None:
    vault = vaults.open()
    plain = bytes(range(256)) * (size // 256) + b"Ora Klein"[: size % 256]
    sealed = await vault.seal("oak", plain)
    assert b"Klein" not in sealed
    assert await vaults.open().unseal("oak", sealed) == plain
    with pytest.raises(ServiceError, match="another school's"):
        await vault.unseal("elm", sealed)


async def test_what_is_sealed_while_the_key_is_looked_up_is_sealed_under_the_one_that_is_found(
    vaults: Vaults,
) -> None:
    """Another server has forgotten the school, and its key. Seen to fail where that is sealed under the last
    one whatever is found.
    """
    vault = vaults.open()
    for plain in (b"first", b"second"):
        async with together():
            sealed = await vault.seal("oak", plain)
        assert await vaults.open().unseal("oak", sealed) == plain
    await vaults.open().forget("oak")
    async with together():
        sealed = await vault.seal("oak", b"third")
    assert await vaults.open().unseal("oak", sealed) == b"third"
