"""versions: what one record was, with what each version changed and the run that did it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import typer
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schoolgate.v1.query_service_pb2 import FieldChange, ListVersionsRequest, Version
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk.kinds import KindInfo
from schoolgate_server.cli import console, questions, records
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.query import Json, write_json

_WIDEST = 40
"""Characters of a value before; a longer one is folded, and does not move the others."""


def versions(
    client: Client,
    school: Annotated[str, typer.Argument(help="Id of the school.", show_default=False)],
    record_id: Annotated[str, typer.Argument(help="Id of the record.", show_default=False)],
    limit: Annotated[int, typer.Option(min=0, help="Most versions; 0 is all.")] = 20,
    as_json: Json = False,
) -> None:
    """List the versions of one record, newest first, with what each changed and the run that did it."""
    listed = list(itertools.islice(all_versions(client, school, record_id), (limit + 1) if limit else None))
    shown = listed[:limit] if limit else listed
    if as_json:
        for version in shown:
            write_json(version)
        return
    console.out().print(history(listed, len(shown)))
    if len(listed) > len(shown):
        console.remark(f"the newest {len(shown)}; --limit 0 shows all")


def all_versions(client: Client, school: str, record_id: str) -> Iterator[Version]:
    """Yield the versions of a record, newest first, page by page."""
    token = ""
    while True:
        request = ListVersionsRequest(school_id=school, record_id=record_id, page_token=token)
        answer = client.call(client.query.ListVersions, request)
        yield from answer.versions
        token = answer.next_page_token
        if not token:
            return


def history(listed: Sequence[Version], shown: int) -> RenderableType:
    """Return the first ``shown`` of versions that stand newest first: whence each is, and what it changed.

    Values before stand in one column over all versions, those after in another one.
    """
    older = [*listed[1:], None]
    told = [_changes(version, before) for version, before in zip(listed, older, strict=True)][:shown]
    every = [row for rows in told for row in rows]
    widths = [min(_WIDEST, max((cell_len(row[column]) for row in every), default=0)) for column in (0, 1)]
    parts: list[RenderableType] = []
    for version, rows in zip(listed, told, strict=False):
        parts.append(_head(version))
        if rows:
            parts.append(_grid(rows, widths))
    return Group(*parts)


def _head(version: Version) -> Text:
    record = version.record
    cells = [f"seq {console.number(record.seq)}", console.moment(record.committed_at)]
    cells += [records.cause(record), record.run_id]
    head = Text(f"version {console.number(record.version)}", style="bold")
    return head.append(console.clean("".join(f"  {cell}" for cell in cells if cell)), style="not bold")


def _changes(version: Version, before: Version | None) -> list[tuple[str, str, str]]:
    """Return name, value before and value after of everything that a version changed."""
    info = records.info_of(version.record)
    rows = [
        (change.field, _value(info, change, "old_value"), _value(info, change, "new_value"))
        for change in version.changes
    ]
    if before is None:
        return rows
    states = _keys(before.record), _keys(version.record)
    if states[0] != states[1]:
        rows.append(("(keys)", *states))
    states = records.gone(before.record) or "live", records.gone(version.record) or "live"
    if states[0] != states[1]:
        rows.append(("(state)", *states))
    return rows


def _value(info: KindInfo, change: FieldChange, side: Literal["old_value", "new_value"]) -> str:
    return (
        records.cell(info, change.field, getattr(change, side)) if change.HasField(side) else console.NOTHING
    )


def _keys(record: Record) -> str:
    return "  ".join(questions.key_text(key) for key in record.source_keys)


def _grid(rows: Sequence[tuple[str, str, str]], widths: Sequence[int]) -> Table:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(width=2)
    made.add_column(style="dim", no_wrap=True, min_width=widths[0])
    made.add_column(overflow="fold", min_width=widths[1], max_width=_WIDEST)
    made.add_column()
    made.add_column(overflow="fold")
    for field, before, after in rows:
        made.add_row("", field, console.clean(before), "→", console.clean(after))
    return made


def register(app: typer.Typer) -> None:
    """Add the command of this module to ``app``."""
    client_command(app, "versions")(versions)
