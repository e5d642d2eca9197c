"""Credentials of a MIS, from a file, the environment or a prompt.

Never from the command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import typer

from schoolgate.v1.diagnostics_service_pb2 import ConnectorField
from schoolgate_server.cli import console
from schoolgate_server.cli.failures import CommandFailed

ENVIRONMENT_PREFIX = "SCHOOLGATE_CREDENTIAL_"
"""With the credential's name in capitals: SCHOOLGATE_CREDENTIAL_APPLICATION_ID."""

FILE_HELP = 'TOML file with a line like application_id = "…" for each credential; - reads standard input.'


def _parsed(text: str, origin: str) -> dict[str, str]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # The parser's own message quotes the line, and with it the secret.
        raise CommandFailed(
            f"{origin} is no TOML", 'write a line like application_id = "…" for each'
        ) from None
    wrong = sum(not isinstance(value, str) for value in values.values())
    if wrong:
        # Counted and not named: a secret may stand where its name belongs.
        raise CommandFailed(
            f"{origin}: every value must be text; {wrong} given are not", "put values in double quotes"
        )
    return {name: str(value) for name, value in values.items()}


def from_file(path: Path) -> dict[str, str]:
    """Return the credentials in ``path``; remarks when others may read the file.

    Raises:
        CommandFailed: the file cannot be read, or holds something else.
    """
    if str(path) == "-":
        return _parsed(sys.stdin.read(), "standard input")
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        console.remark(f"{path} can be read by others; chmod 600 {path}")
    return _parsed(text, str(path))


def gather(file: Path | None, wanted: Sequence[ConnectorField], *, required: bool) -> dict[str, str]:
    """Return credentials for the names in ``wanted``: from ``file``, else the environment, else asked for.

    A terminal is asked only for what a connector requires; for everything where it leaves open which it
    needs, and an empty answer then leaves one out. Where none is found at all and ``required`` is false, the
    result is empty.

    Raises:
        CommandFailed: some are missing and nobody can be asked.
    """
    if file is not None:
        return from_file(file)
    found = {
        field.name: value
        for field in wanted
        if (value := os.environ.get(ENVIRONMENT_PREFIX + field.name.upper()))
    }
    missing = [field for field in wanted if field.required and field.name not in found]
    if required and not found and not missing:
        missing = list(wanted)
    if not missing or (not found and not required):
        return found
    if not sys.stdin.isatty():
        names = ", ".join(ENVIRONMENT_PREFIX + field.name.upper() for field in missing)
        raise CommandFailed("credentials are missing", f"give --credentials-file, or set {names}")
    for field in missing:
        text = f"{field.name} ({field.description})"
        default = None if field.required else ""
        found[field.name] = typer.prompt(text, default, hide_input=True, err=True, show_default=False)
    return {name: value for name, value in found.items() if value}
