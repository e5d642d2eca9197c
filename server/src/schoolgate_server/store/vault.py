"""MIS credentials and retained source rows, encrypted before they leave this process.

The means is MongoDB's client-side field level encryption. Each school has a data key of its own in
``__keyVault``, for its credentials and its rows alike; a master key, local or in a KMS, protects those keys.
MongoDB and its backups hold ciphertext only, and deleting a data key makes every copy of it unreadable.
"""

from __future__ import annotations

import asyncio
import hashlib
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
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store import together
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.handles import CODEC, Database, Document, Handle, storable
from schoolgate_server.store.limits import limited
from schoolgate_server.store.requests import reused
from schoolgate_server.store.schools import Schools

KEY_VAULT = "__keyVault"

ALGORITHM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
"""Two encryptions of the same content differ, so nobody can compare."""

_PIECE = 4 * 1024 * 1024
"""Bytes encrypted at once; libmongocrypt works on BSON documents, which MongoDB limits to 16 MB."""


class Credentials(Protocol):
    """What keeps credentials; the vault, or memory in simulations."""

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        """Store ``credentials`` in place of earlier ones, once per request, and return when."""
        ...

    async def get(self, school_id: str) -> dict[str, str] | None:
        """Return the stored credentials, ``None`` where there are none."""
        ...

    async def forget(self, school_id: str) -> None:
        """Make the stored credentials unreadable for good."""
        ...


class RowSeal(Protocol):
    """What keeps retained source rows from whoever can only read the database.

    They hold what the MIS sent, which is more than a school's data profile lets into its records.
    """

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        """Return ``plain`` encrypted for one school."""
        ...

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        """Return what :meth:`seal` was given for the same school."""
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
        self._last_keys: dict[str, Binary] = {}
        """By school, the id of the data key that was used last: it may be gone."""

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        """Encrypt and store ``credentials`` in place of earlier ones; return when.

        A repeated request changes nothing, so that a late duplicate cannot bring old ones back.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND; REQUEST_ID_REUSED where the request brought others before;
                VAULT_UNAVAILABLE where the master key does not work.
        """
        await self._schools.get(school_id)  # before a key is made for a school that is none
        # The school is part of what is encrypted, so that a copy under another school's id proves foreign.
        plain = orjson.dumps(
            {"school": school_id, "credentials": dict(credentials)}, option=orjson.OPT_SORT_KEYS
        )
        async with self._encryption(school_id) as encryption:
            key_id = await self._data_key(encryption, school_id)
            ciphertext = await encryption.encrypt(Binary(plain), ALGORITHM, key_id=key_id)
        digest = hashlib.sha256(plain).digest()
        earlier = await self._schools.credential_request(school_id, request_id)
        if earlier is not None and await self.unseal(school_id, earlier) != digest:
            raise reused()
        # A bare hash of a guessable password would give it away, so the digest is sealed too.
        sealed_digest = await self.seal(school_id, digest)
        at = storable(self._clock())
        return await self._schools.put_credentials(
            school_id, bytes(ciphertext), at, request_id, sealed_digest
        )

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
        """Delete the credentials and the key that alone can read them, copies in backups included.

        The school's retained rows are under the same key, and become unreadable with it.
        """
        await self._schools.drop_credentials(school_id)
        await self._keys.delete_many({"keyAltNames": _key_name(school_id)})

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        """Return ``plain`` encrypted under the school's data key.

        Raises:
            ServiceError: VAULT_UNAVAILABLE where the master key does not work.
        """
        async with self._encryption(school_id) as encryption:
            last = self._last_keys.get(school_id)
            block = together.current()
            if last is None or block is None:
                key_id, ahead = await self._data_key(encryption, school_id), None
            else:
                # MongoDB looks for the key meanwhile, and nearly always finds this one.
                key_id, ahead = await asyncio.gather(
                    self._data_key(encryption, school_id), _ahead(block, encryption, last, school_id, plain)
                )
            self._last_keys[school_id] = key_id
            if ahead is not None and key_id == last:
                return ahead
            return await _sealed(encryption, key_id, school_id, plain)

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        """Return what :meth:`seal` was given for the same school.

        Raises:
            ServiceError: VAULT_UNAVAILABLE where it cannot be decrypted, or was sealed for another school.
        """
        plain: list[bytes] = []
        rest = memoryview(sealed)
        bound = _bound(school_id)
        async with self._encryption(school_id) as encryption:
            while rest:
                length = int.from_bytes(rest[:4], "big")
                piece = bytes(await encryption.decrypt(Binary(bytes(rest[4 : 4 + length]), 6)))
                if not piece.startswith(bound):
                    raise _unavailable(f"rows retained for {school_id!r} are another school's")
                plain.append(piece[len(bound) :])
                rest = rest[4 + length :]
        return b"".join(plain)

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

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime:
        raise _not_configured(school_id, credentials, request_id)

    async def get(self, school_id: str) -> dict[str, str] | None:
        raise _not_configured(school_id)

    async def forget(self, school_id: str) -> None:
        raise _not_configured(school_id)

    async def seal(self, school_id: str, plain: bytes) -> bytes:
        raise _not_configured(school_id, plain)

    async def unseal(self, school_id: str, sealed: bytes) -> bytes:
        raise _not_configured(school_id, sealed)


async def _sealed(
    encryption: Any,  # noqa: ANN401 -- two drivers
    key_id: Binary,
    school_id: str,
    plain: bytes,
) -> bytes:
    sealed: list[bytes] = []
    for start in range(0, max(1, len(plain)), _PIECE):
        piece = Binary(_bound(school_id) + plain[start : start + _PIECE])
        sealed.append(bytes(await encryption.encrypt(piece, ALGORITHM, key_id=key_id)))
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in sealed)


async def _ahead(
    block: together.Together,
    encryption: Any,  # noqa: ANN401 -- two drivers
    key_id: Binary,
    school_id: str,
    plain: bytes,
) -> bytes | None:
    """Return ``plain`` sealed under a key that may be gone, ``None`` where it is."""
    await block.sent()
    try:
        return await _sealed(encryption, key_id, school_id, plain)
    except EncryptionError:
        return None


def _key_name(school_id: str) -> str:
    return f"school:{school_id}"


def _bound(school_id: str) -> bytes:
    """Return what begins every sealed piece, so that a copy under another school's id proves foreign."""
    return school_id.encode() + b"\0"


def _not_configured(*_asked: object) -> ServiceError:
    return _unavailable("no credential vault is configured: check the vault settings of the server")


def _unavailable(message: str) -> ServiceError:
    return ServiceError(reasons.ERROR_REASON_VAULT_UNAVAILABLE, message)
