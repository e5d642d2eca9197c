"""Writes for people: what they are called, where they stand, what was sent, and following one to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.cli import console, records
from schoolgate_server.cli.client import Client
from schoolgate_server.cli.failures import describe

OPERATIONS: Mapping[str, str] = {
    "behaviour": "record_behaviour_event",
    "mark": "record_attendance_mark",
    "result": "record_assessment_result",
    "consent": "record_consent",
    "note": "record_intervention_note",
    "deactivate": "deactivate_record",
    "correct": "correct_record",
}
"""Operations by the words that the commands have for them."""

_WORDS = {name: word for word, name in OPERATIONS.items()}

_STATUS = {
    pb.WRITE_STATUS_PENDING_MIS_SYNC: "pending MIS sync",
    pb.WRITE_STATUS_SYNCED: "synced",
    pb.WRITE_STATUS_NEEDS_ATTENTION: "needs attention",
    pb.WRITE_STATUS_WITHDRAWN: "withdrawn",
}
_STYLES = {
    pb.WRITE_STATUS_SYNCED: "green",
    pb.WRITE_STATUS_NEEDS_ATTENTION: "yellow",
    pb.WRITE_STATUS_WITHDRAWN: "dim",
}

_LOOK = 0.3
"""Seconds between two looks at a write that is followed, at first; they grow to the next one."""
_LOOK_LONGEST = 2.0


def word_of(operation: str) -> str:
    """Return the commands' word for an operation; its own name where they have none."""
    return _WORDS.get(operation, operation)


def state_of(write: pb.Write) -> str:
    """Return a write's state as a word."""
    return console.word(pb.WriteState, write.state)


def status_of(write: pb.Write) -> str:
    """Return where a write stands, for people: the status, and the state where it says more."""
    status, state = _STATUS.get(write.status, str(write.status)), state_of(write)
    if write.needs_approval and write.state == pb.WRITE_STATE_PENDING:
        state = "awaits approval"
    return status if status == state else f"{status} ({state})"


def style_of(write: pb.Write) -> str | None:
    """Return how a write stands out in a list."""
    return _STYLES.get(write.status)


def is_settled(write: pb.Write) -> bool:
    """Whether a write has come to its end, or waits for a person."""
    return write.status != pb.WRITE_STATUS_PENDING_MIS_SYNC


def card(write: pb.Write) -> Table:
    """Return everything about a write but its attempts, one below the other."""
    submitted = _by(console.moment(write.submitted_at), write.submitted_by)
    seen = f"{', '.join(write.record_ids)}, seq {console.number(write.confirmed_seq)}"
    action = [(f"  {name}", value) for name, value in _action(write.operation)]
    return console.fields(
        [
            ("write", write.write_id),
            ("stands", status_of(write)),
            *_problem(write),
            ("task", write.task),
            ("operation", write.operation_name),
            *action,
            ("MIS ids", ", ".join(write.mis_ids)),
            ("records", seen if write.record_ids else ""),
            ("submitted", submitted),
            ("source", write.source_record_id),
            ("key", write.idempotency_key),
            ("approved", _by(console.moment(write.approved_at), write.approved_by)),
            ("expires", "" if is_settled(write) else console.moment(write.expires_at)),
            ("changed", console.moment(write.updated_at)),
            ("settled by", write.resolved_by),
            ("waits for", write.waits_for),
            ("reverses", write.reverses),
            ("reversed by", write.reversed_by),
            ("superseded by", write.superseded_by),
            ("environment", write.environment),
            ("correlation", write.correlation_id),
        ]
    )


def _by(moment: str, caller: str) -> str:
    return f"{moment} by {caller}" if moment else ""


def _problem(write: pb.Write) -> Iterator[tuple[str, str]]:
    if write.HasField("failure"):
        for line in describe(write.failure):
            name, _, rest = line.strip().partition(" ") if line.startswith(" ") else ("because", "", line)
            yield name.rstrip(":"), rest


