"""MIS credentials, encrypted before they leave this process (MongoDB client-side field level encryption).

Each school has a data key of its own in ``__keyVault``; a master key, local or in a KMS, protects those.
MongoDB and its backups hold ciphertext only, and deleting a data key makes every copy of it unreadable.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import orjson
from bson.binary import Binary
from pymongo import AsyncMongoClient
from pymongo.asynchronous.encryption import AsyncClientEncryption
from pymongo.errors import ConfigurationError, ConnectionFailure, DuplicateKeyError, EncryptionError
from pymongocrypt.errors import MongoCryptError  # type: ignore[import-untyped]  # it has none

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.handles import CODEC, Database, Document, Handle, limited, storable
from schoolgate_server.store.leases import Clock
from schoolgate_server.store.schools import Schools

KEY_VAULT = "__keyVault"

ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
"""Two encryptions of the same credentials differ, so nobody can compare."""


class Credentials(Protocol):
    """What keeps credentials; the vault, or memory in simulations."""

    async def set(self, school_id: str, credentials: Mapping[str, str]) -> datetime:
        """Store ``credentials`` in place of earlier ones and return when."""
        ...

    async def get(self, school_id: str) -> dict[str, str] | None:
        """Return the stored credentials, ``None`` where there are none."""
        ...

    async def forget(self, school_id: str) -> None:
        """Make the stored credentials unreadable for good."""
        ...


@dataclass(frozen=True, slots=True)
class Kms:
    """Where the master key is, in PyMongo's terms: provider, its options, and which of its keys.

    ``provider`` is ``local``, ``aws``, ``azure``, ``gcp`` or ``kmip``.
    """

    provider: str
    options: Mapping[str, Any] = field(repr=False)
    master_key: Mapping[str, str] | None = None

    @classmethod
    def local(cls, key: bytes) -> Kms:
        """Return a master key of 96 bytes that the operator keeps."""
        return cls("local", {"key": key})


class CredentialVault:
    """The vault of all schools. Texts of its errors name the next step and nothing of what is kept."""

    def __init__(self, handle: Handle, database_name: str, schools: Schools, kms: Kms, clock: Clock) -> None:
        self._handle = handle
        self._name = database_name
        self._schools = schools
        self._kms = kms
        self._clock = clock
        self._keys = Database(handle, database_name).collection(KEY_VAULT)
        self._opened: Any = None

    async def set(self, school_id: str, credentials: Mapping[str, str]) -> datetime:
        """Encrypt and store ``credentials`` in place of earlier ones; return when.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND; VAULT_UNAVAILABLE where the master key does not work.
        """
        await self._schools.get(school_id)  # before a key is made for a school that is none
        # The school is part of what is encrypted, so that a copy under another school's id proves foreign.
        plain = orjson.dumps({"school": school_id, "credentials": dict(credentials)})
        async with self._encryption(school_id) as encryption:
            key_id = await self._data_key(encryption, school_id)
            ciphertext = await encryption.encrypt(Binary(plain), ALGORITHM, key_id=key_id)
        at = storable(self._clock())
        await self._schools.put_credentials(school_id, bytes(ciphertext), at)
        return at

    async def get(self, school_id: str) -> dict[str, str] | None:
        """Return the school's credentials, ``None`` where there are none.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND; VAULT_UNAVAILABLE where they cannot be decrypted.
        """
        ciphertext = await self._schools.credentials(school_id)
        if ciphertext is None:
            return None
        async with self._encryption(school_id) as encryption:
            plain = await encryption.decrypt(Binary(ciphertext, 6))
        content: Document = orjson.loads(plain)
        if content["school"] != school_id:
            raise _unavailable(
                f"what is stored as credentials of {school_id!r} is another school's; set them again"
            )
        stored: dict[str, str] = content["credentials"]
        return stored

    async def forget(self, school_id: str) -> None:
        """Delete the credentials and the key that alone can read them, copies in backups included."""
        await self._schools.drop_credentials(school_id)
        await self._keys.delete_many({"keyAltNames": _key_name(school_id)})

    async def close(self) -> None:
        """Let go of the encryption library; the handle stays open."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    async def _data_key(self, encryption: Any, school_id: str) -> Binary:  # noqa: ANN401 -- two drivers
        """Return the id of the school's data key, which is made if need be, by one of all servers."""
        name = _key_name(school_id)
        found = await self._keys.find_one({"keyAltNames": name}, {"_id": 1})
        if found is None:
            try:
                await encryption.create_data_key(
                    self._kms.provider, master_key=self._kms.master_key, key_alt_names=[name]
                )
            except EncryptionError as error:
                # The unique index on names let another server's key win.
                if not isinstance(error.cause, DuplicateKeyError):
                    raise
            found = await self._keys.find_one({"keyAltNames": name}, {"_id": 1})
        if found is None:
            raise _unavailable(f"the data key of school {school_id!r} was deleted meanwhile; try again")
        key_id: Binary = found["_id"]
        return key_id

    @asynccontextmanager
    async def _encryption(self, school_id: str) -> AsyncGenerator[Any]:
        """Give the driver's encryption, and translate its errors."""
        try:
            if self._opened is None:
                self._opened = self._open()
            with limited():
                yield self._opened
        except EncryptionError as error:
            if isinstance(error.cause, ConnectionFailure):
                raise StoreUnavailable("MongoDB cannot be reached for a data key") from error
            raise _unavailable(
                f"the vault's master key ({self._kms.provider}) does not open the school's data key: give "
                f"the server the one that it was made with; if that is lost, delete the key named "
                f"{_key_name(school_id)!r} in {KEY_VAULT} and set the credentials again"
            ) from error

    def _open(self) -> Any:  # noqa: ANN401 -- two drivers, two types
        providers = {self._kms.provider: dict(self._kms.options)}
        namespace = f"{self._name}.{KEY_VAULT}"
        handle: Any = self._handle
        driver: Any = None
        if type(handle).__module__.startswith("motor."):
            from motor.motor_asyncio import AsyncIOMotorClientEncryption as driver  # noqa: N813 -- either
        elif isinstance(handle, AsyncMongoClient):
            driver = AsyncClientEncryption
        if driver is None:
            raise _unavailable("this MongoDB handle offers no client-side encryption; use PyMongo or Motor")
        try:
            return driver(providers, namespace, handle, CODEC)
        except (ConfigurationError, MongoCryptError, ValueError, TypeError) as error:
            raise _unavailable(
                f"the vault's master key ({self._kms.provider}) cannot be used: check the vault settings"
            ) from error


class NoVault:
    """Stands where no vault was configured."""

    async def set(self, school_id: str, credentials: Mapping[str, str]) -> datetime:  # noqa: ARG002 -- protocol
        raise _unavailable("no credential vault is configured: check the vault settings of the server")

    async def get(self, school_id: str) -> dict[str, str] | None:  # noqa: ARG002 -- protocol
        raise _unavailable("no credential vault is configured: check the vault settings of the server")

    async def forget(self, school_id: str) -> None:  # noqa: ARG002 -- protocol
        raise _unavailable("no credential vault is configured: check the vault settings of the server")


def _key_name(school_id: str) -> str:
    return f"school:{school_id}"


def _unavailable(message: str) -> ServiceError:
    return ServiceError(reasons.ERROR_REASON_VAULT_UNAVAILABLE, message)
