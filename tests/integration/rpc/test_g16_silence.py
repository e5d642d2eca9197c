"""G16: whatever fails, neither a secret nor a pupil's name gets into a log line, an error or a run."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from loguru import logger

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate_sdk import (
    Connector,
    ConnectorError,
    FieldSpec,
    Parsed,
    Row,
    RowRejected,
    SchemaChanged,
    SchoolConnection,
    Transient,
    Unsupported,
)
from schoolgate_server.log import configure_logging
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import (
    STUDENTS,
    ScriptedMis,
    ScriptedSession,
    parse_student,
    scripted_connector,
    student,
)
from tests.support.served import Client, Served, new_request_id, refused, served

NAME = "Featherstonehaugh"
SECRET = "S3cret-of-the-MIS"
OTHER_SECRET = "An0ther-secret"
TOKEN = "token-that-nobody-knows"

PUPIL = f'{{"guardian": "{"." * 600}", "surname": "{NAME}"}}'
"""The body of an answer, as a connector may quote it against all advice."""


class Session:
    """Everything that was logged, answered and stored, as text."""

    def __init__(self, served: Served, log: io.StringIO) -> None:
        self.client: Client = served.client
        self._log = log
        self._answers: list[str] = []

    async def fails(self, call: Any) -> None:
        self._answers.append(str(await refused(call)))

    async def note(self, answer: Any) -> None:
        self._answers.append(str(await answer))

    async def text(self) -> str:
        runs = await self.client.sync.ListRuns(sync.ListRunsRequest(school_id=SCHOOL, page_size=1000))
        decisions = await self.client.diagnostics.ListDecisions(d.ListDecisionsRequest(school_id=SCHOOL))
        return "\n".join([self._log.getvalue(), *self._answers, str(runs), str(decisions)])


def crashing_parser(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    if row.get("crash"):
        raise ValueError(f"cannot read {row}")
    if row.get("quoted"):
        raise RowRejected(d.DECISION_REASON_VALUE_INVALID, f"surname{PUPIL}", f"cannot be: {PUPIL}")
    return parse_student(row, settings)


class Mis(ScriptedMis):
    """A scripted MIS that may refuse to be opened, and says too much when it does."""

    refuses: Exception | None = None


def talkative_connector(mis: Mis) -> Connector:
    @asynccontextmanager
    async def open_session(connection: SchoolConnection) -> AsyncGenerator[ScriptedSession]:
        logging.getLogger("acme").info("opening with %s", connection.credentials)
        if mis.refuses is not None:
            raise mis.refuses
        yield ScriptedSession(mis)

    connector = scripted_connector(mis)
    changes: dict[str, Any] = {
        "open": open_session,
        "credentials": (FieldSpec("secret", "The secret.", required=True),),
    }
    for name, value in changes.items():
        object.__setattr__(connector, name, value)
    object.__setattr__(connector.datasets[0], "parser", crashing_parser)
    return connector


@pytest.fixture
def log() -> Generator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    logger.remove()
    logger.add(sys.stderr)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def acme() -> Mis:
    mis = Mis()
    mis.rows[STUDENTS] = [student(number, surname=f"{NAME}-{number}") for number in range(30)]
    return mis


@pytest.fixture
async def session(store: Store, acme: Mis, log: io.StringIO) -> AsyncGenerator[Session]:
    async with served(store, talkative_connector(acme), clock=TickingClock()) as running:
        configure_logging(running.redactor, level="DEBUG", stream=log)
        await running.client.create_school(SCHOOL, "scripted", credentials={"secret": SECRET})
        yield Session(running, log)


async def fail_at_the_mis(session: Session, acme: Mis) -> None:
    """Sync while rows, pages and the MIS itself fail, each with a name or a secret in its words."""
    client = session.client
    # Rows that crash the parser, of which one is a defect that quotes the row.
    acme.rows[STUDENTS] += [
        student(90, NAME, crash=True),
        student(91, NAME, broken=True),
        {"id": 92, NAME: NAME},
    ]
    await client.sync_to_the_end(SCHOOL)

    # A MIS that fails in its own words, on purpose and not.
    for error in (
        RuntimeError(f"{SECRET} refused for {NAME}"),
        Transient("HTTP 503"),
        KeyError(NAME),
    ):
        acme.refuses = error
        await client.sync_to_the_end(SCHOOL)
        check = s.CheckConnectionRequest(school_id=SCHOOL)
        if not isinstance(error, Transient):
            await session.note(client.schools.CheckConnection(check))
    acme.refuses = None

    def broken_page(dataset: str, index: int) -> None:
        raise RuntimeError(f"page {index} of {NAME} with {SECRET}")

    acme.on_page = broken_page
    await client.sync_to_the_end(SCHOOL)
    acme.on_page = lambda dataset, index: None


async def test_g16_a_whole_session_says_nothing(session: Session, acme: Mis, store: Store) -> None:
    client = session.client
    await client.sync_to_the_end(SCHOOL)

    await fail_at_the_mis(session, acme)

    # Callers who send too much.
    for credentials in (
        {"secret": OTHER_SECRET, "unknown": OTHER_SECRET},
        {OTHER_SECRET: "secret"},
    ):
        await session.fails(
            client.schools.SetCredentials(
                s.SetCredentialsRequest(
                    school_id=SCHOOL, credentials=credentials, request_id=new_request_id()
                )
            )
        )
    for values in ([NAME, NAME], []):
        condition = q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=values)
        await session.fails(
            client.query.CountRecords(
                q.CountRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, filters=[condition])
            )
        )
    condition = q.Filter(field="date_of_birth", operator=q.FILTER_OPERATOR_EQUAL, values=[NAME])
    await session.fails(
        client.query.CountRecords(
            q.CountRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT, filters=[condition])
        )
    )
    metadata = (("authorization", f"Bearer {TOKEN}"), ("x-correlation-id", NAME + " with a blank"))
    await client.schools.ListSchools(s.ListSchoolsRequest(), metadata=metadata)

    text = await session.text()
    assert "call ended" in text
    assert "opening with" in text
    assert "PARSER_ERROR" in text
    for hidden in (NAME, SECRET, OTHER_SECRET, TOKEN):
        assert hidden not in text, text[max(0, text.find(hidden) - 300) : text.find(hidden) + 100]
    assert await store.credentials.get(SCHOOL) == {"secret": SECRET}


@pytest.mark.parametrize(
    "error",
    [
        SchemaChanged(f"HTTP 400 to {SECRET}:{PUPIL}", entity=f"Students?key={SECRET}{PUPIL}"),
        Unsupported(f"{'.' * 490}{SECRET}{PUPIL}"),
    ],
)
async def test_g16_a_connector_that_quotes_what_it_got_loses_the_secret_and_the_body(
    session: Session, acme: Mis, error: ConnectorError
) -> None:
    client = session.client
    acme.rows[STUDENTS].append(student(90, NAME, quoted=True))
    await client.sync_to_the_end(SCHOOL)

    def fail(dataset: str, index: int) -> None:
        if index == 1:
            raise error

    acme.on_page = fail
    failed = await client.sync_to_the_end(SCHOOL)
    assert error.message[:9] in str(failed), "it was there to be told"
    acme.on_page = lambda dataset, index: None
    acme.refuses = error
    await client.sync_to_the_end(SCHOOL)
    await session.note(client.schools.CheckConnection(s.CheckConnectionRequest(school_id=SCHOOL)))
    text = await session.text()
    assert "cannot be: {" in text.replace("\\", "")
    for hidden in (NAME, SECRET, SECRET[:8]):
        assert hidden not in text, text[max(0, text.find(hidden) - 300) : text.find(hidden) + 100]


async def test_g16_a_defect_in_the_server_says_nothing(
    session: Session, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError(f"{NAME} {SECRET}")

    monkeypatch.setattr(store.records, "count", broken)
    call = session.client.query.CountRecords(q.CountRecordsRequest(school_id=SCHOOL, kind=kinds.KIND_STUDENT))
    await session.fails(call)
    text = await session.text()
    assert "call failed on a defect" in text
    assert "test_g16_silence.py" in text, "the place of the defect"
    assert NAME not in text
    assert SECRET not in text


async def test_what_is_said_in_plain_words_is_found(session: Session) -> None:
    """The tests above look where they should."""
    logger.warning("a pupil called {}", NAME)
    assert NAME in await session.text()
