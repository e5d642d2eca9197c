"""connector check and connector new: for whoever writes a connector. Both work without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schoolgate_server.cli.failures import CommandFailed

_commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make the package of a new connector, and certify one.",
)


def check(
    name: Annotated[str, typer.Argument(show_default=False, help="Name of an installed connector.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the certificate goes, as JSON; NAME-certificate.json where every check is run.",
        ),
    ] = None,
    only: Annotated[str, typer.Option(metavar="PATTERN", help='Checks to run, such as "wire.*".')] = "*",
) -> None:
    """Show that the connector NAME does what this server relies on, and write a certificate of it.

    Every check is proven, waived with its reason, not applicable or failed. Exit status 0 where none failed.
    """
    # A server has no use for the testing kit.
    from schoolgate_sdk.testing.conformance import command

    try:
        passed = command.check_installed(name, only=only, out=out)
    except command.CannotCheck as error:
        raise CommandFailed(str(error)) from error
    if not passed:
        raise typer.Exit(1)


def new(
    name: Annotated[str, typer.Argument(show_default=False, help="Name of the connector, such as acme.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to make it. [default: schoolgate-NAME]")
    ] = None,
) -> None:
    """Make the package of a new connector, with a simulator, whose tests run at once."""
    from schoolgate_sdk.testing import new as template

    target = folder or Path(f"schoolgate-{name}")
    try:
        template.new_connector(name, target)
    except template.CannotMake as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"{target} cannot be written: {error.strerror}") from error
    typer.echo(template.next_steps(name, target))


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    _commands.command("check")(check)
    _commands.command("new")(new)
    app.add_typer(_commands, name="connector")
