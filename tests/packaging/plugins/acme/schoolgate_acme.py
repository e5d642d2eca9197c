"""A connector for a MIS that is a constant: three pupils, one of whom is a blank, and a form of two."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

from schoolgate.v1.diagnostics_service_pb2 import DECISION_REASON_VALUE_INVALID
from schoolgate.v1.groups_pb2 import Group, GroupMembership
from schoolgate.v1.kind_pb2 import KIND_GROUP, KIND_GROUP_MEMBERSHIP, KIND_STUDENT
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk import (
    AuthInvalid,
    Connector,
    Dataset,
    EndOfSnapshot,
    FieldSpec,
    KindSpec,
    Page,
    Parsed,
    Ref,
    Row,
    RowRejected,
    SchoolConnection,
    Scope,
    hookimpl,
    source_key,
)

ROWS: Mapping[str, tuple[Row, ...]] = {
    "students": (
        {"no": 1, "surname": "Adeyemi", "forename": "Bola"},
        {"no": 2, "surname": "Błaszczyk", "forename": "Zofia"},
        {"no": 3, "surname": "", "forename": "Nobody"},
    ),
    "forms": ({"code": "7A", "pupils": [1, 2], "since": "2026-09-01"},),
}


def parse_student(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    key = source_key("acme/pupil", row["no"])
    if not row["surname"]:
        raise RowRejected(DECISION_REASON_VALUE_INVALID, "surname", "is empty", key)
    message = Student(surname=row["surname"], forename=row["forename"])
    message.year_group_code = settings["year_group"]
    yield Parsed(KIND_STUDENT, key, message)


def parse_form(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    form = source_key("acme/form", row["code"])
    yield Parsed(KIND_GROUP, form, Group(name=row["code"]))
    for number in row["pupils"]:
        yield Parsed(
            KIND_GROUP_MEMBERSHIP,
            source_key("acme/form_pupil", row["code"], number),
            GroupMembership(valid_from=row["since"]),
            (
                Ref("group_id", KIND_GROUP, form),
                Ref("student_id", KIND_STUDENT, source_key("acme/pupil", number)),
            ),
        )


class Session:
    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        rows = ROWS[scope.dataset]
        for index in range(int(cursor or 0), len(rows)):
            yield Page((rows[index],), str(index + 1))
        yield Page(end=EndOfSnapshot(terminator_proven=True, expected_rows=len(rows)))


@asynccontextmanager
async def open_session(connection: SchoolConnection) -> AsyncGenerator[Session]:
    if connection.credentials.get("api_key") != "open sesame":
        raise AuthInvalid("Acme does not accept the API key")
    yield Session()


@hookimpl
def schoolgate_connector() -> Connector:
    return Connector(
        name="acme",
        display_name="Acme MIS",
        version=version("schoolgate-acme"),
        settings=(FieldSpec("year_group", "Year group of every pupil.", default="7"),),
        credentials=(FieldSpec("api_key", "Key that Acme gave to the school.", required=True),),
        datasets=(
            Dataset("students", (KindSpec(KIND_STUDENT, "acme/pupil"),), ("Pupils",), parse_student, 1),
            Dataset(
                "forms",
                (KindSpec(KIND_GROUP, "acme/form"), KindSpec(KIND_GROUP_MEMBERSHIP, "acme/form_pupil")),
                ("Forms",),
                parse_form,
                1,
            ),
        ),
        open=open_session,
    )
