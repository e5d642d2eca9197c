"""writes: looking at what was written to a MIS, and deciding about it."""

from __future__ import annotations

import itertools
import sys
import uuid
from collections.abc import Iterator
from typing import Annotated

import typer

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.cli import console, ledger, write
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.query import write_json

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
WriteId = Annotated[str, typer.Argument(metavar="WRITE", help="Id of the write.", show_default=False)]
Comment = Annotated[str, typer.Option(help="Why, for the audit. Name no pupil here.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]

_PAGE = 500
_OUTCOMES = "--took-effect / --send-again / --give-up"
_STATES = {
    name.removeprefix("WRITE_STATE_").lower().replace("_", "-"): value
    for name, value in pb.WriteState.items()
    if value
}


def state_named(name: str) -> pb.WriteState.ValueType:
    """Return the state called ``name``, for example "needs-attention".

    Raises:
        typer.BadParameter: there is no such state.
    """
    found = _STATES.get(name.lower().replace("_", "-"))
    if found is None:
        raise typer.BadParameter(
            f"no state {name!r}; the states are: {', '.join(_STATES)}", param_hint="--state"
        )
    return found


def _all_writes(client: Client, request: pb.ListWritesRequest) -> Iterator[pb.Write]:
    while True:
        answer = client.call(client.writeback.ListWrites, request)
        yield from answer.writes
        request.page_token = answer.next_page_token
        if not request.page_token:
            return


def list_writes(  # noqa: PLR0913, PLR0917 - one parameter per argument and option
    client: Client,
    school: School,
    mis_id: Annotated[
        str, typer.Option(metavar="ID", help="Only what made the entity with this MIS id.")
    ] = "",
    record: Annotated[str, typer.Option(metavar="RECORD", help="Only what made this record.")] = "",
    student: Annotated[str, typer.Option(metavar="RECORD", help="Only what is about this pupil.")] = "",
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state, like needs-attention; may be repeated.")
    ] = None,
    key: Annotated[str, typer.Option(help="Only what has this idempotency key.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Most writes; 0 is all.")] = 50,
    as_json: Json = False,
) -> None:
    """List writes, newest first."""
    request = pb.ListWritesRequest(
        school_id=school,
        states=sorted({state_named(name) for name in state or ()}),
        page_size=min(limit + 1, _PAGE) if limit else _PAGE,
        mis_id=mis_id,
        record_id=record,
        student_id=student,
        idempotency_key=key,
    )
    found = list(itertools.islice(_all_writes(client, request), (limit + 1) if limit else None))
    shown = found[:limit] if limit else found
    if as_json:
        for one in shown:
            write_json(one)
        return
    if not found:
        narrowed = any((state, mis_id, record, student, key))
        console.remark("no such writes" if narrowed else "no writes yet; `schoolgate write` makes one")
        return
    printer = console.out()
    made, hidden = ledger.listing(shown, printer.width)
    printer.print(made)
    if hidden:
        console.remark(f"{console.does_not_fit(hidden)}: `writes get` and --json have everything")
    if len(found) > len(shown):
        console.remark(f"the newest {console.number(len(shown))}; --limit 0 shows all")


def get(client: Client, school: School, write_id: WriteId, as_json: Json = False) -> None:
    """Show one write: what it is, who asked for it, what was sent, and what the MIS answered."""
    request = pb.GetWriteRequest(school_id=school, write_id=write_id)
    found = client.call(client.writeback.GetWrite, request).write
    if as_json:
        write_json(found)
        return
    printer = console.out()
    printer.print(ledger.card(found))
    for part in ledger.attempts(found):
        printer.print(part)


def watch(
    client: Client,
    school: School,
    once: Annotated[bool, typer.Option("--once", help="End after those that are under way.")] = False,
    as_json: Json = False,
) -> None:
    """Follow a school's writes, one line whenever one changes, until interrupted."""
    request = pb.WatchWritesRequest(school_id=school)
    for response in client.stream(client.writeback.WatchWrites, request):
        if as_json:
            write_json(response)
        elif response.HasField("write"):
            console.out().print(ledger.line(response.write), soft_wrap=True)
        sys.stdout.flush()
        if once and response.caught_up:
            return


def approve(client: Client, school: School, write_id: WriteId, comment: Comment = "") -> None:
    """Approve a write that waits for a second person; whoever submitted it cannot."""
    request = pb.ApproveWriteRequest(
        school_id=school, write_id=write_id, comment=comment, request_id=str(uuid.uuid4())
    )
    made = client.call(client.writeback.ApproveWrite, request).write
    console.out().print(console.clean(f"{made.write_id} approved: {ledger.status_of(made)}"))


def cancel(client: Client, school: School, write_id: WriteId, comment: Comment = "") -> None:
    """Cancel a write that has not been sent."""
    request = pb.CancelWriteRequest(
        school_id=school, write_id=write_id, comment=comment, request_id=str(uuid.uuid4())
    )
    made = client.call(client.writeback.CancelWrite, request).write
    console.out().print(console.clean(f"{made.write_id} cancelled"))


def reverse(
    client: Client, school: School, write_id: WriteId, comment: Comment = "", wait: write.Wait = False
) -> None:
    """Undo a write that took effect: by another write, or by a task for a person."""
    request = pb.ReverseWriteRequest(
        school_id=school, write_id=write_id, comment=comment, request_id=str(uuid.uuid4())
    )
    made = client.call(client.writeback.ReverseWrite, request).write
    console.out().print(ledger.card(made))
    if made.task:
        console.remark(
            f"next: do the task, then schoolgate writes resolve {school} {made.write_id} --took-effect"
        )
    elif wait:
        write.wait_for(client, made)
    else:
        console.remark(f"next: schoolgate writes get {school} {made.write_id}")


def resolve(
    client: Client,
    school: School,
    write_id: WriteId,
    took_effect: Annotated[
        bool, typer.Option("--took-effect", help="The MIS has it; or the task is done.")
    ] = False,
    send_again: Annotated[
        bool, typer.Option("--send-again", help="The MIS does not have it, and it may be sent again.")
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="The MIS does not have it, and it is not sent any more.")
    ] = False,
    mis_id: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="The MIS's id of what came to be; may be repeated.")
    ] = None,
    comment: Comment = "",
) -> None:
    """Settle a write that needs attention, or a task, after looking into the MIS."""
    if took_effect + send_again + give_up != 1:
        raise typer.BadParameter("give exactly one of the three", param_hint=_OUTCOMES)
    outcomes = pb.ResolveWriteRequest
    outcome = (
        outcomes.OUTCOME_TOOK_EFFECT
        if took_effect
        else (outcomes.OUTCOME_NO_EFFECT_SEND_AGAIN if send_again else outcomes.OUTCOME_NO_EFFECT_GIVE_UP)
    )
    request = pb.ResolveWriteRequest(
        school_id=school,
        write_id=write_id,
        outcome=outcome,
        mis_ids=mis_id or (),
        comment=comment,
        request_id=str(uuid.uuid4()),
    )
    made = client.call(client.writeback.ResolveWrite, request).write
    console.out().print(console.clean(f"{made.write_id} settled: {ledger.status_of(made)}"))


def register(app: typer.Typer) -> None:
    """Add the group ``writes`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Look at what was written to MISs, and decide about it.")
    client_command(group, "list")(list_writes)
    client_command(group, "get")(get)
    client_command(group, "watch")(watch)
    client_command(group, "approve")(approve)
    client_command(group, "cancel")(cancel)
    client_command(group, "reverse")(reverse)
    client_command(group, "resolve")(resolve)
    app.add_typer(group, name="writes")
