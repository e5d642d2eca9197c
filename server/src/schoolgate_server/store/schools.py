"""Schools: registrations, their changes, and where their encrypted credentials lie."""

from __future__ import annotations

import asyncio
from collections.abc import Collection as Container
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from google.protobuf.json_format import MessageToDict

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.school_service_pb2 import School
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import (
    ServiceError,
    Violation,
    invalid_request,
    school_not_found,
)
from schoolgate_server.model.schools import CHANGEABLE
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.requests import reused

_REMEMBERED = 20
"""Requests per school whose results are kept for a repetition."""

_PAUSES = (0.0, 0.0, 0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.32, 0.32)
"""Seconds before each attempt at an update: one without etag is tried again where another came between."""


class Schools:
    """The ``schools`` collection."""

    def __init__(self, schools: Collection, clock: Clock) -> None:
        self._schools = schools
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(self, school: School, request_id: str, request_digest: bytes) -> School:
        """Register a school and return it; a repeated request gets the first one's result.

        What the server sets (credentials' state, times, etag) is ignored.

        Raises:
            ServiceError: SCHOOL_ALREADY_EXISTS; REQUEST_ID_REUSED.
        """
        earlier = await self._schools.find_one({"requests.id": request_id})
        if earlier is not None:
            return _repeated(earlier, request_id, request_digest)
        created = School()
        created.CopyFrom(school)
        created.created_at.FromDatetime(self._clock())
        document = _document(created, self._clock(), 1, [], (request_id, request_digest))
        if await self._schools.insert_one(document):
            return _school(document)
        earlier = await self._schools.find_one({"_id": school.school_id, "requests.id": request_id})
        if earlier is not None:
            return _repeated(earlier, request_id, request_digest)
        raise ServiceError(
            reasons.ERROR_REASON_SCHOOL_ALREADY_EXISTS,
            f"a school {school.school_id!r} is registered already",
            metadata={"school_id": school.school_id},
        )

    async def get(self, school_id: str) -> School:
        """Return one school.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND.
        """
        return _school(await self._document(school_id))

    async def list(self, after_id: str, limit: int, only: Container[str] | None = None) -> list[School]:
        """Return up to ``limit`` schools in order of their id, those after ``after_id``.

        ``only`` restricts them to the ids that it contains.
        """
        beyond: Document = {"$gt": after_id}
        if only is not None:
            beyond["$in"] = sorted(only)
        found = await self._schools.find({"_id": beyond}, sort=[("_id", 1)], limit=limit)
        return [_school(document) for document in found]

    async def scheduled(self) -> Sequence[School]:
        """Return the schools that have schedules, in order of their id."""
        found = await self._schools.find(
            {"body.schedules.layer": {"$exists": True}},
            {"wire": 1, "credentials.set_at": 1},
            sort=[("_id", 1)],
        )
        return [_school(document) for document in found]

    async def update(
        self,
        school: School,
        paths: Sequence[str],
        request_id: str,
        request_digest: bytes,
        endpoints: Mapping[str, str] | None = None,
    ) -> School:
        """Change the fields named in ``paths`` to those of ``school`` and return the result.

        A non-empty ``school.etag`` must be the stored one. A repeated request gets the first one's result.
        ``endpoints`` are the settings that say where credentials are sent, with their defaults: the write
        that changes one drops the stored credentials.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND; ETAG_MISMATCH, also where other updates came between again and
                again; REQUEST_ID_REUSED; REQUEST_INVALID for a path that cannot be changed.
        """
        wrong = [path for path in paths if path not in CHANGEABLE]
        if wrong:
            raise invalid_request(
                *(Violation("update_mask", f"{path!r} cannot be changed") for path in wrong)
            )
        # Those of this process take turns, so that only other servers can come between.
        async with self._turns.setdefault(school.school_id, asyncio.Lock()):
            return await self._update(school, paths, (request_id, request_digest), endpoints or {})

    async def _update(
        self, school: School, paths: Sequence[str], request: tuple[str, bytes], endpoints: Mapping[str, str]
    ) -> School:
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            before = await self._document(school.school_id)
            if any(earlier["id"] == request[0] for earlier in before["requests"]):
                return _repeated(before, *request)
            if school.etag and school.etag != _etag(before["revision"]):
                raise _etag_mismatch(school.school_id)
            after = _document(
                _merged(School.FromString(before["wire"]), school, paths),
                self._clock(),
                before["revision"] + 1,
                before["requests"],
                request,
            )
            fields = {name: value for name, value in after.items() if name != "_id"}
            change: Document = {"$set": fields}
            if _points_elsewhere(before["wire"], after["wire"], endpoints):
                # Also where there seem to be none: they may have come since this document was read.
                change["$unset"] = {"credentials": ""}
            elif "credentials" in before:
                after["credentials"] = before["credentials"]
            unchanged = {"_id": school.school_id, "revision": before["revision"]}
            if await self._schools.update_one(unchanged, change):
                return _school(after)
        raise _etag_mismatch(
            school.school_id,
            f"was changed by others during each of {len(_PAUSES)} attempts; repeat the change",
        )

    async def change_mis(
        self, school_id: str, connector: str, settings: Mapping[str, str], request_id: str
    ) -> None:
        """Have another connector read the school from now on, once per ``request_id``.

        The same write drops the credentials, so that no MIS ever gets those of the other, and the parser
        versions, which are those of the old connector's datasets.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND; ETAG_MISMATCH where others change the school again and again.
        """
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            before = await self._document(school_id)
            if any(earlier["id"] == request_id for earlier in before["requests"]):
                return
            school = School.FromString(before["wire"])
            school.connector = connector
            school.settings.clear()
            school.settings.update(settings)
            school.parser_versions.clear()
            request = (request_id, b"")
            after = _document(school, self._clock(), before["revision"] + 1, before["requests"], request)
            fields = {name: value for name, value in after.items() if name != "_id"}
            unchanged = {"_id": school_id, "revision": before["revision"]}
            change: Document = {"$set": fields, "$unset": {"credentials": ""}}
            if await self._schools.update_one(unchanged, change):
                return
        raise _etag_mismatch(school_id, "was changed by others again and again; apply the plan once more")

    async def has_request(self, school_id: str, request_id: str) -> bool:
        """Whether a change of the school under ``request_id`` is remembered."""
        document = await self._document(school_id)
        return any(earlier["id"] == request_id for earlier in document["requests"])

    async def credential_request(self, school_id: str, request_id: str) -> bytes | None:
        """Return the sealed digest of the credentials that an earlier request brought, if it is remembered.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND.
        """
        document = await self._document(school_id)
        for request in document.get("credential_requests", ()):
            if request["id"] == request_id:
                digest: bytes = request["digest"]
                return digest
        return None

    async def put_credentials(
        self, school_id: str, ciphertext: bytes, at: datetime, request_id: str, request_digest: bytes = b""
    ) -> datetime:
        """Keep encrypted credentials in place of earlier ones, once per request; return when they came.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND.
        """
        request = {"id": request_id, "digest": request_digest}
        update: Document = {
            "$set": {"credentials": {"ciphertext": ciphertext, "set_at": at}},
            "$push": {"credential_requests": {"$each": [request], "$slice": -_REMEMBERED}},
        }
        if await self._schools.update_one(
            {"_id": school_id, "credential_requests.id": {"$ne": request_id}}, update
        ):
            return at
        document = await self._document(school_id)
        kept: datetime = document["credentials"]["set_at"] if "credentials" in document else at
        return kept

    async def credentials(self, school_id: str) -> bytes | None:
        """Return the encrypted credentials, ``None`` where there are none.

        Raises:
            ServiceError: SCHOOL_NOT_FOUND.
        """
        document = await self._document(school_id)
        if "credentials" not in document:
            return None
        ciphertext: bytes = document["credentials"]["ciphertext"]
        return ciphertext

    async def drop_credentials(self, school_id: str) -> None:
        """Forget the encrypted credentials. No-op where there are none."""
        await self._schools.update_one({"_id": school_id}, {"$unset": {"credentials": ""}})

    async def _document(self, school_id: str) -> Document:
        found = await self._schools.find_one({"_id": school_id})
        if found is None:
            raise school_not_found(school_id)
        return found


