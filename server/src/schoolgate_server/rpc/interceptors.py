"""What every call passes through, outermost first: correlation, errors, the bounds of health, authentication.

Each interceptor wraps the handler of a method in a context manager that is open for as long as a call runs.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Set
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Any, ClassVar, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate_server.model.errors import ServiceError, Violation, invalid_request
from schoolgate_server.model.wire import Serialised
from schoolgate_server.rpc import calls
from schoolgate_server.rpc.callers import Callers
from schoolgate_server.rpc.checks import SCHOOL_ID
from schoolgate_server.rpc.errors import reason_name, rich_status
from schoolgate_server.rpc.roles import HEALTH, METHOD_ROLES, REFLECTION
from schoolgate_server.store.errors import StoreTooSlow, StoreUnavailable
from schoolgate_server.store.limits import OPERATION_LIMIT

# In quotes, because grpc's own classes are generic in their stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Around: TypeAlias = Callable[[object, "Context"], AbstractAsyncContextManager[None]]
Behaviour: TypeAlias = Callable[[Any, "Context"], Any]
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class _Undecodable:
    """Stands for a request whose bytes are no message of its type."""


def _rebuilt(handler: Handler, behaviour: Behaviour, *, waits: bool = True) -> Handler:
    """Return ``handler`` with another behaviour, with undecodable requests as a value, and with responses
    that may be serialised already.

    By itself gRPC would answer such requests with INTERNAL, and log them with a traceback. Unless it
    ``waits``, the behaviour runs before the request has come, and gets an iterator over it.
    """
    taken = "stream" if handler.request_streaming or not waits else "unary"
    given = "stream" if handler.response_streaming else "unary"
    build: Callable[..., Handler] = getattr(grpc, f"{taken}_{given}_rpc_method_handler")
    decode, encode = handler.request_deserializer, handler.response_serializer

    def decoded(raw: bytes) -> object:
        try:
            return raw if decode is None else decode(raw)
        except DecodeError:
            return _Undecodable()

    def encoded(response: object) -> object:
        if isinstance(response, Serialised):
            return response.wire
        return response if encode is None else encode(response)

    return build(behaviour, decoded, encoded)


_as_status: Callable[[Status], grpc.Status] = rpc_status.to_status  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


async def _respond(behaviour: Behaviour, request: object, context: Context) -> None:
    """Run a behaviour that streams, and send what it yields.

    A generator handed to gRPC would be left as it is when its call is cancelled in the middle of a write,
    and what it holds would go free whenever it is collected.
    """
    if inspect.isasyncgenfunction(behaviour):
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await context.write(response)
    else:
        await behaviour(request, context)  # writes its responses through the context


def wrapped(handler: Handler, around: Around) -> Handler:
    """Return ``handler`` with ``around`` open while a call runs."""
    # The stubs type these for the synchronous server.
    inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

    async def single(request: object, context: Context) -> object:
        async with around(request, context):
            return await inner(request, context)

    async def stream(request: object, context: Context) -> None:
        async with around(request, context):
            await _respond(inner, request, context)

    return _rebuilt(handler, stream if handler.response_streaming else single)


def refusing(handler: Handler, error: ServiceError) -> Handler:
    """Return a handler that raises ``error`` at once.

    It does not wait for the request: a stranger who never sends it would hold one of the calls at once.
    """

    async def refuse(_requests: object, _context: Context) -> object:
        raise error

    return _rebuilt(handler, refuse, waits=False)


async def _request_within(requests: AsyncIterator[object], seconds: float) -> object:
    try:
        async with asyncio.timeout(seconds):
            request = await anext(requests, None)
    except TimeoutError:
        request = None
    if request is None:
        raise invalid_request(Violation("", f"no request came within {seconds:g} seconds"))
    _refuse_undecodable(request)
    return request


def _refuse_undecodable(request: object) -> None:
    if isinstance(request, _Undecodable):
        raise invalid_request(Violation("", "the bytes are no message of this method's request type"))


class MethodInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Has something open around calls of this API's methods whose names begin in one of some ways."""

    beginnings: ClassVar[tuple[str, ...]]

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        method = path.rpartition("/")[2]
        if handler is None or path not in METHOD_ROLES or not method.startswith(self.beginnings):
            return handler
        return wrapped(handler, self.around(method, streams=bool(handler.response_streaming)))

    @abstractmethod
    def around(self, method: str, *, streams: bool) -> Around:
        """Return what is open around each call of ``method``."""


