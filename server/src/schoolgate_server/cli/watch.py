"""watch: following what changes at a school."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from schoolgate.v1.query_service_pb2 import (
    CHANGE_TYPE_UPDATED,
    WATCH_START_SNAPSHOT,
    Change,
    ChangeType,
    WatchChangesRequest,
)
from schoolgate_server.cli import console, questions, records
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.query import write_json


def watch(
    client: Client,
    school: Annotated[str, typer.Argument(help="Id of the school.", show_default=False)],
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind of record; may be repeated.")] = None,
    snapshot: Annotated[bool, typer.Option("--snapshot", help="Begin with every live record.")] = False,
    cursor: Annotated[str, typer.Option(help="Go on from this cursor.")] = "",
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing more to tell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One response per line, with its cursor.")] = False,
) -> None:
    """Follow changes as they are published, one per line, until interrupted."""
    if snapshot and cursor:
        raise typer.BadParameter("give --snapshot or --cursor, not both")
    request = WatchChangesRequest(
        school_id=school, kinds=sorted({questions.kind_named(name).kind for name in kind or ()})
    )
    if cursor:
        request.cursor = cursor
    elif snapshot:
        request.start = WATCH_START_SNAPSHOT
    last = cursor
    try:
        for response in client.stream(client.query.WatchChanges, request):
            last = response.cursor
            if as_json:
                write_json(response)
            else:
                for change in response.changes:
                    console.out().print(told(change), soft_wrap=True)
            sys.stdout.flush()
            if once and response.up_to_date:
                break
    finally:
        if last and not as_json:
            console.remark(f"go on with --cursor {last}")


def told(change: Change) -> str:
    """Return a change in one line: seq, what happened, kind and id, and where."""
    record = change.record
    words = ", ".join(
        ChangeType.Name(kind).removeprefix("CHANGE_TYPE_").lower().replace("_", " ") for kind in change.types
    )
    details: list[str] = []
    if CHANGE_TYPE_UPDATED in change.types and change.changed_fields:
        details.append(", ".join(change.changed_fields))
    details += [f"+{questions.key_text(key)}" for key in change.added_keys]
    details += [f"-{questions.key_text(key)}" for key in change.removed_keys]
    if record.HasField("tombstone"):
        details.append(records.gone(record))
    if record.tombstone.merged_into:
        details.append(f"into {record.tombstone.merged_into}")
    line = f"{record.seq}  {words}  {questions.kind_name(record.kind)} {record.id}  {'  '.join(details)}"
    return console.clean(line.rstrip())


def register(app: typer.Typer) -> None:
    """Add the command of this module to ``app``."""
    client_command(app, "watch")(watch)
