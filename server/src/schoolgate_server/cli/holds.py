"""holds and resolve-hold: change sets that look wrong, and an operator's word about them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.sync_service_pb2 import Hold, ListHoldsRequest, ResolveHoldRequest
from schoolgate_server.cli import console, records
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
HoldId = Annotated[str, typer.Argument(metavar="HOLD", help="Id of the hold.", show_default=False)]

_DECISIONS = "--approve / --discard"


def _all_holds(client: Client, school: str) -> Iterator[Hold]:
    token = ""
    while True:
        request = ListHoldsRequest(school_id=school, page_size=1000, page_token=token)
        answer = client.call(client.sync.ListHolds, request)
        yield from answer.holds
        token = answer.next_page_token
        if not token:
            return


def _card(hold: Hold) -> Table:
    # One below the other, because the digest is to be copied, and would be broken in a column of a table.
    approved = f"{console.moment(hold.approved_at)} by {hold.approved_by}" if _is_approved(hold) else "no"
    return console.fields(
        [
            ("hold", hold.hold_id),
            ("dataset", hold.dataset),
            ("deletions", console.number(hold.tombstones)),
            ("updates", console.number(hold.updates)),
            ("live", console.number(hold.live_records)),
            ("since", console.moment(hold.created_at)),
            ("run", hold.run_id),
            ("approved", approved),
            ("because", hold.explanation),
            ("digest", hold.digest),
        ]
    )


def _is_approved(hold: Hold) -> bool:
    return hold.HasField("approved_at")


def holds(
    client: Client,
    school: School,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line instead of a list for people.")
    ] = False,
) -> None:
    """List changes that look wrong and wait for an operator's word, newest first."""
    if as_json:
        for hold in _all_holds(client, school):
            sys.stdout.write(json.dumps(records.as_json(hold), ensure_ascii=False) + "\n")
        return
    found = list(_all_holds(client, school))
    if not found:
        console.remark("nothing is held")
        return
    printer = console.out()
    for index, hold in enumerate(found):
        if index:
            printer.print()
        printer.print(_card(hold))
    if all(_is_approved(hold) for hold in found):
        console.remark(f"next: schoolgate sync {school}")
    else:
        console.remark(
            f"next: schoolgate resolve-hold {school} HOLD --digest DIGEST --approve (or --discard)"
        )


def _resolution(*, approve: bool, discard: bool) -> ResolveHoldRequest.Resolution.ValueType:
    if approve == discard:
        raise typer.BadParameter("give exactly one of the two", param_hint=_DECISIONS)
    if approve:
        return ResolveHoldRequest.RESOLUTION_APPROVE
    return ResolveHoldRequest.RESOLUTION_DISCARD


def resolve_hold(
    client: Client,
    school: School,
    hold_id: HoldId,
    digest: Annotated[
        str,
        typer.Option(help="Names the change set, as `holds` shows it.", show_default=False),
    ],
    approve: Annotated[
        bool, typer.Option("--approve", help="Let the next run apply exactly this change set.")
    ] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Forget it; the next run decides anew.")] = False,
    comment: Annotated[str, typer.Option(help="Why, for the audit. Name no pupil here.")] = "",
) -> None:
    """Approve or discard exactly the change set whose digest is given."""
    request = ResolveHoldRequest(
        school_id=school,
        hold_id=hold_id,
        digest=digest,
        resolution=_resolution(approve=approve, discard=discard),
        comment=comment,
        request_id=str(uuid.uuid4()),
    )
    hold = client.call(client.sync.ResolveHold, request).hold
    console.out().print(console.clean(f"{hold.hold_id} {'approved' if approve else 'discarded'}"))
    if approve:
        console.remark(f"next: schoolgate sync {school}, which applies it if it finds just that again")
    else:
        console.remark("the next run decides anew, and holds it again if it still looks wrong")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "holds")(holds)
    client_command(app, "resolve-hold")(resolve_hold)
