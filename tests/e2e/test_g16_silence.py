"""G16 at the process: its log, MongoDB's log, its answers and its runs hold no secret and no pupil's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import school_service_pb2 as s
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1.kind_pb2 import KIND_STUDENT
from tests.e2e.conftest import service
from tests.support.served import Client, new_request_id
from tests.support.simulator import start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

SURNAME, FORENAME = "Featherstonehaugh", "Zebedina"
WRONG = "a-secret-that-is-wrong"


async def store_credentials(client: Client, school_id: str, credentials: dict[str, str]) -> None:
    await client.schools.SetCredentials(
        s.SetCredentialsRequest(school_id=school_id, credentials=credentials, request_id=new_request_id())
    )


@pytest.mark.timeout(180)
async def test_g16_real_failures_say_nothing(tmp_path: Path) -> None:
    answers: list[Any] = []
    # Every failure is to be met by every dataset, so that no circuit may open before.
    settings = {"SCHOOLGATE_LOG__LEVEL": "DEBUG", "SCHOOLGATE_TRAFFIC__CIRCUIT_FAILURES": "1000"}
    with (
        start_simulator("--pupils", "30", "--marks-until", "2026-09-08") as simulator,
        service(tmp_path, settings) as running,
    ):
        simulator.edit({"op": "rename", "pupil": 3, "surname": SURNAME, "forename": FORENAME})
        right = simulator.credentials
        async with grpc.aio.insecure_channel(running.target) as channel:
            client = Client(channel)
            wrong = {**right, "application_secret": WRONG}
            quickly = {**simulator.settings, "retry_wait_seconds": "0.02"}
            school = await client.create_school("oak", "bromcom", quickly, wrong)
            answers += [school, await client.sync_to_the_end("oak")]
            answers.append(await client.schools.CheckConnection(s.CheckConnectionRequest(school_id="oak")))
            await store_credentials(client, "oak", right)
            for kind in ("invalid_json", "status", "reset", "success_false", "null_data"):
                simulator.faults({"kind": kind, "times": None})
                answers.append(await client.sync_to_the_end("oak"))
                simulator.clear_faults()
            final = await client.sync_to_the_end("oak")
            assert final.state == sync.RUN_STATE_SUCCEEDED
            by_name = q.Filter(field="surname", operator=q.FILTER_OPERATOR_EQUAL, values=[SURNAME])
            pages = client.query.QueryRecords(
                q.QueryRecordsRequest(school_id="oak", kind=KIND_STUDENT, filters=[by_name])
            )
            found = [record async for page in pages for record in page.records]
            everyone = client.query.QueryRecords(q.QueryRecordsRequest(school_id="oak", kind=KIND_STUDENT))
            upns = [record.student.upn async for page in everyone for record in page.records]
            answers.append(await client.sync.ListRuns(sync.ListRunsRequest(school_id="oak")))
            answers.append(await client.diagnostics.ListDecisions(d.ListDecisionsRequest(school_id="oak")))
    assert [record.student.forename for record in found] == [FORENAME], "the name was there to be leaked"
    states = {run.state for run in answers if isinstance(run, sync.Run)}
    assert states == {sync.RUN_STATE_FAILED}

    logs = [running.log, *(tmp_path / "data").rglob("*.log")]
    assert len(logs) > 1, "MongoDB's log is looked at too"
    texts = {str(path): path.read_text() for path in logs} | {"answers": "\n".join(map(str, answers))}
    hidden = [SURNAME, FORENAME, WRONG, *right.values(), *(upn for upn in upns if upn)]
    for where, text in texts.items():
        for word in hidden:
            assert word not in text, f"{where}: …{text[max(0, text.find(word) - 200) :][:400]}"
