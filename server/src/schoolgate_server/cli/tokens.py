"""token new: a bearer token for one caller, and what to write into the server's callers file."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from schoolgate_server.cli import console
from schoolgate_server.cli.failures import CommandFailed
from schoolgate_server.rpc.roles import Role

_TOKEN_BYTES = 32
"""Bytes of randomness, so that a plain hash protects the token: nobody can try them all."""


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"


def stanza(name: str, token: str, roles: list[Role], schools: list[str]) -> str:
    """Return the TOML for the callers file; it holds the token's SHA-256, never the token.

    Raises:
        typer.BadParameter: the server would not read it.
    """
    # Here, because what reads the file imports more than all other commands need.
    from schoolgate_server.rpc.callers import CallersInvalid, hash_token, parse_callers

    text = (
        "[[callers]]\n"
        f"name = {json.dumps(name)}\n"
        f'token_sha256 = "{hash_token(token)}"\n'
        f"roles = {_array(role.value for role in roles)}\n"
        f"schools = {_array(schools)}\n"
    )
    try:
        parse_callers(text)
    except CallersInvalid as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _write(path: Path, token: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the caller, as logs and runs show it.", show_default=False)
    ],
    role: Annotated[list[Role] | None, typer.Option(help="Role; may be repeated. Default: READER.")] = None,
    school: Annotated[list[str] | None, typer.Option(help="School; may be repeated. Default: all.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the token into this new file (0600) instead of showing it."),
    ] = None,
) -> None:
    """Make a token for a caller. It is shown once; the server only ever keeps its hash."""
    schools = school or ["*"]
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    entry = stanza(name, token, role or [Role.READER], schools)
    if out is not None:
        _write(out, token)
        console.remark(f"the token is in {out}; add this to the server's callers file:")
    else:
        # Not to standard output, which is what goes into the callers file.
        console.remark("the token, shown this once:")
        sys.stderr.write(f"{token}\n\n")
        console.remark("add this to the server's callers file:")
    sys.stdout.write(entry)


def register(app: typer.Typer) -> None:
    """Add the group ``token`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Make bearer tokens for callers.")
    # A second command would make `new` optional; the callback keeps it a word that has to be typed.
    group.callback()(lambda: None)
    group.command("new")(new)
    app.add_typer(group, name="token")
