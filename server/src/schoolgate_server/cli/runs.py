"""sync, runs and run: starting, following and looking back at runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.sync_service_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    Run,
    RunState,
    StartSyncRequest,
    WatchRunRequest,
)
from schoolgate_server.cli import console, progress
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.", show_default=False)]


def states(client: Client, school: str, run_id: str) -> Iterator[Run]:
    """Yield the states of a run until its final one."""
    request = WatchRunRequest(school_id=school, run_id=run_id)
    for response in client.stream(client.sync.WatchRun, request):
        yield response.run


def start(client: Client, school: str, datasets: list[str] | None = None) -> Run:
    """Start a run and return it as accepted."""
    request = StartSyncRequest(school_id=school, datasets=datasets or (), request_id=str(uuid.uuid4()))
    return client.call(client.sync.StartSync, request).run


def _report(run: Run) -> None:
    printer = console.out()
    printer.print(f"{run.run_id} {progress.summary(run)}")
    for line in progress.complaints(run):
        printer.print(line, style="yellow")
    if run.state != RunState.RUN_STATE_SUCCEEDED:
        raise typer.Exit(1)


def _follow(client: Client, school: str, run_id: str) -> None:
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
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run and do not wait for its end.")
    ] = False,
) -> None:
    """Read a school's MIS and follow the run. Exit status 0 when every dataset succeeded."""
    run = start(client, school, dataset)
    if detach:
        console.out().print(run.run_id)
        return
    _follow(client, school, run.run_id)


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
        _follow(client, school, run_id)
        return
    found = client.call(client.sync.GetRun, GetRunRequest(school_id=school, run_id=run_id)).run
    printer = console.out()
    printer.print(
        console.fields(
            [
                ("run", found.run_id),
                ("state", progress.run_state(found)),
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
    for line in progress.complaints(found):
        printer.print(line, style="yellow")


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
    console.out().print(made)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "sync")(sync)
    client_command(app, "runs")(runs)
    client_command(app, "run")(run)
