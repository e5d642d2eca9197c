"""school quiet-hours: when a school's MIS is to be spared."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1.school_service_pb2 import GetSchoolRequest, QuietHours, School, UpdateSchoolRequest
from schoolgate_server.cli import console
from schoolgate_server.cli.client import Client, client_command

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONDAY_TO_FRIDAY = range(1, 6)


def described(quiet_hours: Iterable[QuietHours]) -> str:
    """Return the hours with their days."""
    parts = [
        f"{each.begins} to {each.ends} on "
        + ", ".join(_DAYS[day - 1] for day in sorted(each.weekdays or _MONDAY_TO_FRIDAY) if 1 <= day <= 7)
        for each in sorted(quiet_hours, key=lambda each: each.begins)
    ]
    return "; ".join(parts) or "none"


def _hours(text: str, days: list[int] | None) -> QuietHours:
    match = re.fullmatch(r"(\d\d:\d\d)-(\d\d:\d\d)", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} are no hours; write 08:30-09:30", param_hint="HOURS")
    return QuietHours(begins=match[1], ends=match[2], weekdays=days or ())


def quiet_hours(
    client: Client,
    school: Annotated[str, typer.Argument(metavar="SCHOOL", help="Id of the school.", show_default=False)],
    hours: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOURS]...", help="As 08:30-09:30, in the school's time zone; without any, show them."
        ),
    ] = None,
    day: Annotated[
        list[int] | None,
        typer.Option(min=1, max=7, help="1 (Monday) to 7; may be repeated. Default: Monday to Friday."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Have no quiet hours any more.")] = False,
) -> None:
    """Say when a school's MIS is busy with the school itself, as at registration: schedules wait then."""
    present = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school)).school
    if hours and off:
        raise typer.BadParameter("give hours, or --off", param_hint="--off")
    if hours or off:
        # The etag: hours that somebody else gave meanwhile are not to be lost.
        wanted = [_hours(text, day) for text in hours or ()]
        request = UpdateSchoolRequest(
            school=School(school_id=school, etag=present.etag, quiet_hours=wanted),
            update_mask=FieldMask(paths=["quiet_hours"]),
            request_id=str(uuid.uuid4()),
        )
        present = client.call(client.schools.UpdateSchool, request).school
    zone = present.time_zone
    console.out().print(console.clean(f"quiet hours ({zone}): {described(present.quiet_hours)}"))


def register(group: typer.Typer) -> None:
    """Add the command to the group ``school``."""
    client_command(group, "quiet-hours")(quiet_hours)
