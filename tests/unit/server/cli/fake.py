"""A gRPC server whose methods are whatever a test says, so that the command meets any answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

HEALTH_CHECK = f"/{health_pb2.DESCRIPTOR.package}.Health/Check"

Answer = Callable[[Any], "Message | Iterator[Message]"]


class Refusal(Exception):
    """Raised by an answer: ends the call with a status and its details."""

    def __init__(self, code: grpc.StatusCode, message: str, *details: Message) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


def refusal(code: grpc.StatusCode, reason: str, message: str, **metadata: str) -> Refusal:
    return Refusal(code, message, ErrorInfo(reason=reason, domain="schoolgate", metadata=metadata))


def violations(**fields: str) -> BadRequest:
    result = BadRequest()
    for field, description in fields.items():
        result.field_violations.add(field=field, description=description)
    return result


class FakeServer(grpc.GenericRpcHandler):
    """Serves on a free port; ``requests`` and ``metadata`` keep what came, in order."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def on(self, method: str, answer: Answer | Message | list[Message]) -> None:
        """Answer ``method`` ("QueryService/GetRecord") by a function, with a message, or with a stream."""
        path = method if method.startswith("/") else f"/schoolgate.v1.{method}"
        match answer:
            case Message():
                self._answers[path] = lambda _: answer
            case list():
                self._answers[path] = lambda _: iter(answer)
            case _:
                self._answers[path] = answer

    def stop(self) -> None:
        self._server.stop(None).wait()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path not in self._answers:
            return None
        service, name = path.strip("/").split("/")
        pool = descriptor_pool.Default()
        method = pool.FindServiceByName(service).methods_by_name[name]
        request_class = message_factory.GetMessageClass(method.input_type)
        make: Any = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        handle = self._stream if method.server_streaming else self._unary
        return make(
            functools.partial(handle, path),
            request_deserializer=request_class.FromString,
            response_serializer=_serialised,
        )

    def _note(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append({str(key): value for key, value in context.invocation_metadata()})

    def _unary(self, path: str, request: Message, context: grpc.ServicerContext) -> Any:
        self._note(request, context)
        try:
            return self._answers[path](request)
        except Refusal as refused:
            _abort(context, refused)

    def _stream(self, path: str, request: Message, context: grpc.ServicerContext) -> Any:
        self._note(request, context)
        try:
            yield from self._answers[path](request)  # type: ignore[misc]
        except Refusal as refused:
            _abort(context, refused)


def _serialised(message: Message) -> bytes:
    return message.SerializeToString()


def _abort(context: grpc.ServicerContext, refused: Refusal) -> None:
    code: int = refused.code.value[0]
    status = Status(code=code, message=refused.message)
    for detail in refused.details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(refused.code, refused.message)
