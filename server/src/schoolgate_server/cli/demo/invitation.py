"""What `demo --serve` prints: commands and grpcurl lines that work as they stand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

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


def show(narrator: Narrator, stage: Stage, school: str, record_id: str) -> None:
    """Tell how to go on from here, until Ctrl-C."""
    server = stage.client.server
    narrator.step("The server stays up. Ask it, with grpcurl (the last line shows an error):")
    # Lines that somebody copies must not be wrapped or indented.
    for line in lines(server, school, record_id):
        narrator.printer.print(line, soft_wrap=True)
    narrator.printer.print()
    narrator.line("or with the command:")
    for command in ("query {} student", "versions {} {}", "sync {}", "runs {}"):
        line = f"schoolgate {command.format(school, record_id)} --server {server}"
        narrator.printer.print(line, soft_wrap=True)
    narrator.printer.print()
    narrator.line(f"Ctrl-C ends it. Data and logs stay in {stage.folder}; remove them with")
    narrator.printer.print(f"rm -r {shlex.quote(str(stage.folder))}", soft_wrap=True)
