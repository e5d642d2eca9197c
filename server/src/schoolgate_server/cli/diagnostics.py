"""decisions and connectors: why the copy is as it is, and what this server can read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.diagnostics_service_pb2 import (
    ConnectorInfo,
    Decision,
    DecisionReason,
    ListConnectorsRequest,
    ListDecisionsRequest,
    WriteSafety,
)
from schoolgate_server.cli import console, questions
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.failures import CommandFailed

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]


def _all_decisions(client: Client, school: str, dataset: str) -> Iterator[Decision]:
    token = ""
    while True:
        request = ListDecisionsRequest(school_id=school, dataset=dataset, page_size=1000, page_token=token)
        answer = client.call(client.diagnostics.ListDecisions, request)
        yield from answer.decisions
        token = answer.next_page_token
        if not token:
            return


def decisions(
    client: Client,
    school: School,
    dataset: Annotated[str, typer.Option(help="Only this dataset.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Most decisions; 0 is all.")] = 50,
) -> None:
    """List source rows that were not taken over as they came, and why; newest first."""
    found = list(itertools.islice(_all_decisions(client, school, dataset), (limit + 1) if limit else None))
    if not found:
        console.remark("no decisions: every row was taken over as it came")
        return
    shown = found[:limit] if limit else found
    made = console.table("first seen", "dataset", "reason", "key", "what", whole=("dataset", "reason"))
    for decision in shown:
        reason = DecisionReason.Name(decision.reason).removeprefix("DECISION_REASON_")
        key = questions.key_text(decision.source_key) if decision.HasField("source_key") else ""
        what = f"{decision.field}: {decision.detail}" if decision.field else decision.detail
        seen = console.moment(decision.first_seen_at)[5:16]
        console.add_row(made, (seen, decision.dataset, reason, key, what))
    console.out().print(made)
    if len(found) > len(shown):
        console.remark(f"the newest {console.number(len(shown))}; --limit 0 shows all")


def connectors(
    client: Client,
    name: Annotated[str, typer.Argument(help="Show everything about this one.", show_default=False)] = "",
) -> None:
    """List the server's connectors, those that could not be loaded included."""
    listed = client.call(client.diagnostics.ListConnectors, ListConnectorsRequest()).connectors
    if not name:
        made = console.table("connector", "version", "state", "datasets")
        for info in listed:
            state = "loaded" if info.loaded else f"not loaded: {info.load_error}"
            datasets = ", ".join(dataset.name for dataset in info.datasets)
            console.add_row(
                made, (info.name, info.version, state, datasets), None if info.loaded else "yellow"
            )
        console.out().print(made)
        return
    found = next((info for info in listed if info.name == name), None)
    if found is None:
        raise CommandFailed(f"this server has no connector {name!r}", "`schoolgate connectors` lists them")
    _describe(found)


def _describe(info: ConnectorInfo) -> None:
    printer = console.out()
    state = "loaded" if info.loaded else f"not loaded: {info.load_error}"
    pairs = [
        ("connector", info.name),
        ("is", info.display_name),
        ("version", info.version),
        ("state", state),
        ("offers", ", ".join(info.capabilities)),
    ]
    printer.print(console.fields(pairs))
    for title, listed in (("setting", info.settings), ("credential", info.credentials)):
        if not listed:
            continue
        made = console.table(title, "required", "default", "what it is")
        for field in listed:
            note = "; a change drops the stored credentials" if field.endpoint else ""
            required = "yes" if field.required else ""
            console.add_row(made, (field.name, required, field.default_value, field.description + note))
        printer.print()
        printer.print(made)
    if info.datasets:
        made = console.table("dataset", "kinds", "entities at the MIS", "parser", whole=("parser",))
        for dataset in info.datasets:
            kinds = ", ".join(questions.kind_name(kind) for kind in dataset.kinds)
            parser = str(dataset.parser_version)
            if len(dataset.parser_versions) > 1:
                parser += f" of {', '.join(map(str, dataset.parser_versions))}"
            console.add_row(made, (dataset.name, kinds, ", ".join(dataset.entities), parser))
        printer.print()
        printer.print(made)
    if info.writes:
        printer.print()
        printer.print(_writes(info))
        console.remark("values in brackets may be left out; a dry run shows what would be sent")


def _writes(info: ConnectorInfo) -> Table:
    """Return what a connector can write; the values come last, since they may be broken into lines."""
    of_kinds = any(operation.kinds for operation in info.writes)
    heads = ["operation", "safety", "dry run", *(["of"] if of_kinds else []), "values"]
    made = console.table(*heads, whole=("dry run",))
    for operation in info.writes:
        values = [*operation.required, *(f"[{name}]" for name in operation.optional)]
        cells = [
            operation.name,
            console.word(WriteSafety, operation.safety),
            "yes" if operation.announces else "no",
            *([", ".join(map(questions.kind_name, operation.kinds))] if of_kinds else []),
            ", ".join(values),
        ]
        console.add_row(made, cells)
    return made


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "decisions")(decisions)
    client_command(app, "connectors")(connectors)
