"""query, count and get: reading the canonical copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from rich.table import Table

from schoolgate.v1.query_service_pb2 import (
    CountRecordsRequest,
    CountRecordsResponse,
    GetRecordRequest,
    GroupingPeriod,
    QueryRecordsRequest,
    QueryRecordsResponse,
)
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk.kinds import KindInfo
from schoolgate_server.cli import console, questions, records
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Kind = Annotated[str, typer.Argument(help="Kind of record, for example student.", show_default=False)]
Where = Annotated[list[str] | None, typer.Option(metavar="CONDITION", help=questions.WHERE_HELP)]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="RECORD", help="Only this record, by any of its ids. May be repeated."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", help="Only the record with this key of the MIS, like bromcom/student:17. May be repeated."
    ),
]
EffectiveOn = Annotated[
    str, typer.Option(metavar="DAY", help="Only what is valid on this day; today is a day.")
]
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
    ids: Ids = None,
    keys: Keys = None,
    fields: Annotated[
        str, typer.Option(metavar="A,B,C", help="Only these fields: columns of the table, or of the JSON.")
    ] = "",
    order_by: Annotated[
        str,
        typer.Option(
            metavar="A,-B", help="Fields to order by; a minus is for the greatest first. Default: ids."
        ),
    ] = "",
    effective_on: EffectiveOn = "",
    known_at: questions.KnownAt = "",
    tombstones: Tombstones = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Most records; 0 is all. Default: 50 in a table, all as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find records of one kind, all of one instant."""
    info = questions.kind_named(kind)
    wanted = questions.fields_of(info, fields)
    shown = wanted if as_json else records.columns(info, wanted)
    request = QueryRecordsRequest(
        school_id=school,
        kind=info.kind,
        filters=questions.conditions(where),
        ids=ids or (),
        source_keys=map(questions.key_from, keys or ()),
        order_by=questions.orders(order_by),
        field_mask=FieldMask(paths=shown),
        effective_on=questions.day(effective_on),
        include_tombstones=tombstones,
        max_records=limit if limit is not None else (0 if as_json else _TABLE_LIMIT),
    )
    questions.ask_as_known_at(request, known_at)
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
    _show(found, info, shown)
    _summary(client, request, len(found), seq)


def _show(found: Sequence[Record], info: KindInfo, shown: Sequence[str]) -> None:
    if not found:
        return
    printer = console.out()
    listing, hidden = records.listing(found, info, shown, printer.width)
    printer.print(listing)
    if hidden:
        console.remark(f"{console.does_not_fit(hidden)}: --fields chooses, --json has everything")


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
        ids=request.ids,
        source_keys=request.source_keys,
        effective_on=request.effective_on,
        known_at_seq=seq,
        include_tombstones=request.include_tombstones,
    )


def count(  # noqa: PLR0913, PLR0917 - one parameter per argument and option
    client: Client,
    school: School,
    kind: Kind,
    where: Where = None,
    ids: Ids = None,
    keys: Keys = None,
    group_by: Annotated[
        str,
        typer.Option(metavar="A,B", help="Count apart by these fields; of dates, date:week or date:month."),
    ] = "",
    effective_on: EffectiveOn = "",
    known_at: questions.KnownAt = "",
    tombstones: Tombstones = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")] = False,
) -> None:
    """Count records of one kind, together or apart by what their fields say."""
    info = questions.kind_named(kind)
    request = CountRecordsRequest(
        school_id=school,
        kind=info.kind,
        filters=questions.conditions(where),
        ids=ids or (),
        source_keys=map(questions.key_from, keys or ()),
        group_by=questions.groupings(group_by),
        effective_on=questions.day(effective_on),
        include_tombstones=tombstones,
    )
    questions.ask_as_known_at(request, known_at)
    answer = client.call(client.query.CountRecords, request)
    if as_json:
        write_json(answer)
        return
    total = console.number(answer.count) if sys.stdout.isatty() else str(answer.count)
    told = f"as of seq {console.number(answer.seq)}"
    if request.group_by:
        console.out().print(_groups(info, request, answer))
        told = f"{console.amount(answer.count, 'record')} {told}"
    else:
        console.out().print(total)
    console.remark(told)


def _groups(info: KindInfo, request: CountRecordsRequest, answer: CountRecordsResponse) -> Table:
    heads: list[str] = []
    for grouping in request.group_by:
        period = GroupingPeriod.Name(grouping.period).removeprefix("GROUPING_PERIOD_").lower()
        heads.append(f"{grouping.field} ({period} of)" if grouping.period else grouping.field)
    made = console.table(*heads, "records", right=("records",), whole=heads)
    fields = [grouping.field for grouping in request.group_by]
    for group in answer.groups:
        values = [value.text if value.HasField("text") else None for value in group.values]
        cells = [
            records.cell(info, field, value) if value else console.NOTHING
            for field, value in zip(fields, values, strict=True)
        ]
        console.add_row(made, [*cells, group.count])
    return made


def get(  # noqa: PLR0913, PLR0917 - one parameter per argument and option
    client: Client,
    school: School,
    record_id: Annotated[
        str, typer.Argument(help="Id of the record, or nothing with --key.", show_default=False)
    ] = "",
    key: Annotated[str, typer.Option(help="The MIS's key instead of the id, like bromcom/student:17.")] = "",
    kind: Annotated[str, typer.Option(help="Kind that the key belongs to.")] = "",
    fields: Annotated[str, typer.Option(metavar="A,B,C", help="Only these fields.")] = "",
    known_at: questions.KnownAt = "",
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
    reference.field_mask.paths.extend(questions.names(fields))
    questions.ask_as_known_at(reference, known_at)
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


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "query")(query)
    client_command(app, "get")(get)
    client_command(app, "count")(count)
