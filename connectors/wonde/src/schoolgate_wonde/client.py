"""One school at Wonde: what is asked, and what its answers say.

Limits, retries and every other answer are the SDK's HTTP client's. Addresses are built here from the settings
and from names that this package knows, never taken from an answer: a ``next`` that names another host or
another school leads nowhere. Nothing of a body gets into an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast
from zoneinfo import ZoneInfo

import orjson

from schoolgate_sdk import (
    AuthInvalid,
    AuthRevoked,
    ConnectorError,
    EntityDenied,
    Identity,
    Leaving,
    Row,
    SchemaChanged,
    Transient,
    Unsupported,
    rows_among,
)
from schoolgate_sdk.http import Answer, HttpClient, Request
from schoolgate_sdk.json_bounds import JsonBounds, decode_json
from schoolgate_wonde.settings import WondeSettings

_RESOURCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:/[A-Za-z][A-Za-z0-9_-]*)?", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_MOST_SCHOOL_PAGES: Final = 50
_MOST_COUNTED: Final = 1 << 53
"""What a larger count is taken for: JSON's numbers are exact up to here, and no school has as many rows."""
_BOUNDS: Final = JsonBounds(containers_per_row=10_000, values_per_row=100_000)
"""A class nests its pupils and staff, a pupil contacts; the largest group is a whole school."""
_STATES: Final = ("pending", "declined", "revoked")
"""Lists of schools in which one is that has not approved us. What ``audited`` means is not public."""


class WondePage(NamedTuple):
    """One page: its rows, and what ``meta.pagination`` says of it."""

    rows: list[Row]
    more: bool
    per_page: int
    number: int


class FieldErrors(Unsupported):
    """HTTP 422: Wonde refused a write for what is in it. ``fields`` names what is wrong, without values."""

    def __init__(self, entity: str, names: Sequence[str]) -> None:
        self.fields = tuple(names)
        said = f": {', '.join(names)}" if names else ""
        super().__init__(f"Wonde refuses what the write holds{said}", entity=entity)


class WondeClient:
    """Asks for one school's data. ``http`` carries the token as a default header."""

    def __init__(self, http: HttpClient, settings: WondeSettings) -> None:
        self._http = http
        self._settings = settings

    async def page(
        self,
        resource: str,
        number: int,
        *,
        include: Sequence[str] = (),
        updated_after: datetime | None = None,
        per_page: int | None = None,
    ) -> WondePage:
        """Return page ``number``, from 1, of a resource.

        Raises:
            EntityDenied: the school has not approved the resource, or one of ``include``: which, it names.
            AuthRevoked: the school has withdrawn its approval.
            AuthInvalid: the token is wrong, or the school has declined or not approved yet.
            Unsupported: Wonde does not have the resource.
            RateLimited, Transient: at every attempt.
            SchemaChanged: JSON of another shape, or another status.
            Incomplete: the answer exceeds the size limit.
        """
        query = {"page": str(number), "per_page": str(per_page or self._settings.page_size)}
        if include:
            query["include"] = ",".join(include)
        if updated_after is not None:
            query["updated_after"] = updated_after_text(updated_after, self._settings.zone)
        request = self._get(resource, query)
        try:
            return await self._http.read(request, lambda answer: self._page_of(answer, resource))
        except EntityDenied as denied:
            raise await self._explained(denied, resource, include) from None

    async def single(self, resource: str, number: str, include: Sequence[str]) -> Row | None:
        """Return the one with an id; ``None`` where there is none, or ``number`` cannot be an id."""
        if not _ID.fullmatch(number):
            return None
        query = {"include": ",".join(include)} if include else {}
        request = self._get(f"{resource}/{number}", query, entity=resource)
        try:
            return await self._http.read(request, lambda answer: _object_of(answer, resource))
        except Unsupported:
            return None
        except EntityDenied as denied:
            raise await self._explained(denied, resource, include) from None

    async def count(self, name: str) -> int | None:
        """Return Wonde's own number of ``students`` or ``contacts``; ``None`` where it says none.

        The shape of the answer is not public: a number is looked for under the name, in ``count``, in
        ``data``.
        """
        request = self._get("counts", {"include": name})
        try:
            found: Any = await self._http.read(request, lambda answer: _object_of(answer, "counts"))
        except (Unsupported, EntityDenied):
            return None
        found = found.get(name)
        for step in ("data", "count"):
            if isinstance(found, dict):
                found = cast("dict[str, Any]", found).get(step, cast("object", found))
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            return None
        return min(found, _MOST_COUNTED)

    async def send(
        self, method: str, resource: str, body: Mapping[str, object], leaving: Leaving
    ) -> Mapping[str, Any]:
        """Send a write once and return Wonde's answer; ``leaving`` is asked at the last moment.

        Raises:
            WriteStopped: as ``leaving`` raised it; nothing was sent.
            Transient: whether it took effect is not known.
            FieldErrors: HTTP 422.
            ConnectorError: as :meth:`page`, but at the first attempt.
        """
        request = Request(
            method,
            self._url(resource),
            resource,
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body),
            accept=frozenset({200, 201, 202, 422}),
        )
        answer = await self._http.send(request, leaving=leaving)
        try:
            found = _json(answer, resource, 1)
        except (SchemaChanged, Transient):
            found = None  # the status says whether it was refused, if nothing else does
        if answer.status == 422:
            raise FieldErrors(resource, _names(found))
        if not isinstance(found, dict):
            raise Transient("Wonde's answer does not say what became of the write", entity=resource)
        return cast("Mapping[str, Any]", found)

    def _page_of(self, answer: Answer, entity: str) -> WondePage:
        return _page(_json(answer, entity, self._settings.page_size), entity)

    def _url(self, path: str) -> str:
        return f"{self._settings.base_url}/schools/{self._settings.school_id}/{path}"

    def _get(self, path: str, query: Mapping[str, str], *, entity: str | None = None) -> Request:
        if not _RESOURCE.fullmatch(entity or path):
            raise Unsupported("no resource of Wonde's has such a name", entity=entity or path)
        return Request("GET", self._url(path), entity or path, params=query)

    async def _explained(self, denied: EntityDenied, resource: str, include: Sequence[str]) -> ConnectorError:
        """Return what a 403 means: the school's approval as a whole, the resource, or something nested."""
        state = await self._state()
        if state == "revoked":
            return AuthRevoked("the school has revoked its approval at Wonde", identity=Identity.SCHOOL)
        if state is not None:
            return AuthInvalid(f"the school's approval at Wonde is {state}", identity=Identity.SCHOOL)
        for name in include if await self._granted(resource) else ():
            if not await self._granted(resource, name):
                return EntityDenied("the school has not approved what nests there", entity=name)
        return denied

    async def _granted(self, resource: str, include: str = "") -> bool:
        query = {"page": "1", "per_page": "1"} | ({"include": include} if include else {})
        try:
            await self._http.read(self._get(resource, query), lambda answer: self._page_of(answer, resource))
        except EntityDenied:
            return False
        return True

    async def _state(self) -> str | None:
        """Return the list in which the school stands instead of those that have approved."""
        for state in _STATES:
            for number in range(1, _MOST_SCHOOL_PAGES + 1):
                query = {"page": str(number), "per_page": str(self._settings.page_size)}
                request = Request(
                    "GET", f"{self._settings.base_url}/schools/{state}", "schools", params=query
                )
                try:
                    page = await self._http.read(request, lambda answer: self._page_of(answer, "schools"))
                except (EntityDenied, Unsupported):
                    break
                if any(row.get("id") == self._settings.school_id for row in page.rows):
                    return state
                if not page.more or not page.rows:
                    break
        return None


