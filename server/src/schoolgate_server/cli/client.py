"""The gRPC client behind the commands, and the options that every one of them takes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import grpc
import typer

from schoolgate.v1.diagnostics_service_pb2_grpc import DiagnosticsServiceStub
from schoolgate.v1.identity_service_pb2_grpc import IdentityServiceStub
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate.v1.reporting_service_pb2_grpc import ReportingServiceStub
from schoolgate.v1.school_service_pb2_grpc import SchoolServiceStub
from schoolgate.v1.sync_service_pb2_grpc import SyncServiceStub
from schoolgate.v1.writeback_service_pb2_grpc import WritebackServiceStub
from schoolgate_sdk.addresses import is_loopback
from schoolgate_server.cli.failures import CommandFailed, from_rpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

DEFAULT_SERVER = "127.0.0.1:50551"
CALL_TIMEOUT = 30.0
"""Seconds that a call with a single answer may take; CheckConnection waits for a MIS and gets longer."""
_MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer: a page of 5,000 records is well below."""

Server = Annotated[
    str,
    typer.Option(
        envvar="SCHOOLGATE_SERVER", metavar="HOST:PORT", help="Server to ask.", rich_help_panel="Connection"
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="SCHOOLGATE_TOKEN_FILE",
        help="File with the bearer token; SCHOOLGATE_TOKEN may hold the token itself.",
        rich_help_panel="Connection",
    ),
]
AuthorityFile = Annotated[
    Path | None,
    typer.Option(
        envvar="SCHOOLGATE_CA",
        help="PEM file of the authority that the server's certificate is checked against; turns TLS on.",
        rich_help_panel="Connection",
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """Which server to call, and as whom."""

    server: str = DEFAULT_SERVER
    token: str = field(default="", repr=False)
    authority: bytes | None = field(default=None, repr=False)


class Client:
    """The service's stubs over one channel; whatever goes wrong with a call raises :class:`CallFailed`."""

    def __init__(self, channel: grpc.Channel, target: Target) -> None:
        self.channel = channel
        self.server = target.server
        self._metadata = (("authorization", f"Bearer {target.token}"),) if target.token else ()
        self.schools = SchoolServiceStub(channel)
        self.sync = SyncServiceStub(channel)
        self.query = QueryServiceStub(channel)
        self.reporting = ReportingServiceStub(channel)
        self.diagnostics = DiagnosticsServiceStub(channel)
        self.identity = IdentityServiceStub(channel)
        self.writeback = WritebackServiceStub(channel)

    def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        timeout: float = CALL_TIMEOUT,
    ) -> _Response:
        """Return the answer of a unary method."""
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error

    def stream(
        self, method: grpc.UnaryStreamMultiCallable[_Request, _Response], request: _Request
    ) -> Iterator[_Response]:
        """Yield the answers of a streaming method; ends the call when the consumer stops."""
        call = method(request, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc(error, self.server) from error
        finally:
            call.cancel()


def _is_here(server: str) -> bool:
    """Whether ``server`` (host and port, or a socket) cannot be another machine."""
    return server.startswith("unix:") or is_loopback(server.rpartition(":")[0].strip("[]"))


@contextmanager
def connect(target: Target) -> Generator[Client]:
    """Open a channel to ``target``; nothing is sent before the first call.

    Raises:
        CommandFailed: a token would travel unencrypted to another machine.
    """
    options = [("grpc.max_receive_message_length", _MESSAGE_LIMIT), ("grpc.enable_retries", 0)]
    if target.authority is not None:
        credentials = grpc.ssl_channel_credentials(root_certificates=target.authority)
        channel = grpc.secure_channel(target.server, credentials, options=options)
    elif target.token and not _is_here(target.server):
        raise CommandFailed(
            f"the token would travel unencrypted to {target.server}",
            "give --ca or SCHOOLGATE_CA, so that the connection uses TLS",
        )
    else:
        channel = grpc.insecure_channel(target.server, options=options)
    with channel:
        yield Client(channel, target)


def target_of(server: str, token_file: Path | None, ca: Path | None) -> Target:
    """Return the target that options and environment name; raises CommandFailed for unreadable files."""
    try:
        token = token_file.read_text() if token_file else os.environ.get("SCHOOLGATE_TOKEN", "")
        authority = ca.read_bytes() if ca else None
    except OSError as error:
        raise CommandFailed(f"cannot read {error.filename}: {error.strerror}") from error
    return Target(server, token.strip(), authority)


def client_command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as the command ``name`` of ``app``, with the connection options added.

    The function's first parameter is the :class:`Client`; the others are its own arguments and options, as
    typer reads them from the signature. Its docstring is the command's help.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def command(server: str, token_file: Path | None, ca: Path | None, **values: Any) -> None:  # noqa: ANN401 - whatever the command declares
            with connect(target_of(server, token_file, ca)) as client:
                function(client, **values)

        keyword = inspect.Parameter.KEYWORD_ONLY
        connection = [
            inspect.Parameter("server", keyword, default=DEFAULT_SERVER, annotation=Server),
            inspect.Parameter("token_file", keyword, default=None, annotation=TokenFile),
            inspect.Parameter("ca", keyword, default=None, annotation=AuthorityFile),
        ]
        _, *own = parameters_of(function)
        declare(command, [*own, *connection], function.__doc__)
        app.command(name)(command)
        return function

    return register


def parameters_of(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Return a function's parameters by keyword, as typer reads them; what stands for any others is none."""
    hints = get_type_hints(function, include_extras=True)
    return [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]


def declare(
    command: Callable[..., None], parameters: Sequence[inspect.Parameter], documentation: str | None
) -> None:
    """Let typer see ``parameters`` as the command's own, in this order, and ``documentation`` as its help."""
    command.__doc__ = documentation
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
