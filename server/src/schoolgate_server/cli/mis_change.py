"""mis-change plan, show and apply: a school moves to another MIS, and its records keep their ids."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.identity_service_pb2 import (
    ApplyMisChangeRequest,
    GetMisChangePlanRequest,
    KindMatch,
    MisChangePlan,
    PlanMisChangeRequest,
)
from schoolgate_sdk import KINDS
from schoolgate_server.cli import console, runs, schools, secrets_input
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]

_NUMBERS = ("live", "found", "matched", "ambiguous", "created", "left over")


def _kind(kind: KindMatch) -> str:
    info = KINDS.get(kind.kind)
    return str(kind.kind) if info is None else info.name


def _preview(kinds: Iterable[KindMatch]) -> Table:
    made = console.table("kind", *_NUMBERS, right=_NUMBERS)
    for kind in kinds:
        numbers = (kind.live, kind.found, kind.matched, kind.ambiguous, kind.created, kind.left_over)
        console.add_row(made, (_kind(kind), *numbers), "yellow" if kind.ambiguous else None)
    return made


def _told(kinds: Sequence[KindMatch]) -> Table:
    # Below the numbers, because a column of sentences would break every row into lines.
    pairs = [(_kind(kind), kind.evidence) for kind in kinds]
    return console.fields((name, console.clean(evidence)) for name, evidence in pairs)


def _show(client: Client, school: str, *, examples: bool) -> MisChangePlan:
    request = GetMisChangePlanRequest(school_id=school)
    plan = client.call(client.identity.GetMisChangePlan, request).plan
    printer = console.out()
    printer.print(
        console.fields(
            [
                ("school", plan.school_id),
                ("to", plan.connector),
                ("made", console.moment(plan.created_at)),
                ("run", plan.run_id),
                ("seq", console.number(plan.seq)),
                ("digest", plan.digest),
            ]
        )
    )
    printer.print()
    printer.print(_preview(plan.kinds))
    printer.print()
    printer.print("told apart by")
    printer.print(_told(plan.kinds))
    if examples:
        for kind in plan.kinds:
            for record_id in kind.examples:
                printer.print(console.clean(f"{record_id} fits nobody, or more than one"), style="yellow")
    return plan


def plan(
    client: Client,
    school: School,
    connector: Annotated[str, typer.Option(help="Which connector reads the other MIS.", show_default=False)],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="What the connector needs; `schoolgate connectors NAME` lists it."
        ),
    ] = None,
    credentials_file: schools.CredentialsFile = None,
) -> None:
    """Read another MIS and show which of its entities are which of the school's records. Nothing changes."""
    wanted = schools.connector_info(client, connector).credentials
    request = PlanMisChangeRequest(
        school_id=school,
        connector=connector,
        settings=schools.settings_of(setting),
        credentials=secrets_input.gather(credentials_file, wanted, required=True),
        request_id=str(uuid.uuid4()),
    )
    runs.follow(client, school, client.call(client.identity.PlanMisChange, request).run.run_id)
    made = _show(client, school, examples=False)
    console.remark(f"next: schoolgate mis-change apply {school} --digest {made.digest}")


def show(client: Client, school: School) -> None:
    """Show the school's latest plan, with some of the records that fit nobody."""
    _show(client, school, examples=True)


def apply(
    client: Client,
    school: School,
    digest: Annotated[str, typer.Option(help="Names the plan, as `show` shows it.", show_default=False)],
    comment: Annotated[str, typer.Option(help="Why, for the audit. Name no pupil here.")] = "",
) -> None:
    """Move the school to the other MIS exactly as planned. A sync must not have come between."""
    request = ApplyMisChangeRequest(
        school_id=school, digest=digest, comment=comment, request_id=str(uuid.uuid4())
    )
    runs.follow(client, school, client.call(client.identity.ApplyMisChange, request).run.run_id)
    console.remark(f"next: schoolgate sync {school}, then schoolgate holds {school}")


def register(app: typer.Typer) -> None:
    """Add the group ``mis-change`` to ``app``."""
    group = typer.Typer(
        no_args_is_help=True, help="Move a school to another MIS; its records keep their ids."
    )
    client_command(group, "plan")(plan)
    client_command(group, "show")(show)
    client_command(group, "apply")(apply)
    app.add_typer(group, name="mis-change")
