"""school schedule: which runs of a school start by themselves, and how often."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1.school_service_pb2 import GetSchoolRequest, School, SyncSchedule, UpdateSchoolRequest
from schoolgate.v1.sync_service_pb2 import SyncLayer
from schoolgate_server.cli import console, progress
from schoolgate_server.cli.client import Client, client_command


class Scheduled(StrEnum):
    """Layers that can start by themselves."""

    FULL = "full"
    WINDOW = "window"
    CHANGES = "changes"


def described(schedules: Iterable[SyncSchedule]) -> str:
    """Return what starts by itself, one layer after the other."""
    parts = [
        f"{progress.layer(each.layer)} every {console.amount(each.every_minutes, 'minute')}"
        + (f", {console.amount(each.window_days, 'day')} back" if each.window_days else "")
        for each in sorted(schedules, key=lambda each: each.layer)
    ]
    return "; ".join(parts) or "nothing"


def schedule(
    client: Client,
    school: Annotated[str, typer.Argument(metavar="SCHOOL", help="Id of the school.", show_default=False)],
    layer: Annotated[
        Scheduled | None, typer.Argument(help="How much to read; without it, show what there is.")
    ] = None,
    every: Annotated[int, typer.Option(min=0, metavar="MINUTES", help="Minutes between two starts.")] = 0,
    days: Annotated[int, typer.Option(min=0, help="For window: days before today that are read.")] = 0,
    off: Annotated[bool, typer.Option("--off", help="Start no more runs of this layer.")] = False,
) -> None:
    """Say which runs of a school start by themselves: a layer, and how often."""
    present = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school)).school
    if layer is not None:
        if off == bool(every):
            raise typer.BadParameter("give --every MINUTES, or --off", param_hint="--every")
        wanted = SyncSchedule(
            layer=SyncLayer.Value(f"SYNC_LAYER_{layer.name}"), every_minutes=every, window_days=days
        )
        kept = [each for each in present.schedules if each.layer != wanted.layer]
        # The etag: a schedule that somebody else gave meanwhile is not to be lost.
        changed = School(school_id=school, etag=present.etag, schedules=kept if off else [*kept, wanted])
        request = UpdateSchoolRequest(
            school=changed, update_mask=FieldMask(paths=["schedules"]), request_id=str(uuid.uuid4())
        )
        present = client.call(client.schools.UpdateSchool, request).school
    console.out().print(console.clean(f"starts by itself: {described(present.schedules)}"))


def register(group: typer.Typer) -> None:
    """Add the command to the group ``school``."""
    client_command(group, "schedule")(schedule)
