"""write: one command per operation that can be written to a MIS."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.attendance_pb2 import AttendanceSession
from schoolgate_server.cli import console, ledger, questions
from schoolgate_server.cli.client import CALL_TIMEOUT, Client, client_command, declare, parameters_of
from schoolgate_server.cli.query import write_json

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Student = Annotated[
    str, typer.Argument(metavar="STUDENT", help="Id of the pupil's record.", show_default=False)
]
RecordId = Annotated[str, typer.Argument(metavar="RECORD", help="Id of the record.", show_default=False)]
Code = Annotated[str, typer.Option("--type", metavar="CODE", help="The school's code for the type.")]
Day = Annotated[str, typer.Option("--date", metavar="DAY", help="The day, YYYY-MM-DD; today is a day.")]
Staff = Annotated[str, typer.Option("--staff", metavar="RECORD", help="Id of the member of staff's record.")]
Comment = Annotated[str | None, typer.Option(help="For the pupil's record; - reads it from standard input.")]

_PANEL = "Submission"
ValidateOnly = Annotated[
    bool,
    typer.Option("--validate-only", help="Say what is wrong, and write nothing.", rich_help_panel=_PANEL),
]
Key = Annotated[
    str,
    typer.Option(
        help="Idempotency key: what comes again under it is not written again. Without one, what is the same "
        "has the same key.",
        rich_help_panel=_PANEL,
    ),
]
Source = Annotated[
    str,
    typer.Option(
        help="Your id of what this comes from; tells two that are otherwise the same apart.",
        rich_help_panel=_PANEL,
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Follow it until it is synced, or needs attention.", rich_help_panel=_PANEL),
]
Json = Annotated[bool, typer.Option("--json", help="Write the answer as JSON.", rich_help_panel=_PANEL)]

_SUBMIT_TIMEOUT = 90.0
"""Seconds. A dry run opens a session with the MIS, and reads there what the write needs."""


class Session(StrEnum):
    """Registers of a day."""

    AM = "am"
    PM = "pm"
    LESSON = "lesson"


class Terms(NamedTuple):
    """How an operation is submitted; see the options of the same names."""

    key: str
    source: str
    validate_only: bool
    wait: bool
    as_json: bool


def text_from(option: str | None) -> str | None:
    """Return an option's text, or what standard input has for "-": other users see command lines."""
    return sys.stdin.read().strip() if option == "-" else option


