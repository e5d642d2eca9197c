"""One school's connection to the Partner API: what is asked, and what an answer under HTTP 200 says.

Limits, retries and every other answer are the SDK's HTTP client's. Nothing of a body gets into an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import orjson

from schoolgate_bromcom import filters
from schoolgate_bromcom.settings import BromcomSettings
from schoolgate_sdk import Leaving, Row, SchemaChanged, Transient, rows_among
from schoolgate_sdk.http import HttpClient, Request
from schoolgate_sdk.json_bounds import JsonBounds, decode_json

_BOUNDS: Final = JsonBounds(containers_per_row=4, values_per_row=60)
"""Rows are flat, one object each. The widest entity has two thirds of these values."""


class Answer(NamedTuple):
    """One page as Bromcom sent it: its rows, and a digest of its bytes to know it again by."""

    rows: list[Row]
    digest: str


class BromcomClient:
    """Reads pages of one school's entities. ``http`` carries the credentials as default headers."""

    def __init__(self, http: HttpClient, settings: BromcomSettings) -> None:
        self._http = http
        self._settings = settings

    async def page(self, entity: str, predicate: str, number: int) -> Answer:
        """Return 0-based page ``number`` of ``entity`` (its usual name) under ``predicate``.

        Raises:
            AuthInvalid: HTTP 401.
            EntityDenied: HTTP 403.
            Unsupported: HTTP 404.
            RateLimited: HTTP 429, at every attempt or with a longer pause than a read waits out.
            Transient: HTTP 5xx, a broken connection, a timeout, or no usable answer under HTTP 200, at
                every attempt.
            SchemaChanged: another status, or JSON of another shape or with more in it than a page can hold.
            Incomplete: the answer exceeds the size limit.
        """
        name = self._settings.entities.get(entity, entity)
        query = {
            "schoolId": str(self._settings.school_number),
            "entityFilter": filters.page_of(predicate, number),
        }
        request = Request("GET", f"{self._settings.base_url}/{name}", name, params=query)
        return await self._http.read(request, lambda answer: self._decode(answer.body, name))

    async def post(
        self, entity: str, body: Callable[[int], Mapping[str, object]], leaving: Leaving
    ) -> object:
        """Send ``body``, given the school's number, to ``entity`` (its usual name), once; return the answer's
        data. ``leaving`` is asked at the last moment.

        Raises:
            WriteStopped: as ``leaving`` raised it; nothing was sent.
            Transient: the outcome is unknown, be it that an answer under HTTP 200 says that it did not
                succeed: reads have seen that from a Bromcom that was unwell. After a ``CircuitOpen`` it is
                known that nothing was sent.
            SchemaChanged: Bromcom refused with another status than those of :meth:`page`.
            ConnectorError: as :meth:`page`, but at the first attempt.
        """
        name = self._settings.entities.get(entity, entity)
        request = Request(
            "POST",
            f"{self._settings.base_url}/{name}",
            name,
            headers={"Content-Type": "application/json"},
            body=orjson.dumps(body(self._settings.school_number)),
            accept=frozenset({200, 201}),
        )
        answer = await self._http.send(request, leaving=leaving)
        try:
            envelope: Any = decode_json(answer.body)
        except orjson.JSONDecodeError:
            envelope = None
        if isinstance(envelope, dict) and cast("dict[str, object]", envelope).get("success") is True:
            return cast("dict[str, object]", envelope).get("data")
        raise Transient("Bromcom's answer does not say that the write succeeded", entity=name)

    def _decode(self, body: bytearray, name: str) -> Answer:
        _BOUNDS.check(body, self._settings.page_size, mis="Bromcom", entity=name)
        return Answer(_rows(body, name), hashlib.blake2b(body, digest_size=16).hexdigest())


def _rows(body: bytearray, entity: str) -> list[Row]:
    """Return the rows of ``{"success": true, "data": [...]}``.

    Bromcom answers HTTP 200 with ``success: false``, ``data: null`` or text that is no JSON when it is
    unwell.
    """
    try:
        envelope: Any = decode_json(body)
    except orjson.JSONDecodeError:
        # Not chained: the decoder's error holds the whole document.
        raise Transient("Bromcom's answer is no valid JSON", entity=entity) from None
    match envelope:
        case {"success": True, "data": [*items]}:
            rows = rows_among(items)
            if rows is not None:
                return rows
            raise SchemaChanged("Bromcom's answer holds no list of rows", entity=entity)
        case {"success": True} if envelope.get("data") is None:
            raise Transient("Bromcom answered without data", entity=entity)
        case {"success": False | None}:
            raise Transient("Bromcom answered that it did not succeed", entity=entity)
        case _:
            raise SchemaChanged("Bromcom's answer is not of the known shape", entity=entity)
