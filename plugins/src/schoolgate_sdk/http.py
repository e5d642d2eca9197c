"""An HTTP client for connectors: bounded, polite and typed. Needs the extra ``schoolgate-sdk[http]``.

Reads are retried where that may help, writes never. Nothing of an answer's body, no address, no credential
and nothing that a caller sent ever gets into an error or a log line.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
import tenacity
from yarl import URL

from schoolgate_sdk.connector import SchoolConnection
from schoolgate_sdk.errors import (
    AuthInvalid,
    CircuitOpen,
    ConnectorError,
    EntityDenied,
    Identity,
    Incomplete,
    RateLimited,
    SchemaChanged,
    Transient,
    Unsupported,
)
from schoolgate_sdk.http_leaving import Gate, once
from schoolgate_sdk.http_messages import Answer, Consumer, Request
from schoolgate_sdk.http_retry import retry_after
from schoolgate_sdk.traffic import PausesFor, Turn
from schoolgate_sdk.writing import Leaving

__all__ = ["Answer", "Consumer", "HttpClient", "HttpOptions", "Request", "http_client"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_CHUNK: Final = 1 << 16
_READ_BUFFER: Final = 1 << 20
"""Bytes. With aiohttp's 64 KiB an answer of 14 MB needs a turn of the event loop per 128 KiB."""
_REFUSAL_BYTES: Final = 1 << 16
"""Bytes of a refusal's body that are read, for :attr:`HttpOptions.refusal` to look at."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a connector's client behaves. Times are in seconds, sizes in bytes."""

    mis: str
    """What errors call the MIS."""
    timeout: float = 300.0
    """Longest time for one request, its answer included; waiting for its turn is not."""
    connect_timeout: float = 10.0
    """Longest time until a connection stands."""
    read_attempts: int = 5
    """How often a read is tried."""
    retry_wait: float = 1.0
    """Upper bound of the first wait between attempts; it doubles."""
    longest_wait: float = 30.0
    """Longest wait between attempts, and longest pause that is waited out; a longer one is an error."""
    max_bytes: int = 128 << 20
    """Largest answer, after decompression."""
    pauses_for: PausesFor = PausesFor.HOST
    """Whom the MIS means when it asks for a pause."""
    identity: Identity | None = None
    """Whose credentials the requests carry, where they carry only one party's."""
    refusal: Callable[[int, Mapping[str, str], bytes], ConnectorError | None] | None = None
    """Makes a more exact error of status, headers and the beginning of the body; ``None`` for the usual."""


@asynccontextmanager
async def http_client(
    connection: SchoolConnection,
    options: HttpOptions,
    headers: Mapping[str, str],
    *,
    rng: random.Random | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[HttpClient, None]:
    """Open a client whose every request carries ``headers``; nothing is sent before it is asked.

    It keeps no cookies: schools share nothing.
    """
    async with aiohttp.ClientSession(
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=connection.traffic.limits.school_concurrency),
        read_bufsize=_READ_BUFFER,
        middlewares=(once,),
    ) as session:
        yield HttpClient(session, connection, options, rng=rng or random.SystemRandom(), sleep=sleep)