def _action(operation: pb.WriteOperation) -> list[tuple[str, str]]:
    name = operation.WhichOneof("operation")
    if not name:
        return []
    action: Message = getattr(operation, name)
    return [(field, _value(value)) for field, value in records.as_json(action).items()]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def attempts(write: pb.Write) -> Iterator[Table | Text]:
    """Yield each attempt to send a write: what left, and what the MIS answered."""
    for attempt in write.attempts:
        head = Text(f"attempt {attempt.number}", style="bold")
        took = console.span(attempt.started_at, attempt.ended_at)
        said = console.word(pb.WriteAttempt.Outcome, attempt.outcome) if attempt.outcome else "under way"
        cells = [console.moment(attempt.started_at), said + (f" in {took}" if took else "")]
        yield head.append(console.clean("".join(f"  {cell}" for cell in cells)), style="not bold")
        failure = describe(attempt.failure) if attempt.HasField("failure") else []
        yield console.fields(
            [
                ("  sent", attempt.sent.target),
                ("", attempt.sent.body),
                ("  answered", attempt.response),
                ("  receipt", attempt.receipt),
                *(("  failed" if not line.startswith(" ") else "", line.strip()) for line in failure),
                ("  correlation", attempt.correlation_id),
            ]
        )


def payload(sent: pb.WritePayload) -> Table:
    """Return exactly what would be sent."""
    return console.fields([("would send", sent.target), ("", sent.body)])


def listing(writes: Sequence[pb.Write], width: int) -> tuple[Table, int]:
    """Return a table of writes, and how many columns did not fit into ``width`` characters.

    Ids stand in full, because that is what other commands take; columns fall away from the right.
    """
    heads = ["write", "state", "what", "submitted", "MIS ids", "by", "pupil", "key"]
    rows = [
        [
            write.write_id,
            "awaits approval" if write.needs_approval else state_of(write),
            word_of(write.operation_name),
            console.moment(write.submitted_at)[5:16],
            ", ".join(write.mis_ids),
            write.submitted_by,
            _pupil(write),
            write.idempotency_key,
        ]
        for write in writes
    ]
    fitting = console.fitting(heads, rows, width)
    made = console.table(*heads[:fitting], whole=heads)
    for write, row in zip(writes, rows, strict=True):
        console.add_row(made, row[:fitting], style_of(write))
    return made, len(heads) - fitting


def _pupil(write: pb.Write) -> str:
    return next((value for name, value in _action(write.operation) if name == "student_id"), "")


def line(write: pb.Write) -> str:
    """Return a write in one line: when it changed, which, where it stands, and what came of it."""
    parts = [
        console.moment(write.updated_at)[11:],
        write.write_id,
        word_of(write.operation_name),
        status_of(write),
        ", ".join(write.mis_ids),
        *(describe(write.failure)[:1] if write.HasField("failure") else []),
    ]
    return console.clean("  ".join(part for part in parts if part))


def follow(client: Client, write: pb.Write, printer: Console) -> pb.Write:
    """Show where a write stands whenever that changes, until it is settled, and return it as it is then.

    It is asked for alone: WatchWrites would tell of every other write of the school, too.
    """
    request = pb.GetWriteRequest(school_id=write.school_id, write_id=write.write_id)
    told, wait = "", _LOOK
    live = printer.status("", spinner="dots") if printer.is_terminal else None
    if live is not None:
        live.start()
    try:
        while not is_settled(write):
            said = _waiting(write)
            if said != told:
                told, wait = said, _LOOK
                if live is not None:
                    live.update(Text(said))
                else:
                    printer.print(said, soft_wrap=True)  # commands in it are to be copied
            time.sleep(wait)
            wait = min(_LOOK_LONGEST, wait * 1.3)
            write = client.call(client.writeback.GetWrite, request).write
        return write
    finally:
        if live is not None:
            live.stop()


def _waiting(write: pb.Write) -> str:
    """Return where a write that is followed stands, and what it waits for."""
    said = status_of(write)
    if write.needs_approval:
        said += f": schoolgate writes approve {write.school_id} {write.write_id}"
    elif write.HasField("failure"):
        said += f": {describe(write.failure)[0]}"
    elif write.waits_for:
        said += f": after {write.waits_for}"
    return console.clean(said)
