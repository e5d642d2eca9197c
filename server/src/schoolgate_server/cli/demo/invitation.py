"""What `demo --serve` prints: commands and grpcurl lines that work as they stand."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from schoolgate_server.cli.demo.narrator import Narrator
from schoolgate_server.cli.demo.stage import Stage


def _grpcurl(server: str, method: str, body: Mapping[str, object] | None = None) -> str:
    data = f"-d {shlex.quote(json.dumps(body))} " if body is not None else ""
    return f"grpcurl -plaintext {data}{server} {method}"


def lines(server: str, school: str, record_id: str) -> Sequence[str]:
    """Return grpcurl lines: list, describe, unary calls, a stream, and an error with its ErrorInfo."""
    service = "schoolgate.v1"
    question = {"school_id": school, "kind": "KIND_STUDENT", "max_records": 3}
    return (
        _grpcurl(server, "list"),
        _grpcurl(server, f"describe {service}.QueryService"),
        _grpcurl(
            server, f"{service}.QueryService/CountRecords", {"school_id": school, "kind": "KIND_STUDENT"}
        ),
        _grpcurl(server, f"{service}.QueryService/QueryRecords", question),
        _grpcurl(
            server, f"{service}.QueryService/ListVersions", {"school_id": school, "record_id": record_id}
        ),
        _grpcurl(server, f"{service}.SyncService/ListRuns", {"school_id": school, "page_size": 1}),
        _grpcurl(server, f"{service}.SchoolService/GetSchool", {"school_id": "nowhere"}),
    )


def command() -> str:
    """Return how a shell in the present folder calls this command.

    Whether that shell has it on its PATH cannot be seen from here (`make` adds to it), so it is a path: that
    of the script beside the running Python, relative where it is in a folder below.
    """
    script = Path(sys.executable).with_name("schoolgate")
    here = Path.cwd()
    below = here in script.parent.parents
    return shlex.quote(str(script.relative_to(here) if below else script))


def show(narrator: Narrator, stage: Stage, school: str, record_id: str) -> None:
    """Tell how to go on from here, until Ctrl-C."""
    server = stage.client.server
    narrator.step("The server stays up. Ask it, with grpcurl (the last line shows an error):")
    # Lines that somebody copies must not be wrapped or indented.
    for line in lines(server, school, record_id):
        narrator.printer.print(line, soft_wrap=True)
    narrator.printer.print()
    narrator.line("or with the command:")
    for arguments in ("query {} student", "versions {} {}", "sync {}", "runs {}"):
        line = f"{command()} {arguments.format(school, record_id)} --server {server}"
        narrator.printer.print(line, soft_wrap=True)
    narrator.printer.print()
    narrator.line(f"Ctrl-C ends it. Data and logs stay in {stage.folder}; remove them with")
    narrator.printer.print(f"rm -r {shlex.quote(str(stage.folder))}", soft_wrap=True)