class CorrelationInterceptor(grpc.aio.ServerInterceptor):
    """Gives every call a correlation id, the caller's own if it sent one, and logs how the call ended."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        path = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        call = calls.begin(path, metadata.get(calls.CORRELATION_KEY), self._new_id)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        @asynccontextmanager
        async def around(request: object, context: Context) -> AsyncGenerator[None]:
            context.set_trailing_metadata(((calls.CORRELATION_KEY, call.correlation_id),))
            school = calls.school_of(request)
            shown = {"school_id": school} if school and SCHOOL_ID.fullmatch(school) else {}
            loop = asyncio.get_running_loop()
            started = loop.time()
            with logger.contextualize(correlation_id=call.correlation_id, method=path, **shown):
                try:
                    yield
                finally:
                    level = "DEBUG" if path.startswith((HEALTH, REFLECTION)) else "INFO"
                    seen = calls.current_call()
                    logger.bind(
                        caller=seen.caller.name if seen.caller else None,
                        reason=seen.reason,
                        ms=round((loop.time() - started) * 1000, 1),
                    ).log(level, "call ended")

        return wrapped(handler, around)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns every error of a call into a ``google.rpc.Status``; nothing of a stranger's error gets out."""

    def __init__(self, on_store_unavailable: Callable[[], None]) -> None:
        self._on_store_unavailable = on_store_unavailable

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        return None if handler is None else wrapped(handler, self._around)

    @asynccontextmanager
    async def _around(self, request: object, context: Context) -> AsyncGenerator[None]:
        try:
            _refuse_undecodable(request)
            yield
        except ServiceError as error:
            await self._abort(context, error)
        except StoreTooSlow:
            metadata = {"method": calls.current_call().method, "limit_seconds": f"{OPERATION_LIMIT:g}"}
            await self._abort(
                context, ServiceError(reasons.ERROR_REASON_DEADLINE_EXCEEDED, "", metadata=metadata)
            )
        except StoreUnavailable:
            logger.opt(exception=True).warning("store unavailable")
            self._on_store_unavailable()
            await self._abort(context, ServiceError(reasons.ERROR_REASON_STORE_UNAVAILABLE, ""))
        except grpc.aio.AbortError:
            raise  # the health service's own way of answering
        except Exception:  # noqa: BLE001 - the last line: whatever it is, the caller gets a typed error
            logger.opt(exception=True).error("call failed on a defect")
            metadata = {"correlation_id": calls.current_call().correlation_id}
            await self._abort(context, ServiceError(reasons.ERROR_REASON_INTERNAL, "", metadata=metadata))

    async def _abort(self, context: Context, error: ServiceError) -> None:
        status = _as_status(rich_status(error))
        calls.failed_with(reason_name(error.reason))
        correlation = (calls.CORRELATION_KEY, calls.current_call().correlation_id)
        await context.abort(status.code, status.details, (*status.trailing_metadata, correlation))


class HealthInterceptor(grpc.aio.ServerInterceptor):
    """Bounds what strangers hold open: health asks for no token, and every call counts against one limit.

    At most ``most`` calls of each method of health are open at once. One that does not send its request
    within ``patience_s`` seconds ends.
    """

    def __init__(self, most: int, patience_s: float = 5.0) -> None:
        self._most = most
        self._patience_s = patience_s
        self._open: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(HEALTH):
            return handler
        # Both methods of health take a single request.
        inner: Any = handler.unary_unary or handler.unary_stream

        async def single(requests: AsyncIterator[object], context: Context) -> object:
            with self._place(path):
                return await inner(await _request_within(requests, self._patience_s), context)

        async def stream(requests: AsyncIterator[object], context: Context) -> None:
            with self._place(path):
                await _respond(inner, await _request_within(requests, self._patience_s), context)

        return _rebuilt(handler, stream if handler.response_streaming else single, waits=False)

    @contextmanager
    def _place(self, path: str) -> Generator[None]:
        if self._open[path] >= self._most:
            method = path.rpartition("/")[2]
            raise ServiceError(
                reasons.ERROR_REASON_TOO_MANY_CALLS,
                f"this server takes {self._most} calls of Health.{method} at once, and so many are open",
                metadata={"method": method, "maximum": str(self._most)},
            )
        self._open[path] += 1
        try:
            yield
        finally:
            self._open[path] -= 1


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Admits a call by token, role and school, in this order, and by whether its method is served at all.

    ``served`` holds the paths of the methods that this release serves. ``closing`` is set while the server
    stops.
    """

    def __init__(self, callers: Callers, served: Set[str], closing: asyncio.Event) -> None:
        self._callers = callers
        self._served = served
        self._closing = closing

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path.startswith(HEALTH):
            return handler
        try:
            self._admit(path, handler_call_details)
        except ServiceError as error:
            return refusing(handler, error)

        @asynccontextmanager
        async def around(request: object, _context: Context) -> AsyncGenerator[None]:
            def admit() -> None:
                self._admit(path, handler_call_details)
                _check_school(request)

            _check_school(request)
            calls.admitted_by(admit)
            yield

        return wrapped(handler, around)

    def _admit(self, path: str, details: grpc.HandlerCallDetails) -> None:
        given = [value for key, value in details.invocation_metadata or () if key == "authorization"]
        authorization = given[0] if len(given) == 1 and isinstance(given[0], str) else None
        caller = self._callers.identify(authorization)
        calls.made_by(caller)
        if path.startswith(REFLECTION):
            return
        method = calls.current_call().method
        role = METHOD_ROLES[path]
        if role not in caller.roles:
            raise ServiceError(
                reasons.ERROR_REASON_ROLE_MISSING,
                f"{method} needs the role {role}",
                metadata={"method": method, "role": role},
            )
        if path not in self._served:
            raise ServiceError(reasons.ERROR_REASON_METHOD_NOT_SERVED, "", metadata={"method": method})
        if self._closing.is_set():
            raise ServiceError(reasons.ERROR_REASON_SHUTTING_DOWN, "")


def _check_school(request: object) -> None:
    school = calls.school_of(request)
    if school and not calls.current_caller().may_act_for(school):
        raise ServiceError(reasons.ERROR_REASON_SCHOOL_FORBIDDEN, "", metadata={"school_id": school})
