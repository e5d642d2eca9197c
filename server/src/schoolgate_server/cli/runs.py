"""sync, notify, runs and run: starting, following and looking back at runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.sync_service_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    NotifyChangeRequest,
    Run,
    RunState,
    StartSyncRequest,
    SyncLayer,
    WatchRunRequest,
)
from schoolgate_server.cli import console, progress
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.questions import key_from, kind_named

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Detach = Annotated[bool, typer.Option("--detach", help="Start the run and do not wait for its end.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)]


def states(client: Client, school: str, run_id: str) -> Iterator[Run]:
    """Yield the states of a run until its final one."""
    request = WatchRunRequest(school_id=school, run_id=run_id)
    for response in client.stream(client.sync.WatchRun, request):
        yield response.run


class Layer(StrEnum):
    """Layers that can be asked for."""

    FULL = "full"
    WINDOW = "window"
    CHANGES = "changes"
    REPROJECTION = "reprojection"


def start(
    client: Client,
    school: str,
    datasets: list[str] | None = None,
    layer: Layer = Layer.FULL,
    window: tuple[str, str] = ("", ""),
) -> Run:
    """Start a run and return it as accepted; ``window`` holds ISO dates, half-open."""
    request = StartSyncRequest(
        school_id=school,
        datasets=datasets or (),
        request_id=str(uuid.uuid4()),
        layer=SyncLayer.Value(f"SYNC_LAYER_{layer.name}"),
        date_from=window[0],
        date_to=window[1],
    )
    return client.call(client.sync.StartSync, request).run


def _report(run: Run) -> None:
    printer = console.out()
    printer.print(f"{run.run_id} {progress.summary(run)}")
    if run.HasField("quiet_until"):
        until = console.moment(run.quiet_until)
        printer.print(f"it began in the school's quiet hours, which last until {until}", style="dim")
    for line in progress.fallbacks(run):
        printer.print(line, style="dim")
    for line in progress.complaints(run):
        printer.print(line, style="yellow")
    if run.state != RunState.RUN_STATE_SUCCEEDED:
        raise typer.Exit(1)


def follow(client: Client, school: str, run_id: str) -> None:
    """Show a run to its end, and raise ``typer.Exit`` unless it succeeded."""
    try:
        last = progress.follow(console.out(), states(client, school, run_id))
    except KeyboardInterrupt:
        console.remark(f"the run goes on; schoolgate run {school} {run_id} --watch, or --cancel")
        raise typer.Exit(130) from None
    _report(last)


def sync(
    client: Client,
    school: School,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this dataset; may be repeated.")] = None,
    layer: Annotated[
        Layer | None, typer.Option(help="How much to read; without it full, with days a window.")
    ] = None,
    date_from: Annotated[
        str, typer.Option("--from", metavar="DAY", help="First day of the window, YYYY-MM-DD.")
    ] = "",
    date_to: Annotated[
        str, typer.Option("--to", metavar="DAY", help="First day after the window, YYYY-MM-DD.")
    ] = "",
    detach: Detach = False,
) -> None:
    """Read a school's MIS and follow the run. Exit status 0 when every dataset succeeded."""
    chosen = layer or (Layer.WINDOW if date_from or date_to else Layer.FULL)
    _see(client, start(client, school, dataset, chosen, (date_from, date_to)), detach=detach)


def notify(
    client: Client,
    school: School,
    kind: Annotated[str, typer.Argument(help="Kind of what changed, for example student.")],
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="What changed, for example bromcom/student:17."),
    ] = None,
    detach: Detach = False,
) -> None:
    """Say that something changed in the MIS, and follow the run that reads it again.

    Without a KEY the kind as a whole is read. What is said while a run is at work is read after it, together.
    """
    request = NotifyChangeRequest(
        school_id=school,
        kind=kind_named(kind).kind,
        source_keys=[key_from(key) for key in keys or ()],
        request_id=str(uuid.uuid4()),
    )
    _see(client, client.call(client.sync.NotifyChange, request).run, detach=detach)


