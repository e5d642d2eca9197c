"""school add, list, show, check and set-credentials."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.diagnostics_service_pb2 import ConnectorInfo, ListConnectorsRequest
from schoolgate.v1.school_service_pb2 import (
    AcademicYearSpan,
    CheckConnectionRequest,
    CreateSchoolRequest,
    EntityGrant,
    GetSchoolRequest,
    ListSchoolsRequest,
    School,
    SchoolCondition,
    SetCredentialsRequest,
)
from schoolgate_server.cli import console, quiet_hours, schedules, secrets_input, thresholds
from schoolgate_server.cli.client import Client, client_command
from schoolgate_server.cli.failures import describe

SchoolId = Annotated[str, typer.Argument(metavar="SCHOOL", help="Id of the school.", show_default=False)]
CredentialsFile = Annotated[Path | None, typer.Option(help=secrets_input.FILE_HELP)]

_CHECK_TIMEOUT = 180.0
"""Seconds for CheckConnection, which asks the MIS about every entity."""


def connector_info(client: Client, name: str) -> ConnectorInfo:
    """Return what the server says of a connector; a bare name where it knows none."""
    listed = client.call(client.diagnostics.ListConnectors, ListConnectorsRequest()).connectors
    # An unknown name is the server's to refuse; it has the reason and the wording.
    return next((info for info in listed if info.name == name), ConnectorInfo(name=name))


def settings_of(texts: Sequence[str] | None) -> dict[str, str]:
    """Return the settings written as NAME=VALUE in ``texts``.

    Raises:
        BadParameter: one is not.
    """
    settings: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is no setting; write NAME=VALUE", param_hint="--setting")
        settings[name] = value
    return settings


def _year(text: str) -> AcademicYearSpan | None:
    if not text:
        return None
    match = re.fullmatch(r"(?:(.+)=)?(\d{4}-\d{2}-\d{2}):(\d{4}-\d{2}-\d{2})", text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is no year; write 2026/27=2026-09-01:2027-09-01, the end being the first day after",
            param_hint="--academic-year",
        )
    name = match[1] or f"{match[2][:4]}/{match[3][2:4]}"
    return AcademicYearSpan(name=name, valid_from=match[2], valid_to=match[3])


def add(
    client: Client,
    school: SchoolId,
    name: Annotated[str, typer.Option(help="Name for people.")] = "",
    connector: Annotated[str, typer.Option(help="Which connector reads the MIS.")] = "bromcom",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="What the connector needs; `schoolgate connectors NAME` lists it."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND.FIELD", help="Data profile: what may be kept. Default: the core profile."),
    ] = None,
    academic_year: Annotated[
        str, typer.Option(metavar="FROM:TO", help="Default: the year that contains today.")
    ] = "",
    credentials_file: CredentialsFile = None,
) -> None:
    """Register a school. Its credentials may follow later with set-credentials."""
    wanted = connector_info(client, connector).credentials
    request = CreateSchoolRequest(
        school=School(
            school_id=school,
            display_name=name or school,
            connector=connector,
            settings=settings_of(setting),
            data_profile=keep or (),
            academic_year=_year(academic_year),
        ),
        credentials=secrets_input.gather(credentials_file, wanted, required=False),
        request_id=str(uuid.uuid4()),
    )
    made = client.call(client.schools.CreateSchool, request).school
    console.out().print(_card(made))
    step = "sync" if made.has_credentials else "school set-credentials"
    console.remark(f"next: schoolgate {step} {made.school_id}")


def _card(school: School) -> Table:
    year = school.academic_year
    return console.fields(
        [
            ("school", school.school_id),
            ("name", school.display_name),
            ("connector", school.connector),
            *((f"  {name}", value) for name, value in sorted(school.settings.items())),
            ("credentials", _credentials(school)),
            (
                "academic year",
                f"{year.name}: {year.valid_from} up to {year.valid_to}" if year.name else "by the calendar",
            ),
            ("time zone", school.time_zone),
            ("keeps", ", ".join(school.data_profile)),
            ("held above", thresholds.described(school.hold_thresholds)),
            ("starts by itself", schedules.described(school.schedules)),
            ("quiet hours", quiet_hours.described(school.quiet_hours)),
            ("registered", console.moment(school.created_at)),
            ("changed", console.moment(school.updated_at)),
        ]
    )


def _credentials(school: School) -> str:
    if not school.has_credentials:
        return "none"
    return f"stored {console.moment(school.credentials_set_at)}".strip()


def all_schools(client: Client) -> Iterator[School]:
    """Yield every school that the caller may see."""
    token = ""
    while True:
        answer = client.call(client.schools.ListSchools, ListSchoolsRequest(page_size=1000, page_token=token))
        yield from answer.schools
        token = answer.next_page_token
        if not token:
            return


def list_(client: Client) -> None:
    """List the schools that you may see."""
    found = list(all_schools(client))
    if not found:
        console.remark("no schools yet; `schoolgate school add` registers one")
        return
    made = console.table("school", "name", "connector", "credentials", "registered")
    for school in found:
        row = (school.school_id, school.display_name, school.connector)
        console.add_row(
            made, (*row, "yes" if school.has_credentials else "no", console.moment(school.created_at)[:10])
        )
    console.out().print(made)


def show(client: Client, school: SchoolId) -> None:
    """Show a school's registration. Credentials go in and never come out."""
    answer = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school))
    printer = console.out()
    printer.print(_card(answer.school))
    if answer.HasField("condition"):
        for line in _troubles(answer.condition):
            printer.print(console.clean(line), style="yellow")