def updated_after_text(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment by the clock of ``zone``, without an offset, as Wonde takes it.

    Of an hour that comes twice nobody says which one Wonde takes it for, so it is put an hour earlier:
    what is told twice does no harm.
    """
    local = moment.astimezone(zone)
    once, again = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return f"{local - (once - again):%Y-%m-%d %H:%M:%S}"


def _json(answer: Answer, entity: str, rows: int) -> object:
    """Return what an answer of at most ``rows`` rows holds."""
    _BOUNDS.check(answer.body, rows, mis="Wonde", entity=entity)
    try:
        return decode_json(answer.body)
    except orjson.JSONDecodeError:
        # Not chained: the decoder's error holds the whole document.
        raise Transient("Wonde's answer is no valid JSON", entity=entity) from None


def _member(value: object, name: str) -> object:
    """Return a member of an object; ``None`` of anything else."""
    return cast("Mapping[str, object]", value).get(name) if isinstance(value, dict) else None


def _object_of(answer: Answer, entity: str) -> Row:
    found = _member(_json(answer, entity, 1), "data")
    if not isinstance(found, dict):
        raise SchemaChanged("Wonde's answer holds no object under data", entity=entity)
    return cast("Row", found)


def _page(body: object, entity: str) -> WondePage:
    items, pagination = _member(body, "data"), _member(_member(body, "meta"), "pagination")
    more, per_page, number = (_member(pagination, name) for name in ("more", "per_page", "current_page"))
    if items is None and isinstance(body, dict) and "data" in body:
        raise Transient("Wonde answered without data", entity=entity)
    rows = rows_among(cast("list[object]", items)) if isinstance(items, list) else None
    if (
        rows is None
        or not isinstance(more, bool)
        or not isinstance(per_page, int)
        or not isinstance(number, int)
    ):
        raise SchemaChanged("Wonde's answer is no page of rows", entity=entity)
    return WondePage(rows, more, per_page, number)


_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}", re.ASCII)
_MOST_FIELDS: Final = 10


def _names(found: object) -> list[str]:
    """Return the fields that a 422 speaks of. Its texts may quote what was sent, and are left alone."""
    if not isinstance(found, dict):
        return []
    given = cast("dict[str, object]", found)
    errors = given.get("errors", given)
    if not isinstance(errors, dict):
        return []
    names = [str(name) for name in cast("dict[object, object]", errors)]
    return sorted(name for name in names if _FIELD.fullmatch(name))[:_MOST_FIELDS]
