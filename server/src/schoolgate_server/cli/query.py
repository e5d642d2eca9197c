"""query, get, count and versions: reading the canonical copy."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from google.protobuf.message import Message
from rich.table import Table

from schoolgate.v1.query_service_pb2 import (
    CountRecordsRequest,
    GetRecordRequest,
    ListVersionsRequest,
    QueryRecordsRequest,
    QueryRecordsResponse,
    Version,
)
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.cli import console, questions, records
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Kind = Annotated[str, typer.Argument(help="Kind of record, for example student.", show_default=False)]
Where = Annotated[list[str] | None, typer.Option(metavar="CONDITION", help=questions.WHERE_HELP)]
EffectiveOn = Annotated[
    str, typer.Option(metavar="DAY", help="Only what is valid on this day; today is a day.")
]
KnownAt = Annotated[int, typer.Option(metavar="SEQ", help="As published at this seq; 0 is the latest.")]
Tombstones = Annotated[bool, typer.Option("--tombstones", help="Include records that have left.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of a table.")]

_TABLE_LIMIT = 50


def write_json(message: Message) -> None:
    """Write one message as a line of JSON, in the form that grpcurl uses too."""
    sys.stdout.write(json.dumps(records.as_json(message), ensure_ascii=False) + "\n")


def query(  # noqa: PLR0913, PLR0917 - one parameter per argument and option
    client: Client,
    school: School,
    kind: Kind,
    where: Where = None,
    fields: Annotated[str, typer.Option(metavar="A,B,C", help="Columns of the table.")] = "",
    effective_on: EffectiveOn = "",
    known_at: KnownAt = 0,
    tombstones: Tombstones = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Most records; 0 is all. Default: 50 in a table, all as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find records of one kind, all of one instant, in the order of their ids."""
    info = questions.kind_named(kind)
    wanted = [name.strip() for name in fields.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in info.message.DESCRIPTOR.fields_by_name]
    if unknown:
        offered = ", ".join(info.message.DESCRIPTOR.fields_by_name)
        raise typer.BadParameter(
            f"{info.name} has no field {unknown[0]!r}; it has {offered}", param_hint="--fields"
        )
    most = limit if limit is not None else (0 if as_json else _TABLE_LIMIT)
    request = QueryRecordsRequest(
        school_id=school,
        kind=info.kind,
        filters=questions.conditions(where),
        effective_on=questions.day(effective_on),
        known_at_seq=known_at,
        include_tombstones=tombstones,
        max_records=most,
    )
    pages = _pages(client, request)
    if as_json:
        for page in pages:
            for record in page.records:
                write_json(record)
        return
    found: list[Record] = []
    seq = 0
    for page in pages:
        found.extend(page.records)
        seq = page.seq
    printer = console.out()
    if found:
        listing, hidden = records.listing(found, info, records.columns(info, wanted), printer.width)
        printer.print(listing)
        if hidden:
            more = "1 more column does not fit" if hidden == 1 else f"{hidden} more columns do not fit"
            console.remark(f"{more}: --fields chooses, --json has everything")
    _summary(client, request, len(found), seq)


def _pages(client: Client, request: QueryRecordsRequest) -> Iterator[QueryRecordsResponse]:
    """Yield the whole answer: where the server ends a long stream it is asked for what is left."""
    asked = QueryRecordsRequest()
    asked.CopyFrom(request)
    shown = 0
    while True:
        for page in client.stream(client.query.QueryRecords, asked):
            yield page
            shown += len(page.records)
            asked.page_token = page.next_page_token
        if request.max_records:
            asked.max_records = request.max_records - shown
        if not asked.page_token or (request.max_records and not asked.max_records):
            return


def _summary(client: Client, request: QueryRecordsRequest, shown: int, seq: int) -> None:
    total = shown
    if request.max_records and shown == request.max_records:
        total = client.call(client.query.CountRecords, _count_request(request, seq)).count
    if total == shown:
        console.remark(f"{console.amount(total, 'record')} as of seq {console.number(seq)}")
    else:
        part = f"{console.number(shown)} of {console.amount(total, 'record')}"
        console.remark(f"{part} as of seq {console.number(seq)}; --limit 0 shows all")