def _troubles(condition: SchoolCondition) -> Iterator[str]:
    """Yield what keeps the school's runs from succeeding or starting."""
    if condition.HasField("failure"):
        yield f"{condition.run_id} did not succeed"
        yield from describe(condition.failure)
    if condition.missing_entities:
        yield f"not granted in {condition.run_id}: {', '.join(condition.missing_entities)}"
        yield "  next: Ask the school to approve them for the application in its MIS. (school)"
    if condition.refusals > 1:
        yield f"refused {condition.refusals} times in a row"
    if condition.HasField("schedules_wait_until"):
        yield f"schedules wait until {console.moment(condition.schedules_wait_until)}"


def check(client: Client, school: SchoolId) -> None:
    """Contact the MIS and say what the school grants. Exit status 0 when all is well."""
    request = CheckConnectionRequest(school_id=school)
    answer = client.call(client.schools.CheckConnection, request, timeout=_CHECK_TIMEOUT)
    printer = console.out()
    printer.print("the MIS was reached and took the credentials" if answer.ok else "the MIS cannot be used")
    if answer.HasField("failure"):
        for line in describe(answer.failure):
            printer.print(line, style="yellow")
    denied = False
    if answer.grants:
        made = console.table("entity", "state", "needed for")
        for grant in answer.grants:
            state = EntityGrant.State.Name(grant.state).removeprefix("STATE_").lower().replace("_", " ")
            bad = grant.state in (EntityGrant.State.STATE_DENIED, EntityGrant.State.STATE_UNKNOWN_ENTITY)
            denied |= bad
            console.add_row(made, (grant.entity, state, ", ".join(grant.datasets)), "yellow" if bad else None)
        printer.print(made)
    if denied or not answer.ok:
        raise typer.Exit(1)


def set_credentials(client: Client, school: SchoolId, credentials_file: CredentialsFile = None) -> None:
    """Replace a school's credentials, from a file, SCHOOLGATE_CREDENTIAL_<NAME> variables or a prompt."""
    registered = client.call(client.schools.GetSchool, GetSchoolRequest(school_id=school)).school
    connector = connector_info(client, registered.connector)
    for field in connector.settings:
        if field.endpoint:
            # Said before anything is asked for: the address may not be the one that it was.
            value = registered.settings.get(field.name, field.default_value)
            console.remark(f"where the credentials go: {field.name}={value}")
    request = SetCredentialsRequest(
        school_id=school,
        credentials=secrets_input.gather(credentials_file, connector.credentials, required=True),
        request_id=str(uuid.uuid4()),
    )
    answer = client.call(client.schools.SetCredentials, request)
    console.out().print(f"credentials of {school} {_credentials(answer.school)}")


def register(app: typer.Typer) -> None:
    """Add the group ``school`` to ``app``."""
    group = typer.Typer(no_args_is_help=True, help="Register schools and hold their connection to the MIS.")
    client_command(group, "add")(add)
    client_command(group, "list")(list_)
    client_command(group, "show")(show)
    client_command(group, "check")(check)
    client_command(group, "set-credentials")(set_credentials)
    thresholds.register(group)
    schedules.register(group)
    quiet_hours.register(group)
    app.add_typer(group, name="school")
