"""G16: secrets planted in a vault on a real mongod are in nothing that a run leaves behind or says."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import bson
import pytest
from aiohttp import web
from loguru import logger
from pymongo import AsyncMongoClient

from schoolgate.v1 import failure_pb2 as f
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.log import Redactor, configure_logging
from schoolgate_server.store.store import Store
from schoolgate_server.store.vault import CredentialVault, Kms
from tests.support.engine import TickingClock
from tests.support.guarded import Asked, GuardedMis, guarded_connector, guarded_mis
from tests.support.scripted import GROUPS, STUDENTS, ScriptedMis, group, student
from tests.support.served import Served, new_request_id, served

pytestmark = pytest.mark.mongod

SCHOOL = "oak"
FIRST, SECOND = "Planted-S3cret-one", "Planted-S3cret-two"
NAME = "Featherstonehaugh"
HIDDEN = (FIRST, SECOND, NAME)


@pytest.fixture
async def store(mongo_uri: str, mongo_database: str) -> AsyncGenerator[Store]:
    client = AsyncMongoClient[Any](mongo_uri, serverMonitoringMode="poll")
    clock = TickingClock()
    opened = Store.open(client, mongo_database, clock)
    await opened.prepare()
    vault = CredentialVault(client, mongo_database, opened.schools, Kms.local(bytes(range(96))), clock)
    opened.credentials, opened.row_seal = vault, vault
    yield opened
    await vault.close()
    await opened.close()


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
async def mis() -> AsyncGenerator[GuardedMis]:
    rows = ScriptedMis()
    rows.rows[STUDENTS] = [student(number, f"{NAME}-{number}") for number in range(25)]
    rows.rows[GROUPS] = [group(0)]
    async with guarded_mis(rows) as running:
        running.tokens = {FIRST}
        yield running


def says(status: int, words: str = "") -> Callable[[Asked], Awaitable[web.Response | None]]:
    """Answer everything with ``status``, quoting the secret and a pupil as a careless MIS would."""

    async def answer(asked: Asked) -> web.Response | None:
        text = words or f"token {asked.token} may not see {NAME}"
        headers = {"Location": f"/{asked.token}/{NAME}", "WWW-Authenticate": f"Bearer {asked.token}"}
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def everything(store: Store, running: Served, log: io.StringIO, answers: list[object]) -> str:
    """Return the log, what was answered, and every document but pupils' records and sealed rows, as text."""
    runs = await running.client.sync.ListRuns(pb.ListRunsRequest(school_id=SCHOOL, page_size=1000))
    documents: list[str] = []
    handle: Any = store.database.handle
    for name in await handle[store.database.name].list_collection_names():
        if name not in {"records", "history"}:
            found = await store.database.collection(name).find({})
            documents += [repr(document) + str(bson.encode(document)) for document in found]
    return "\n".join([log.getvalue(), str(runs), *map(str, answers), *documents])


async def test_g16_a_schools_life_with_its_credentials_shows_none_of_them(
    store: Store, mis: GuardedMis, log: io.StringIO
) -> None:
    """Seen to fail with a secret in an error's text, and with a connection's credentials in a log line."""
    # A redactor that knows nothing: the second line would hide what the first one lets through.
    async with served(store, guarded_connector(mis, attempts=2), clock=TickingClock()) as running:
        configure_logging(Redactor(), level="DEBUG", stream=log)
        client, answers = running.client, list[object]()
        await client.create_school(SCHOOL, "scripted", credentials={"token": FIRST})
        answers.append(await client.sync_to_the_end(SCHOOL))

        async def rotate(asked: Asked) -> web.Response | None:
            if asked.token == FIRST and asked.page == 1:
                mis.tokens = {SECOND}
                request = s.SetCredentialsRequest(
                    school_id=SCHOOL, credentials={"token": SECOND}, request_id=new_request_id()
                )
                answers.append(await client.schools.SetCredentials(request))
            return None

        mis.answers = rotate
        run = await client.sync_to_the_end(SCHOOL)
        assert SECOND in {asked.token for asked in mis.asked}
        answers.append(run)

        types: set[int] = set()
        refusals = [(code, "") for code in (401, 403, 404, 418, 302, 429)]
        refusals += [(401, words) for words in ("expired", "revoked", "partner")]
        for status, words in (*refusals, (500, "")):
            mis.answers = says(status, words)
            run = await client.sync_to_the_end(SCHOOL)
            types |= {part.failure.type for part in run.datasets} | {run.failure.type}
            check = s.CheckConnectionRequest(school_id=SCHOOL)
            answers += [run, await client.schools.CheckConnection(check)]
            answers.append(await client.schools.GetSchool(s.GetSchoolRequest(school_id=SCHOOL)))
        text = await everything(store, running, log, answers)
    assert types >= {
        f.FAILURE_TYPE_AUTH_INVALID,
        f.FAILURE_TYPE_AUTH_EXPIRED,
        f.FAILURE_TYPE_AUTH_REVOKED,
        f.FAILURE_TYPE_PERMISSION,
        f.FAILURE_TYPE_RATE_LIMITED,
        f.FAILURE_TYPE_TRANSIENT,
        f.FAILURE_TYPE_SCHEMA,
        f.FAILURE_TYPE_UNSUPPORTED,
    }
    assert "a read failed at attempt" in text
    assert "going on with those that were stored since" in text
    for hidden in HIDDEN:
        assert hidden not in text, text[max(0, text.find(hidden) - 300) : text.find(hidden) + 100]
