"""compare-parsers and promote-parser: what another version makes of the rows read last, and its use."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from rich.table import Table

from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1.diagnostics_service_pb2 import (
    CompareParsersRequest,
    CompareParsersResponse,
    FieldDifference,
)
from schoolgate.v1.school_service_pb2 import GetSchoolRequest, UpdateSchoolRequest
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.cli import console, questions, records
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.query import write_json

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
DatasetName = Annotated[str, typer.Argument(help="Dataset whose parser it is.", show_default=False)]

_TIMEOUT = 600.0
"""Seconds. A year of a secondary's session marks takes a minute or two."""

_WIDTH_WITH_IDS = 100
"""Columns from which on there is room for ids of records; --json has them anyhow."""


def compare_parsers(
    client: Client,
    school: School,
    dataset: DatasetName,
    to: Annotated[int, typer.Option("--to", min=1, help="The version in question.", show_default=False)],
    before: Annotated[
        int, typer.Option("--from", min=0, help="The version to compare with; 0 is the one in use.")
    ] = 0,
    examples: Annotated[int, typer.Option(min=1, max=100, help="Most record ids per difference.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Write the answer as JSON.")] = False,
) -> None:
    """Compare two versions of a parser over the rows that were read last; writes nothing and asks no MIS."""
    request = CompareParsersRequest(
        school_id=school, dataset=dataset, from_version=before, to_version=to, examples=examples
    )
    answer = client.call(client.diagnostics.CompareParsers, request, timeout=_TIMEOUT)
    if as_json:
        write_json(answer)
        return
    printer = console.out()
    printer.print(_summary(answer))
    if answer.differences:
        printer.print()
        printer.print(_differences(answer, ids=printer.width >= _WIDTH_WITH_IDS))
    version = answer.to_version
    if answer.differing or answer.only_before or answer.only_after:
        console.remark(f"`schoolgate promote-parser {school} {dataset} --to {version}` puts it to use")
    else:
        console.remark(f"nothing would change with version {version}")


def promote_parser(
    client: Client,
    school: School,
    dataset: DatasetName,
    to: Annotated[int, typer.Option("--to", min=0, help="The version; 0 is the connector's default.")],
) -> None:
    """Hold a school at a version of a dataset's parser; its next sync reads the retained rows anew."""
    present = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school)).school
    # The etag: versions that somebody else gave meanwhile are not to be lost.
    changed = schools.School(
        school_id=school, etag=present.etag, parser_versions=dict(present.parser_versions)
    )
    changed.parser_versions.pop(dataset, None)
    if to:
        changed.parser_versions[dataset] = to
    request = UpdateSchoolRequest(
        school=changed, update_mask=FieldMask(paths=["parser_versions"]), request_id=str(uuid.uuid4())
    )
    answer = client.call(client.schools.UpdateSchool, request).school
    held = ", ".join(f"{name} {version}" for name, version in sorted(answer.parser_versions.items()))
    console.out().print(console.clean(f"parser versions: {held or 'the defaults of the connector'}"))


def _summary(answer: CompareParsersResponse) -> Table:
    old, new = answer.from_version, answer.to_version
    rejected = [
        f"{console.number(count)} by version {version} alone"
        for version, count in ((old, answer.rejected_only_before), (new, answer.rejected_only_after))
        if count
    ]
    only = [
        f"{console.number(count)} by version {version} alone"
        for version, count in ((old, answer.only_before), (new, answer.only_after))
        if count
    ]
    return console.fields(
        [
            ("versions", f"{old} → {new}"),
            ("rows", f"{console.number(answer.rows)}, read by {answer.run_id}"),
            ("records", f"{console.number(answer.same)} alike, {console.number(answer.differing)} different"),
            ("yielded", ", ".join(only)),
            ("rejected", ", ".join(rejected)),
        ]
    )


def _differences(answer: CompareParsersResponse, *, ids: bool) -> Table:
    heads = ["field", "records", f"version {answer.from_version}", f"version {answer.to_version}"]
    if ids:
        heads.append("for example")
    made = console.table(*heads, right=("records",), whole=("for example",))
    for difference in answer.differences:
        name = f"{questions.kind_name(difference.kind)}.{difference.field}"
        for values in difference.values:
            old, new = (_value(difference, value) for value in (values.before, values.after))
            first, *others = values.record_ids or [""]
            console.add_row(made, (name, values.count, old, new, first)[: len(heads)])
            for record_id in others if ids else ():
                console.add_row(made, ("", "", "", "", record_id))
            name = ""
        told = sum(values.count for values in difference.values)
        if told < difference.count:
            console.add_row(made, (name, difference.count - told, "others"), style="dim")
    return made


def _value(difference: FieldDifference, text: str) -> str:
    return records.cell(KINDS[difference.kind], difference.field, text) if text else console.NOTHING


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "compare-parsers")(compare_parsers)
    client_command(app, "promote-parser")(promote_parser)
