"""policy: what may be written to a school's MIS, and the switch that stops it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.cli import console, failures, ledger, schools
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Environment = Annotated[
    str, typer.Option(metavar="NAME", help="Whose servers it is for. Default: the server's own.")
]
Comment = Annotated[str, typer.Option(help="Why, for the audit. Name no pupil here.")]

_EVERY = "all"


class Policy(StrEnum):
    """What may be done."""

    OFF = "off"
    DRY_RUN = "dry-run"
    APPROVAL = "approval"
    ON = "on"


def operation_named(name: str) -> str:
    """Return the operation called ``name``, by the word of the commands or its own name; empty for all.

    Raises:
        typer.BadParameter: there is no such operation.
    """
    plain = name.lower()
    if plain == _EVERY:
        return ""
    found = ledger.OPERATIONS.get(plain, plain.replace("-", "_"))
    if found not in ledger.OPERATIONS.values():
        raise typer.BadParameter(
            f"no operation {name!r}; there are: {', '.join(ledger.OPERATIONS)}, {_EVERY}",
            param_hint="OPERATION",
        )
    return found


def _table(policies: Iterable[pb.OperationPolicy]) -> Table:
    made = console.table("operation", "policy", "quota a day", "set", right=("quota a day",))
    for each in policies:
        word = console.word(pb.WritePolicy, each.policy).replace(" ", "-")
        quota = each.daily_quota or console.NOTHING
        by = f"{console.moment(each.set_at)} by {each.set_by}" if each.set_by else ""
        style = "dim" if each.policy == pb.WRITE_POLICY_OFF else None
        console.add_row(made, (each.operation, word, quota, by), style)
    return made


def get(client: Client, school: School, environment: Environment = "") -> None:
    """Show what may be written to a school's MIS."""
    request = pb.GetWritePolicyRequest(school_id=school, environment=environment)
    answer = client.call(client.writeback.GetWritePolicy, request)
    console.out().print(_table(answer.policies))
    console.remark(f"of servers whose environment is {answer.environment}")


def set_policy(
    client: Client,
    school: School,
    operation: Annotated[
        str,
        typer.Argument(
            metavar="OPERATION",
            help="As in `schoolgate write`, or its whole name, or all.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        Policy, typer.Argument(metavar="POLICY", help="off, dry-run, approval or on.", show_default=False)
    ],
    quota: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most writes in 24 hours, per operation; 0 means no limit. Without it what there was."
        ),
    ] = None,
    environment: Environment = "",
    comment: Comment = "",
) -> None:
    """Say what may be done with writes of one operation, or of all."""
    request = pb.SetWritePolicyRequest(
        school_id=school,
        operation=operation_named(operation),
        policy=pb.WritePolicy.Value(f"WRITE_POLICY_{policy.name}"),
        daily_quota=quota,
        environment=environment,
        comment=comment,
        request_id=str(uuid.uuid4()),
    )
    answer = client.call(client.writeback.SetWritePolicy, request)
    console.out().print(_table(answer.policies))
    console.remark(
        f"of servers whose environment is {answer.environment}; {console.number(answer.queued)} queued, "
        f"{console.number(answer.in_flight)} in flight"
    )


def stop(
    client: Client,
    school: Annotated[
        str, typer.Argument(help="Id of the school, or nothing with --all-schools.", show_default=False)
    ] = "",
    all_schools: Annotated[
        bool, typer.Option("--all-schools", help="Every school that the caller may act for.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what is queued; else it waits for another policy.")
    ] = False,
    environment: Environment = "",
    comment: Comment = "",
) -> None:
    """Stop all writing, at once, and show what had left already."""
    if bool(school) == all_schools:
        raise typer.BadParameter("give the school, or --all-schools")
    numbers = ("queued", "in flight", "cancelled")
    made = console.table("school", *numbers, right=numbers)
    failed: list[str] = []
    in_flight = 0
    # All are listed before the first is stopped: no page may be missed once it has begun.
    chosen = [each.school_id for each in schools.all_schools(client)] if all_schools else [school]
    for school_id in chosen:
        request = pb.SetWritePolicyRequest(
            school_id=school_id,
            policy=pb.WRITE_POLICY_OFF,
            cancel_queued=cancel,
            environment=environment,
            comment=comment,
            request_id=str(uuid.uuid4()),
        )
        try:
            answer = client.call(client.writeback.SetWritePolicy, request)
        except failures.CallFailed as failure:
            if not all_schools:
                raise
            # The others are to be stopped all the same.
            failures.show(failure)
            failed.append(school_id)
            continue
        in_flight += answer.in_flight
        console.add_row(made, (school_id, answer.queued, answer.in_flight, answer.cancelled))
    console.out().print(made)
    if in_flight:
        console.remark(
            "what is in flight has left or may have: `schoolgate writes watch` tells what became of it"
        )
    if failed:
        raise failures.CommandFailed(f"not stopped: {', '.join(failed)}", "see above why, and try again")


def register(app: typer.Typer) -> None:
    """Add the group ``policy`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Say what may be written to schools' MISs, and stop it.")
    client_command(group, "get")(get)
    client_command(group, "set")(set_policy)
    client_command(group, "stop")(stop)
    app.add_typer(group, name="policy")
