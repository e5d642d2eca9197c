"""demo: one school from a simulated MIS through the engine into MongoDB, and out again through gRPC."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from schoolgate.v1.school_service_pb2 import AcademicYearSpan
from schoolgate_server.cli import console
from schoolgate_server.cli.demo import invitation, processes, stage, story
from schoolgate_server.cli.demo.narrator import Narrator

_YEAR = AcademicYearSpan(name="2026/27", valid_from="2026-09-01", valid_to="2027-09-01")
_TERM_ENDS = "2026-12-19"
"""The generated school has registers for every school day of its year before this one: a term."""


def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Stay up afterwards, and show how to ask.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of School Data Sync CSV files to play the schools, instead of a generated one.",
            exists=True,
            file_okay=False,
            resolve_path=True,
        ),
    ] = None,
    pupils: Annotated[int, typer.Option(min=10, max=5000, help="Size of the generated school.")] = 1500,
    seed: Annotated[int, typer.Option(help="Another seed makes another school.")] = 2026,
) -> None:
    """Watch a school travel from a simulated MIS into MongoDB and out through gRPC; under two minutes."""
    if data is not None:
        arguments = ["--data", str(data)]
    else:
        arguments = ["--seed", str(seed), "--pupils", str(pupils), "--marks-until", _TERM_ENDS]
        arguments += ["--academic-year-start", _YEAR.valid_from]
    began = time.perf_counter()
    try:
        with processes.orderly_end() as look, stage.folder(keep=serve) as where:
            narrator = Narrator(console.out(), before_step=look)
            narrator.printer.print("schoolgate demo: from a school's MIS to gRPC, and back to what changed")
            narrator.step("A server with a MongoDB of its own, and a simulated Bromcom, start as processes.")
            with stage.raised(narrator, where, arguments) as running:
                school, renamed = story.tell(narrator, running, None if data else _YEAR)
                if serve:
                    invitation.show(narrator, running, school, renamed)
                    look()
                    signal.pause()
    except KeyboardInterrupt:
        console.err().print()
        console.remark("stopped; the demo's processes have ended")
        sys.exit(130 if not serve else 0)
    narrator.printer.print()
    took = console.seconds(time.perf_counter() - began)
    narrator.line(f"Done in {took}. All processes have ended and the demo's folder is gone.", style="green")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("demo")(demo)
