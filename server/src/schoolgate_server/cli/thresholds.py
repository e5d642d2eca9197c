"""school hold-when: from which number of changes on a school's changes are held for an operator."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from schoolgate.v1.kind_pb2 import KIND_UNSPECIFIED
from schoolgate.v1.school_service_pb2 import GetSchoolRequest, HoldThreshold, School, UpdateSchoolRequest
from schoolgate_sdk import kind_info
from schoolgate_server.cli import console, questions
from schoolgate_server.cli.client import Client, client_command

_EVERY_KIND = "every other kind"
_DEFAULTS = "the server's defaults"

Share = Annotated[
    float | None, typer.Option(min=0, max=1, help="… more than this share of the live records and …")
]
Count = Annotated[int | None, typer.Option(min=0, help="… more than this number.")]


def described(thresholds: Iterable[HoldThreshold]) -> str:
    """Return when changes are held, one kind after the other."""
    parts = [
        f"{_EVERY_KIND if each.kind == KIND_UNSPECIFIED else kind_info(each.kind).name}: {_values(each)}"
        for each in sorted(thresholds, key=lambda each: (each.kind == KIND_UNSPECIFIED, each.kind))
    ]
    return "; ".join(parts) or _DEFAULTS


def _values(threshold: HoldThreshold) -> str:
    return ", ".join(
        f"{field.name.replace('_', ' ')} {console.number(value) if isinstance(value, int) else f'{value:g}'}"
        for field, value in threshold.ListFields()
        if field.name != "kind"
    )


def hold_when(
    client: Client,
    school: Annotated[str, typer.Argument(metavar="SCHOOL", help="Id of the school.", show_default=False)],
    kind: Annotated[
        str, typer.Option(help="For one kind; without it for every kind that has no values of its own.")
    ] = "",
    deletions_fraction: Share = None,
    deletions_count: Count = None,
    updates_fraction: Share = None,
    updates_count: Count = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget the values that there are for the kind first.")
    ] = False,
) -> None:
    """Say when deletions or updates are held. What is not given stays; without any option, show what is set.

    What was never given for a kind is the school's value for every kind, else the server's default.
    """
    present = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school)).school
    wanted = HoldThreshold(
        deletions_fraction=deletions_fraction,
        deletions_count=deletions_count,
        updates_fraction=updates_fraction,
        updates_count=updates_count,
    )
    if wanted.ListFields() or reset:
        wanted.kind = questions.kind_named(kind).kind if kind else KIND_UNSPECIFIED
        # The etag: thresholds that somebody else gave meanwhile are not to be lost.
        changed = School(school_id=school, etag=present.etag, hold_thresholds=present.hold_thresholds)
        _change(changed, wanted, reset=reset)
        request = UpdateSchoolRequest(
            school=changed,
            update_mask=FieldMask(paths=["hold_thresholds"]),
            request_id=str(uuid.uuid4()),
        )
        present = client.call(client.schools.UpdateSchool, request).school
    elif kind:
        raise typer.BadParameter("give a value for the kind, or --reset", param_hint="--kind")
    console.out().print(console.clean(f"held when above: {described(present.hold_thresholds)}"))


def _change(school: School, threshold: HoldThreshold, *, reset: bool) -> None:
    """Give ``school`` what ``threshold`` has, beside what it has already of that kind unless ``reset``."""
    merged = HoldThreshold(kind=threshold.kind)
    others: list[HoldThreshold] = []
    for each in school.hold_thresholds:
        if each.kind != threshold.kind:
            others.append(each)
        elif not reset:
            merged.MergeFrom(each)
    merged.MergeFrom(threshold)
    if merged != HoldThreshold(kind=threshold.kind):
        others.append(merged)
    del school.hold_thresholds[:]
    school.hold_thresholds.extend(others)


def register(group: typer.Typer) -> None:
    """Add the command to the group ``school``."""
    client_command(group, "hold-when")(hold_when)