def _document(
    school: School, now: datetime, revision: int, requests: list[Document], request: tuple[str, bytes]
) -> Document:
    """Return the document of a school as changed by ``request`` at ``now``."""
    school.updated_at.FromDatetime(now)
    school.etag = _etag(revision)
    school.ClearField("has_credentials")
    school.ClearField("credentials_set_at")
    wire = school.SerializeToString()
    # Settings have free names, and MongoDB field names must not hold everything that those may.
    body = MessageToDict(school, preserving_proto_field_name=True)
    body["settings"] = [{"name": name, "value": value} for name, value in sorted(school.settings.items())]
    request_id, digest = request
    return {
        "_id": school.school_id,
        "revision": revision,
        "body": body,
        "wire": wire,
        "requests": [*requests, {"id": request_id, "digest": digest, "result": wire}][-_REMEMBERED:],
    }


def _school(document: Document, wire: bytes | None = None) -> School:
    school = School.FromString(document["wire"] if wire is None else wire)
    credentials = document.get("credentials")
    if credentials is not None:
        school.has_credentials = True
        school.credentials_set_at.FromDatetime(credentials["set_at"].astimezone(UTC))
    return school


def _merged(stored: School, wanted: School, paths: Sequence[str]) -> School:
    chosen = School()
    chosen.CopyFrom(wanted)
    for field in School.DESCRIPTOR.fields:
        if field.name not in paths:
            chosen.ClearField(field.name)  # type: ignore[arg-type]  # stubs list names literally
        else:
            stored.ClearField(field.name)  # type: ignore[arg-type]  # as above
    stored.MergeFrom(chosen)
    return stored


def _points_elsewhere(before: bytes, after: bytes, endpoints: Mapping[str, str]) -> bool:
    """Whether one of ``endpoints`` (names and defaults) differs between two serialised schools."""
    old, new = School.FromString(before).settings, School.FromString(after).settings
    return any(old.get(name, default) != new.get(name, default) for name, default in endpoints.items())


def _repeated(document: Document, request_id: str, digest: bytes) -> School:
    request = next(request for request in document["requests"] if request["id"] == request_id)
    if request["digest"] != digest:
        raise reused()
    return _school(document, request["result"])


def _etag(revision: int) -> str:
    return f"r{revision}"


def _etag_mismatch(
    school_id: str, what: str = "was changed since it was read; read it again and repeat the change"
) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_ETAG_MISMATCH,
        f"school {school_id!r} {what}",
        metadata={"school_id": school_id},
    )
