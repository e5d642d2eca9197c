"""One school's connection to the Partner API: requests, their limits, their retries and their typed errors.

Nothing of an answer's body, and no credential, ever gets into an error or a log line.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
import tenacity

from schoolgate_bromcom import filters
from schoolgate_bromcom.settings import BromcomSettings
from schoolgate_sdk import (
    AuthInvalid,
    ConnectorError,
    EntityDenied,
    Incomplete,
    RateLimited,
    Row,
    SchemaChanged,
    Transient,
    Unsupported,
)

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 10.0
_CHUNK: Final = 1 << 16
_LONGEST_WAIT: Final = 30.0
"""Seconds that a read waits between two attempts. A longer Retry-After is the engine's to wait out."""
_LONGEST_PAUSE: Final = timedelta(days=1)
"""What a longer Retry-After counts as: nobody means it."""

_CONTAINERS_PER_ROW: Final = 4
"""Rows are flat, one object each. Braces and brackets within texts count too, hence more than one."""
_VALUES_PER_ROW: Final = 60
"""Half as many again as the widest entity has columns, for commas within texts."""
_CONTAINERS_BESIDE: Final = 10_000
_VALUES_BESIDE: Final = 1_000_000
"""Allowed besides, for small pages: some tens of MiB at most."""


class Answer(NamedTuple):
    """One page as Bromcom sent it: its rows, and a digest of its bytes to know it again by."""

    rows: list[Row]
    digest: str


class BromcomClient:
    """Reads pages of one school's entities.

    ``http`` carries the credentials as default headers. ``sleep`` and ``rng`` serve the waits between
    attempts, which are drawn evenly from zero to a bound that doubles (full jitter), or are what
    Retry-After says.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        settings: BromcomSettings,
        *,
        now: Callable[[], datetime],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._settings = settings
        self._now = now
        self._rng = rng
        self._sleep = sleep
        self._timeout = aiohttp.ClientTimeout(total=settings.request_timeout, sock_connect=_CONNECT_SECONDS)

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
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._settings.read_attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._worth_repeating),
            sleep=self._sleep,
            reraise=True,
        )
        return await attempts(self._page_once, entity, filters.page_of(predicate, number))

    def _worth_repeating(self, error: BaseException) -> bool:
        if isinstance(error, RateLimited):
            return self._pause(error) <= _LONGEST_WAIT
        return isinstance(error, Transient)

    def _pause(self, error: RateLimited) -> float:
        return 0.0 if error.until is None else (error.until - self._now()).total_seconds()

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        _log.info("Bromcom read failed at attempt %d: %s", state.attempt_number, error)
        bound = min(_LONGEST_WAIT, self._settings.retry_wait * 2 ** (state.attempt_number - 1))
        jitter = self._rng.uniform(0.0, bound)
        # Everybody who was told the same pause would come back at the same moment, hence the jitter on top.
        return max(0.0, self._pause(error)) + jitter if isinstance(error, RateLimited) else jitter

    async def _page_once(self, entity: str, entity_filter: str) -> Answer:
        name = self._settings.entities.get(entity, entity)
        query = {"schoolId": str(self._settings.school_number), "entityFilter": entity_filter}
        url = f"{self._settings.base_url}/{name}"
        try:
            async with self._http.get(
                url, params=query, timeout=self._timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise self._status_error(response, name)
                body = await self._body(response, name)
        except TimeoutError as error:
            raise Transient("Bromcom did not answer in time", entity=name) from error
        except aiohttp.ClientError as error:
            # The cause's text may hold the address with the filter; the message has its type alone.
            raise Transient(
                f"the connection to Bromcom failed: {type(error).__name__}", entity=name
            ) from error
        _check_amount(body, name, self._settings.page_size)
        return Answer(_rows(body, name), hashlib.blake2b(body, digest_size=16).hexdigest())

    async def _body(self, response: aiohttp.ClientResponse, entity: str) -> bytearray:
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > self._settings.max_response:
                limit = self._settings.max_response >> 20
                raise Incomplete(f"Bromcom's answer exceeds the limit of {limit} MiB", entity=entity)
        return body

    def _status_error(self, response: aiohttp.ClientResponse, entity: str) -> ConnectorError:
        status = response.status
        if status == 401:
            return AuthInvalid("Bromcom does not accept the application's id and secret")
        if status == 403:
            return EntityDenied("the school has not granted the entity", entity=entity)
        if status == 404:
            return Unsupported("Bromcom does not know the entity", entity=entity)
        if status == 429:
            until = retry_after(response.headers.get("Retry-After"), self._now())
            return RateLimited("Bromcom asked for a pause", until=until, entity=entity)
        if status >= 500:
            return Transient(f"Bromcom answered HTTP {status}", entity=entity)
        return SchemaChanged(f"Bromcom answered HTTP {status}, which is not known of it", entity=entity)


def retry_after(header: str | None, now: datetime) -> datetime | None:
    """Return the moment that a Retry-After header names (RFC 9110: seconds or a date), a day ahead at most.

    ``None`` for nonsense, and for dates that lie beyond the calendar.
    """
    if header is None:
        return None
    value = header.strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = int(value) if len(value) <= 9 else _LONGEST_PAUSE.total_seconds()
            named = now + timedelta(seconds=seconds)
        else:
            named = parsedate_to_datetime(value)
            named = (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return min(named, now + _LONGEST_PAUSE)


def _check_amount(body: bytearray, entity: str, page_size: int) -> None:
    """Refuse what would take far more memory as objects than it has bytes, before any is made.

    A hundred MiB of empty rows are some three GiB of objects.
    """
    for found, per_row, beside, what in (
        (body.count(b"{") + body.count(b"["), _CONTAINERS_PER_ROW, _CONTAINERS_BESIDE, "objects and lists"),
        (body.count(b","), _VALUES_PER_ROW, _VALUES_BESIDE, "values"),
    ):
        most = per_row * page_size + beside
        if found > most:
            raise SchemaChanged(
                f"Bromcom's answer holds more than {most} {what}, "
                f"which no page of {page_size} rows does (is page_size right?)",
                entity=entity,
            )


def _rows(body: bytearray, entity: str) -> list[Row]:
    """Return the rows of ``{"success": true, "data": [...]}``.

    Bromcom answers HTTP 200 with ``success: false``, ``data: null`` or text that is no JSON when it is
    unwell.
    """
    try:
        envelope: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: the decoder's error holds the whole document.
        raise Transient("Bromcom's answer is no valid JSON", entity=entity) from None
    match envelope:
        case {"success": True, "data": [*_]} if all(type(row) is dict for row in envelope["data"]):
            rows: list[Row] = envelope["data"]
            return rows
        case {"success": True, "data": [*_]}:
            raise SchemaChanged("Bromcom's answer holds no list of rows", entity=entity)
        case {"success": True} if envelope.get("data") is None:
            raise Transient("Bromcom answered without data", entity=entity)
        case {"success": False | None}:
            raise Transient("Bromcom answered that it did not succeed", entity=entity)
        case _:
            raise SchemaChanged("Bromcom's answer is not of the known shape", entity=entity)