def _count_request(request: QueryRecordsRequest, seq: int) -> CountRecordsRequest:
    return CountRecordsRequest(
        school_id=request.school_id,
        kind=request.kind,
        filters=request.filters,
        effective_on=request.effective_on,
        known_at_seq=seq,
        include_tombstones=request.include_tombstones,
    )


def count(
    client: Client,
    school: School,
    kind: Kind,
    where: Where = None,
    effective_on: EffectiveOn = "",
    known_at: KnownAt = 0,
    tombstones: Tombstones = False,
) -> None:
    """Count records of one kind."""
    request = CountRecordsRequest(
        school_id=school,
        kind=questions.kind_named(kind).kind,
        filters=questions.conditions(where),
        effective_on=questions.day(effective_on),
        known_at_seq=known_at,
        include_tombstones=tombstones,
    )
    answer = client.call(client.query.CountRecords, request)
    console.out().print(console.number(answer.count) if sys.stdout.isatty() else str(answer.count))
    console.remark(f"as of seq {console.number(answer.seq)}")


def get(
    client: Client,
    school: School,
    record_id: Annotated[
        str, typer.Argument(help="Id of the record, or nothing with --key.", show_default=False)
    ] = "",
    key: Annotated[str, typer.Option(help="The MIS's key instead of the id, like bromcom/student:17.")] = "",
    kind: Annotated[str, typer.Option(help="Kind that the key belongs to.")] = "",
    merged: Annotated[
        bool, typer.Option("--merged", help="Show a merged record itself, and not the one it lives on in.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one record, live or not; of a merged one, the record that it lives on in."""
    if bool(record_id) == bool(key) or bool(key) != bool(kind):
        raise typer.BadParameter("give the record's id, or --key together with --kind")
    if key:
        reference = GetRecordRequest(
            school_id=school, source_key=questions.key_from(key), kind=questions.kind_named(kind).kind
        )
    else:
        reference = GetRecordRequest(school_id=school, record_id=record_id)
    reference.without_redirect = merged
    answer = client.call(client.query.GetRecord, reference)
    if as_json:
        write_json(answer.record)
        return
    console.out().print(_card(answer.record))
    if answer.redirected_from:
        console.remark(f"{answer.redirected_from} was merged into this record; --merged shows it as it was")


def _card(record: Record) -> Table:
    info = records.info_of(record)
    tombstone = ""
    if record.HasField("tombstone"):
        into = f", into {record.tombstone.merged_into}" if record.tombstone.merged_into else ""
        tombstone = f"{records.gone(record)} {console.moment(record.tombstone.at)}{into}"
    meta = [
        ("id", record.id),
        ("kind", info.name),
        ("keys", "  ".join(questions.key_text(key) for key in record.source_keys)),
        ("version", f"{console.number(record.version)} (seq {console.number(record.seq)})"),
        ("committed", f"{console.moment(record.committed_at)} by {record.run_id}"),
        ("because of", records.cause(record)),
        ("left", tombstone),
    ]
    return console.fields([*meta, *((name, str(value)) for name, value in records.body(record).items())])


def versions(
    client: Client,
    school: School,
    record_id: Annotated[str, typer.Argument(help="Id of the record.", show_default=False)],
    limit: Annotated[int, typer.Option(min=0, help="Most versions; 0 is all.")] = 20,
    as_json: Json = False,
) -> None:
    """List the versions of one record, newest first, with what each changed."""
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


def history(listed: list[Version], shown: int) -> Table:
    """Return a table of the first ``shown`` versions of ``listed``, which stand newest first."""
    made = console.table(
        "version", "seq", "committed", "cause", "state", "what changed", right=("version", "seq")
    )
    for index, version in enumerate(listed[:shown]):
        record = version.record
        older = listed[index + 1].record if index + 1 < len(listed) else None
        state = records.gone(record) or "live"
        if older is None:
            told = ", ".join(version.changed_fields) or "first seen"
        else:
            told = records.changes(records.info_of(record), record, older, version.changed_fields)
        if older is not None and bool(records.gone(record)) != bool(records.gone(older)):
            told = "; ".join(filter(None, ("left" if records.gone(record) else "came back", told)))
        committed, cause = console.moment(record.committed_at), records.cause(record)
        console.add_row(made, (record.version, record.seq, committed, cause, state, told))
    return made


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "query")(query)
    client_command(app, "get")(get)
    client_command(app, "count")(count)
    client_command(app, "versions")(versions)