class HttpClient:
    """Sends one school's requests, each in its turn of the connection's traffic."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        connection: SchoolConnection,
        options: HttpOptions,
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._connection = connection
        self._options = options
        self._rng = rng
        self._sleep = sleep
        self._timeout = aiohttp.ClientTimeout(total=options.timeout, sock_connect=options.connect_timeout)

    async def read(self, request: Request, decode: Callable[[Answer], _T]) -> _T:
        """Send what changes nothing in the MIS, again where that may help, and return its answer decoded.

        What ``decode`` raises counts like what the MIS says: a ``Transient`` is worth another attempt.

        Raises:
            AuthInvalid: HTTP 401.
            EntityDenied: HTTP 403; ``AuthInvalid`` where the request is about no entity.
            Unsupported: HTTP 404.
            RateLimited: HTTP 429, at every attempt or with a longer pause than ``longest_wait``.
            Transient: HTTP 5xx or 408, a broken connection or a timeout, at every attempt.
            CircuitOpen: the MIS failed too often of late, whoever asked.
            SchemaChanged: another status, redirects among them.
            Incomplete: the answer exceeds ``max_bytes``.
        """

        async def attempt() -> _T:
            return decode(Answer(*await self._send(request, _Whole())))

        return await self._attempts(attempt)

    async def stream(self, request: Request, consumer: Callable[[], Consumer[_T]]) -> _T:
        """As :meth:`read`, for answers too large to be kept whole; each attempt gets a new consumer."""

        async def attempt() -> _T:
            return (await self._send(request, consumer()))[2]

        return await self._attempts(attempt)

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Send a read once, and hand its body out no faster than it is taken.

        The turn, and with it a place of the host's limit and of the school's, lasts until the block is left:
        while a body comes the MIS is at work on the request. An accepted status is an answer all the same: a
        circuit that this request tries closes with it, so that nobody else waits for the body's end. One that
        is cut, or falls silent, counts as a failure and opens it again for longer; only a whole one forgets
        those before it.

        ``timeout`` bounds every silence in place of the whole, since how long that takes is the taker's doing
        too. Raises as :meth:`send`, also while the body is taken; wrap what comes first in :meth:`repeated`.
        """
        patient = aiohttp.ClientTimeout(
            total=None, sock_connect=self._options.connect_timeout, sock_read=self._options.timeout
        )
        async with self._open(request, patient, at_length=True) as (_, chunks):
            yield chunks

    async def repeated(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Await ``attempt()``, again where its error says that this may help, as :meth:`read` does."""
        return await self._attempts(attempt)

    async def send(self, request: Request, *, leaving: Leaving | None = None) -> Answer:
        """Send once and return the answer; this is how to write.

        ``leaving`` is told method, entity and body at the last moment before the body leaves: after every
        wait, with the connection standing; of a request without a body before the connection is looked for.
        What it raises is raised here as it is. The MIS has then got no whole request, and nothing is held
        against it. It is called by another task than this one.

        Raises as :meth:`read`, but ``Transient`` after whatever refuses nothing: another status below 400, or
        an answer that exceeds ``max_bytes``. After a ``Transient`` it is unknown whether the MIS did what was
        asked, unless it is a ``CircuitOpen``: then nothing was sent.
        """
        try:
            return Answer(*await self._send(request, _Whole(), writes=True, leaving=leaving))
        except Incomplete as error:
            raise Transient(error.message, entity=request.entity) from None

    async def _attempts(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        attempts = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._options.read_attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._worth_repeating),
            sleep=self._sleep,
            reraise=True,
        )
        return await attempts(attempt)

    def _worth_repeating(self, error: BaseException) -> bool:
        if isinstance(error, RateLimited | CircuitOpen):
            return self._left(error) <= self._options.longest_wait
        return isinstance(error, Transient)

    def _left(self, error: RateLimited | CircuitOpen) -> float:
        return 0.0 if error.until is None else (error.until - self._connection.now()).total_seconds()

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        options = self._options
        _log.info("%s: a read failed at attempt %d: %s", options.mis, state.attempt_number, error)
        bound = min(options.longest_wait, options.retry_wait * 2 ** (state.attempt_number - 1))
        jitter = self._rng.uniform(0.0, bound)
        # Pauses are waited out in turn, by all; a circuit is not.
        return max(0.0, self._left(error)) + jitter if isinstance(error, CircuitOpen) else jitter

    async def _send(
        self,
        request: Request,
        consumer: Consumer[_T],
        *,
        writes: bool = False,
        leaving: Leaving | None = None,
    ) -> tuple[int, Mapping[str, str], _T]:
        opened = self._open(request, self._timeout, writes=writes, leaving=leaving)
        async with opened as (response, chunks):
            async for chunk in chunks:
                consumer.feed(chunk)
            return response.status, response.headers, consumer.close()

    @asynccontextmanager
    async def _open(
        self,
        request: Request,
        patience: aiohttp.ClientTimeout,
        *,
        at_length: bool = False,
        writes: bool = False,
        leaving: Leaving | None = None,
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, AsyncIterator[bytes]]]:
        entity = request.entity
        gate = None if leaving is None else Gate(request, leaving)
        async with self._turn(request) as turn, AsyncExitStack() as stack:
            if gate is not None:
                stack.callback(gate.close)
            with self._failures(turn, entity, gate):
                response = await stack.enter_async_context(self._sent(request, patience, gate))
                if response.status not in request.accept:
                    raise await self._refused(turn, response, entity, writes=writes)
            if at_length:
                turn.answering()
            async with aclosing(self._body(turn, response, entity)) as chunks:
                yield response, chunks

    def _turn(self, request: Request) -> AbstractAsyncContextManager[Turn]:
        connection, options = self._connection, self._options
        road = connection.traffic.road(
            str(URL(request.url).origin()),
            connection.school_id,
            now=connection.now,
            pauses_for=options.pauses_for,
            quiet=connection.quiet,
        )
        return road.turn(options.longest_wait, entity=request.entity)

    def _sent(
        self, request: Request, timeout: aiohttp.ClientTimeout, gate: Gate | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers: Mapping[str, str] = request.headers
        data: bytes | AsyncIterator[bytes] | None = request.body
        if gate is not None and request.body:
            headers = {**headers, "Content-Length": str(len(request.body))}
            data = gate.behind(request.body)
        elif gate is not None:
            gate.ask()
        return self._session.request(
            request.method,
            URL(request.url),
            params=request.params or None,
            headers=headers,
            data=data,
            timeout=timeout,
            allow_redirects=False,
        )

    @contextmanager
    def _failures(self, turn: Turn, entity: str | None, gate: Gate | None = None) -> Generator[None]:
        """Say what a broken connection means, and count it, unless it broke because ``gate`` stayed shut."""
        mis = self._options.mis
        try:
            yield
        except (TimeoutError, aiohttp.ClientError) as error:
            if gate is not None and gate.stopped is not None:
                raise gate.stopped from None
            turn.failed()
            what = (
                f"{mis} did not answer in time"
                if isinstance(error, TimeoutError)
                else f"the connection to {mis} failed: {type(error).__name__}"
            )
            # Not chained: its text may hold the address, and with it what was asked for. A type says enough.
            raise Transient(what, entity=entity) from None

    async def _body(
        self, turn: Turn, response: aiohttp.ClientResponse, entity: str | None
    ) -> AsyncGenerator[bytes]:
        options, size = self._options, 0
        while True:
            with self._failures(turn, entity):
                chunk = await response.content.read(_CHUNK)
            if not chunk:
                turn.answered()
                return
            size += len(chunk)
            if size > options.max_bytes:
                limit = options.max_bytes >> 20
                raise Incomplete(f"{options.mis}'s answer exceeds the limit of {limit} MiB", entity=entity)
            yield chunk

    async def _refused(
        self, turn: Turn, response: aiohttp.ClientResponse, entity: str | None, *, writes: bool
    ) -> ConnectorError:
        options, status = self._options, response.status
        if status == 429:
            now = self._connection.now()
            until = retry_after(response.headers.get("Retry-After"), now)
            seconds = None if until is None else max(0.0, (until - now).total_seconds())
            turn.asked_to_pause(seconds, options.retry_wait)
            return RateLimited(f"{options.mis} asked for a pause", until=until, entity=entity)
        if options.refusal is not None:
            beginning = b""
            while piece := await response.content.read(_REFUSAL_BYTES - len(beginning)):
                beginning += piece
            exact = options.refusal(status, response.headers, beginning)
            if exact is not None:
                turn.answered()
                return exact
        if status >= 500 or status == 408:
            turn.failed()
            return Transient(f"{options.mis} answered HTTP {status}", entity=entity)
        turn.answered()
        if writes and status < 400:  # what was written may have taken effect
            return Transient(f"{options.mis} answered HTTP {status}, which is not known of it", entity=entity)
        return _error_of(options, status, entity)


def _error_of(options: HttpOptions, status: int, entity: str | None) -> ConnectorError:
    mis = options.mis
    if status == 401:
        return AuthInvalid(f"{mis} does not accept the credentials", identity=options.identity)
    if status == 403 and entity is not None:
        return EntityDenied("the school has not granted the entity", entity=entity)
    if status == 403:
        return AuthInvalid(f"{mis} refuses what these credentials ask for", identity=options.identity)
    if status == 404:
        return Unsupported(f"{mis} does not know the entity", entity=entity)
    return SchemaChanged(f"{mis} answered HTTP {status}, which is not known of it", entity=entity)


class _Whole:
    """The body as it is."""

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._body += chunk

    def close(self) -> bytearray:
        return self._body
