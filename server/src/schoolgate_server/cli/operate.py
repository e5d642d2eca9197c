"""serve, simulate, health and version: running the service and asking whether it runs."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated

import grpc
import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from schoolgate_server.cli import console
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.failures import CommandFailed

_HEALTH_TIMEOUT = 3.0
"""Seconds: below the five that Docker's HEALTHCHECK allows, so that the reason is told and not cut off."""


READY_PREFIX = "serving at "
"""Begins the one line that `serve` writes to standard output, once it can be reached; its address follows."""


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with settings, one table per group. [env var: SCHOOLGATE_CONFIG]"),
    ] = None,
) -> None:
    """Run the service until SIGTERM or SIGINT. Settings come from SCHOOLGATE_… variables; see the README."""
    # Here, because the service's imports take longer than most other commands do in all.
    from schoolgate_server.main import StartFailed, run

    def announce(address: str) -> None:
        sys.stdout.write(f"{READY_PREFIX}{address}\n")
        sys.stdout.flush()

    try:
        run(config, ready=lambda server: announce(server.target))
    except StartFailed as error:
        raise CommandFailed(str(error), "correct the settings; the README lists them all") from error


def simulate(ctx: typer.Context, name: Annotated[str, typer.Argument(show_default=False)]) -> None:
    """Run the MIS simulator of the connector NAME; everything after NAME is the simulator's own.

    `schoolgate simulate bromcom --help` lists its options.
    """
    if name in ("--help", "-h"):
        typer.echo(ctx.get_help())
        raise typer.Exit(0)
    from schoolgate_server.mis.connectors import load_connectors

    host = load_connectors([name])
    if name not in host.loaded:
        raise CommandFailed(f"connector {name!r} cannot be used: {host.errors[name]}")
    run = host.loaded[name].simulate
    if run is None:
        raise CommandFailed(f"connector {name!r} has no simulator")
    raise typer.Exit(run(ctx.args))


def serving_status(client: Client) -> str:
    """Return what the server's health service says about the service as a whole, for example "SERVING"."""
    check: grpc.UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse] = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    answer = client.call(check, HealthCheckRequest(), timeout=_HEALTH_TIMEOUT)
    return HealthCheckResponse.ServingStatus.Name(answer.status)


def health(client: Client) -> None:
    """Ask whether the server can serve schools. Exit status 0 when it can."""
    status = serving_status(client)
    console.out().print(status.lower().replace("_", " "))
    if status != "SERVING":
        raise typer.Exit(1)


def version() -> None:
    """Show the versions that a report of a defect needs."""
    pairs = [
        (name, distribution_version(name))
        for name in ("schoolgate-server", "schoolgate-sdk", "grpcio", "protobuf")
    ]
    pairs.append(("Python", f"{platform.python_version()} ({sys.platform})"))
    console.out().print(console.fields(pairs))


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("serve")(serve)
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("simulate", context_settings={**passed_on, "help_option_names": []})(simulate)
    client_command(app, "health")(health)
    app.command("version")(version)
