"""The `schoolgate` command: its commands together, and the one place where failures become exit statuses.

Exit status: 0 done, 1 the work failed, 2 the command was not understood, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from schoolgate_server.cli import (
    connector,
    demo,
    diagnostics,
    failures,
    holds,
    identities,
    mis_change,
    operate,
    parsers,
    policies,
    query,
    report,
    runs,
    schools,
    tokens,
    versions,
    watch,
    write,
    writes,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Serve a copy of schools' MIS data, and ask it. "
    "serve, demo, simulate, connector and token work here; everything else asks a server.",
)

for _module in (
    operate,
    demo,
    schools,
    runs,
    holds,
    identities,
    mis_change,
    query,
    versions,
    report,
    watch,
    diagnostics,
    parsers,
    connector,
    write,
    writes,
    policies,
    tokens,
):
    _module.register(app)


def main() -> None:
    """Run the command that the command line names, and exit."""
    try:
        app(prog_name="schoolgate")
    except (failures.CallFailed, failures.CommandFailed) as failure:
        failures.show(failure)
        sys.exit(1)