def moment_from(text: str) -> str:
    """Return a date and time with its offset; local unless it has one.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        if not re.search(r"\d[T ]\d", text):
            raise ValueError(text)
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no date and time like 2026-09-10T11:20", param_hint="--at"
        ) from None


def submit(client: Client, school: str, operation: pb.WriteOperation, terms: Terms) -> None:
    """Submit an operation and show what came of it; raises ``typer.Exit`` as :func:`wait_for` does."""
    request = pb.SubmitWriteRequest(
        school_id=school,
        operation=operation,
        idempotency_key=terms.key,
        source_record_id=terms.source,
        validate_only=terms.validate_only,
    )
    answer = client.call(client.writeback.SubmitWrite, request, timeout=max(CALL_TIMEOUT, _SUBMIT_TIMEOUT))
    if not terms.as_json:
        _tell(answer, terms)
    elif not terms.wait or not answer.HasField("write"):
        write_json(answer)
    if terms.wait and answer.HasField("write"):
        wait_for(client, answer.write, as_json=terms.as_json)
    elif answer.HasField("write") and not terms.as_json:
        _next(answer.write)


def _tell(answer: pb.SubmitWriteResponse, terms: Terms) -> None:
    printer = console.out()
    policy = pb.WritePolicy.Name(answer.policy).removeprefix("WRITE_POLICY_").lower().replace("_", " ")
    if answer.HasField("write"):
        # One that is waited for is shown as a whole in the end.
        printer.print(answer.write.write_id if terms.wait else ledger.card(answer.write))
        if answer.repeated:
            console.remark("this key came before: that is the write of then, and nothing is written again")
        return
    printer.print(console.fields([("policy", policy), ("key", answer.idempotency_key)]))
    if answer.HasField("preview"):
        printer.print(ledger.payload(answer.preview))
        console.remark("a dry run: nothing was stored or sent")
    elif terms.validate_only:
        console.remark("nothing is wrong with it; nothing was stored or sent")
    else:
        console.remark("a dry run: nothing is wrong, and nothing was stored; the connector cannot show more")


def _next(write: pb.Write) -> None:
    if write.needs_approval:
        console.remark(
            f"next: schoolgate writes approve {write.school_id} {write.write_id}, by somebody else"
        )
    else:
        console.remark(f"next: schoolgate writes get {write.school_id} {write.write_id}")


def wait_for(client: Client, write: pb.Write, *, as_json: bool = False) -> None:
    """Follow a write until it is settled and show it; raises ``typer.Exit`` unless it is synced by then."""
    try:
        last = ledger.follow(client, write, console.err() if as_json else console.out())
    except KeyboardInterrupt:
        console.remark(f"the write goes on; schoolgate writes get {write.school_id} {write.write_id}")
        raise typer.Exit(130) from None
    if as_json:
        write_json(last)
    else:
        console.out().print(ledger.card(last))
    if last.status != pb.WRITE_STATUS_SYNCED:
        raise typer.Exit(1)


def behaviour(
    student: Student,
    type_code: Code,
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="When it happened, like 2026-09-10T11:20; local without an offset."
        ),
    ],
    staff: Staff,
    points: Annotated[int, typer.Option(help="Points, below zero for sanctions.")],
    comment: Comment = None,
) -> pb.WriteOperation:
    """Record a behaviour event."""
    event = pb.RecordBehaviourEvent(
        student_id=student,
        type_code=type_code,
        occurred_at=moment_from(at),
        staff_id=staff,
        points=points,
        comment=text_from(comment),
    )
    return pb.WriteOperation(record_behaviour_event=event)


def mark(
    student: Student,
    date: Day,
    session: Annotated[Session, typer.Option(help="Which register of the day.", case_sensitive=False)],
    code: Annotated[str, typer.Option(help="The school's attendance code.")],
    period: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the lesson's period, for a lesson.")
    ] = None,
    minutes_late: Annotated[int | None, typer.Option(help="Minutes late.")] = None,
    staff: Annotated[
        str | None,
        typer.Option(metavar="RECORD", help="Id of the record of the member of staff who takes it."),
    ] = None,
    comment: Comment = None,
) -> pb.WriteOperation:
    """Record an attendance mark."""
    made = pb.RecordAttendanceMark(
        student_id=student,
        date=questions.day(date),
        session=AttendanceSession.Value(f"ATTENDANCE_SESSION_{session.name}"),
        period_name=period,
        code=code,
        comment=text_from(comment),
        minutes_late=minutes_late,
        staff_id=staff,
    )
    return pb.WriteOperation(record_attendance_mark=made)


def result(
    student: Student,
    assessment: Annotated[str, typer.Option(metavar="NAME", help="Name of the assessment.")],
    value: Annotated[str, typer.Option("--result", metavar="RESULT", help="The result.")],
    date: Day,
    subject: Annotated[str | None, typer.Option(metavar="RECORD", help="Id of the subject's record.")] = None,
) -> pb.WriteOperation:
    """Record an assessment result."""
    made = pb.RecordAssessmentResult(
        student_id=student,
        assessment_name=assessment,
        result=value,
        date=questions.day(date),
        subject_id=subject,
    )
    return pb.WriteOperation(record_assessment_result=made)


def consent(
    student: Student,
    type_code: Code,
    granted: Annotated[bool, typer.Option("--granted/--not-granted", help="Whether it is given.")],
    date: Day,
) -> pb.WriteOperation:
    """Record whether consent is given, from a day on."""
    made = pb.RecordConsent(
        student_id=student, type_code=type_code, granted=granted, date=questions.day(date)
    )
    return pb.WriteOperation(record_consent=made)


def note(
    student: Student,
    type_code: Code,
    date: Day,
    text: Annotated[str, typer.Option("--note", help="The note; - reads it from standard input.")],
    staff: Staff,
) -> pb.WriteOperation:
    """Record a note about an intervention."""
    made = pb.RecordInterventionNote(
        student_id=student,
        type_code=type_code,
        date=questions.day(date),
        note=text_from(text) or "",
        staff_id=staff,
    )
    return pb.WriteOperation(record_intervention_note=made)


def deactivate(
    record_id: RecordId,
    reason: Annotated[str, typer.Option(help="Why, for the audit; it is not sent. Name no pupil here.")],
) -> pb.WriteOperation:
    """Have the MIS take back what an earlier write made; `writes reverse` knows which record that is."""
    return pb.WriteOperation(deactivate_record=pb.DeactivateRecord(record_id=record_id, reason=reason))


def correct(
    record_id: RecordId,
    code: Annotated[str | None, typer.Option(help="Of an attendance mark: the school's code.")] = None,
    points: Annotated[int | None, typer.Option(help="Of a behaviour event: the points.")] = None,
    value: Annotated[
        str | None, typer.Option("--result", metavar="RESULT", help="Of an assessment result: the result.")
    ] = None,
    comment: Comment = None,
) -> pb.WriteOperation:
    """Correct values of a record that the MIS has; what is not given stays."""
    made = pb.CorrectRecord(
        record_id=record_id, code=code, points=points, result=value, comment=text_from(comment)
    )
    return pb.WriteOperation(correct_record=made)


def _submitting(make: Callable[..., pb.WriteOperation]) -> Callable[..., None]:
    """Return the command that submits what ``make`` makes of its own options, with those of a submission."""

    def command(
        client: Client,
        school: School,
        key: Key = "",
        source: Source = "",
        validate_only: ValidateOnly = False,
        wait: Wait = False,
        as_json: Json = False,
        **own: Any,  # noqa: ANN401 - whatever the operation declares
    ) -> None:
        submit(client, school, make(**own), Terms(key, source, validate_only, wait, as_json))

    client, school, *terms = parameters_of(command)
    declare(command, [client, school, *parameters_of(make), *terms], make.__doc__)
    return command


def register(app: typer.Typer) -> None:
    """Add the group ``write`` to ``app``."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Write to a school's MIS, at most once (docs/writeback.md). `writes` shows what became of it.",
    )
    for command in (behaviour, mark, result, consent, note, deactivate, correct):
        client_command(group, command.__name__)(_submitting(command))
    app.add_typer(group, name="write")