def _see(client: Client, run: Run, *, detach: bool) -> None:
    if detach:
        console.out().print(run.run_id)
        return
    follow(client, run.school_id, run.run_id)


def run(
    client: Client,
    school: School,
    run_id: RunId,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Ask the run to stop; what it committed stays.")
    ] = False,
) -> None:
    """Show one run, dataset by dataset."""
    if cancel:
        request = CancelRunRequest(school_id=school, run_id=run_id, request_id=str(uuid.uuid4()))
        client.call(client.sync.CancelRun, request)
    if watch:
        follow(client, school, run_id)
        return
    found = client.call(client.sync.GetRun, GetRunRequest(school_id=school, run_id=run_id)).run
    printer = console.out()
    printer.print(
        console.fields(
            [
                ("run", found.run_id),
                ("state", progress.run_state(found)),
                ("layer", _layer_told(found)),
                ("asked for by", found.requested_by),
                ("accepted", console.moment(found.created_at)),
                ("took", console.span(found.started_at, found.finished_at)),
                ("seq", f"{console.number(found.seq_before)} → {console.number(found.seq_after)}"),
                ("resumed", console.number(found.resumptions) if found.resumptions else ""),
            ]
        )
    )
    printer.print()
    printer.print(_datasets(found))
    for line in progress.fallbacks(found):
        printer.print(line, style="dim")
    for line in progress.complaints(found):
        printer.print(line, style="yellow")


def _layer_told(run: Run) -> str:
    """Return the layer with what bounds it, and the one that datasets fell back to."""
    told = progress.layers(run)
    if run.date_from:
        return f"{told} {run.date_from} to {run.date_to}"
    return f"{told}, {console.amount(run.targets, 'key')}" if run.targets else told


def _datasets(found: Run) -> Table:
    rereads = progress.reads_anew([found])
    numbers = ("rows", "new", "changed", *(["reprojected"] if rereads else []), "unchanged", "left")
    made = console.table("dataset", "state", *numbers, "took", right=(*numbers, "took"))
    for d in found.datasets:
        reprojected = [d.reprojected] if rereads else []
        counts = (d.rows_read, d.created + d.revived, d.updated, *reprojected, d.unchanged, d.tombstoned)
        took = console.span(d.started_at, d.finished_at)
        console.add_row(made, (d.dataset, progress.dataset_state(d), *counts, took))
    return made


def runs(
    client: Client,
    school: School,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most runs.")] = 20,
) -> None:
    """List a school's runs, newest first."""
    answer = client.call(client.sync.ListRuns, ListRunsRequest(school_id=school, page_size=limit))
    if not answer.runs:
        console.remark(f"no runs yet; `schoolgate sync {school}` starts one")
        return
    rereads = progress.reads_anew(answer.runs)
    numbers = ("new", "changed", *(["reprojected"] if rereads else []), "left")
    made = console.table("run", "accepted", "state", *numbers, right=numbers, narrow=True)
    for found in answer.runs:
        sums = (
            sum(d.created + d.revived for d in found.datasets),
            sum(d.updated for d in found.datasets),
            *([sum(d.reprojected for d in found.datasets)] if rereads else []),
            sum(d.tombstoned for d in found.datasets),
        )
        accepted = console.moment(found.created_at)[5:16]
        console.add_row(made, (found.run_id, accepted, progress.run_state(found), *sums))
        layer = _layer_told(found)
        if layer != progress.layer(SyncLayer.SYNC_LAYER_FULL):
            # Below the id, which is as wide, so that the table fits 80 columns.
            console.add_row(made, (f"  {layer}", "", "", *("" for _ in sums)), style="dim")
    console.out().print(made)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "sync")(sync)
    client_command(app, "notify")(notify)
    client_command(app, "runs")(runs)
    client_command(app, "run")(run)
