from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from schoolgate.v1 import diagnostics_service_pb2 as d
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as s
from schoolgate_server.rpc import following
from schoolgate_server.rpc.callers import CallersFile, hash_token
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.support.engine import TickingClock
from tests.support.scripted import STUDENTS, ScriptedMis, scripted_connector, student
from tests.support.served import Client, Served, bearer, failure_of, new_request_id, refused, served


@pytest.fixture
async def registered(client: Client) -> Client:
    await client.create_school(SCHOOL, "scripted")
    return client


def start(**changes: object) -> s.StartSyncRequest:
    return s.StartSyncRequest(**{"school_id": SCHOOL, "request_id": new_request_id(), **changes})  # type: ignore[arg-type]


async def test_a_run_is_returned_at_once_and_watched_to_its_end(registered: Client) -> None:
    run = (await registered.sync.StartSync(start())).run
    assert run.state in {s.RUN_STATE_QUEUED, s.RUN_STATE_RUNNING}
    assert run.requested_by == "local"
    request = s.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)
    states = [response.run.state async for response in registered.sync.WatchRun(request)]
    assert states[-1] == s.RUN_STATE_SUCCEEDED
    got = await registered.sync.GetRun(s.GetRunRequest(school_id=SCHOOL, run_id=run.run_id))
    assert got.run.state == s.RUN_STATE_SUCCEEDED
    again = [response.run async for response in registered.sync.WatchRun(request)]
    assert again == [got.run], "a run that has ended shows its final state and nothing else"


async def test_a_repeated_request_returns_the_first_ones_run(registered: Client) -> None:
    request = start()
    first = await registered.sync.StartSync(request)
    assert (await registered.sync.StartSync(request)).run.run_id == first.run.run_id
    request.datasets.append(STUDENTS)
    assert (await refused(registered.sync.StartSync(request))).reason == "REQUEST_ID_REUSED"


async def test_a_second_run_is_refused_with_the_first_ones_id(registered: Client, mis: ScriptedMis) -> None:
    first = (await registered.sync.StartSync(start())).run
    failure = await refused(registered.sync.StartSync(start()))
    assert (failure.reason, failure.metadata) == ("RUN_IN_PROGRESS", {"run_id": first.run_id})


async def test_a_run_is_cancelled(registered: Client, mis: ScriptedMis) -> None:
    mis.rows[STUDENTS] = [student(number) for number in range(2000)]
    run = (await registered.sync.StartSync(start())).run
    request = s.CancelRunRequest(school_id=SCHOOL, run_id=run.run_id, request_id=new_request_id())
    assert (await registered.sync.CancelRun(request)).run.cancel_requested
    watched = s.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)
    states = [response.run.state async for response in registered.sync.WatchRun(watched)]
    assert states[-1] == s.RUN_STATE_CANCELLED
    assert (await registered.sync.CancelRun(request)).run.state == s.RUN_STATE_CANCELLED


async def test_runs_are_listed_newest_first_in_pages(registered: Client) -> None:
    runs = [(await registered.sync_to_the_end(SCHOOL)).run_id for _ in range(3)]
    request, seen = s.ListRunsRequest(school_id=SCHOOL, page_size=2), list[str]()
    while True:
        response = await registered.sync.ListRuns(request)
        seen += [run.run_id for run in response.runs]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert seen == runs[::-1]


async def test_what_does_not_exist_is_named(registered: Client) -> None:
    run_id = f"run_{0:032x}"
    calls = (
        registered.sync.GetRun(s.GetRunRequest(school_id=SCHOOL, run_id=run_id)),
        registered.sync.WatchRun(s.WatchRunRequest(school_id=SCHOOL, run_id=run_id)),
        registered.sync.CancelRun(
            s.CancelRunRequest(school_id=SCHOOL, run_id=run_id, request_id=new_request_id())
        ),
    )
    for call in calls:
        failure = await refused(call)
        assert (failure.reason, failure.metadata) == (
            "RUN_NOT_FOUND",
            {"school_id": SCHOOL, "run_id": run_id},
        )
    failure = await refused(registered.sync.StartSync(start(datasets=["lunches"])))
    assert (failure.reason, failure.metadata) == (
        "DATASET_UNKNOWN",
        {"dataset": "lunches", "connector": "scripted"},
    )
    assert (await refused(registered.sync.StartSync(start(school_id="elm")))).reason == "SCHOOL_NOT_FOUND"
    assert (
        await refused(registered.sync.ListRuns(s.ListRunsRequest(school_id="elm")))
    ).reason == "SCHOOL_NOT_FOUND"


async def test_malformed_requests_name_every_field(registered: Client) -> None:
    failure = await refused(registered.sync.StartSync(start(request_id="", datasets=[STUDENTS, STUDENTS])))
    assert list(failure.violations) == ["request_id", "datasets"]
    for name in ("", "x" * 81, "a\x00b"):
        failure = await refused(registered.sync.StartSync(start(datasets=[STUDENTS, name])))
        assert (failure.reason, list(failure.violations)) == ("REQUEST_INVALID", ["datasets[1]"])
    failure = await refused(registered.sync.GetRun(s.GetRunRequest(school_id="?", run_id="?")))
    assert list(failure.violations) == ["school_id", "run_id"]


async def test_decisions_are_listed_in_pages(registered: Client, mis: ScriptedMis) -> None:
    mis.rows[STUDENTS] += [student(100 + number, broken=True) for number in range(3)]
    await registered.sync_to_the_end(SCHOOL)
    request, seen = d.ListDecisionsRequest(school_id=SCHOOL, page_size=2), list[str]()
    while True:
        response = await registered.diagnostics.ListDecisions(request)
        seen += [decision.decision_id for decision in response.decisions]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert len(seen) == len(set(seen)) == 3
    none = d.ListDecisionsRequest(school_id=SCHOOL, dataset="groups")
    assert not (await registered.diagnostics.ListDecisions(none)).decisions


@pytest.mark.timeout(30)
async def test_a_stopping_server_ends_its_watchers_and_takes_no_new_work(
    registered: Client, running: Served, mis: ScriptedMis
) -> None:
    mis.rows[STUDENTS] = [student(number) for number in range(3000)]
    run = (await registered.sync.StartSync(start())).run
    watching = asyncio.ensure_future(
        refused(registered.sync.WatchRun(s.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)))
    )
    await asyncio.sleep(0.2)
    await running.server.close_to_new_calls()
    failure = await watching
    assert (failure.reason, failure.retry_after) == ("SHUTTING_DOWN", 2.0)
    failure = await refused(registered.sync.ListRuns(s.ListRunsRequest(school_id=SCHOOL)))
    assert failure.reason == "SHUTTING_DOWN"


@pytest.mark.timeout(60)
async def test_who_watches_a_run_and_whose_token_is_revoked_is_sent_away(
    store: Store, mis: ScriptedMis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where nobody looks again whether who watches is admitted."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)

    def write(*names: str) -> Path:
        path = tmp_path / "callers.toml"
        path.write_text(
            "\n".join(
                f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(name)}"\n'
                'roles = ["ADMIN"]\nschools = ["*"]'
                for name in names
            )
        )
        return path

    callers = CallersFile(write("a", "b"), every_s=0.02)
    reading = asyncio.create_task(callers.follow())
    try:
        async with served(store, scripted_connector(mis), callers=callers, clock=TickingClock()) as running:
            client = running.client
            school = schools.School(school_id=SCHOOL, connector="scripted")
            request = schools.CreateSchoolRequest(school=school, request_id=new_request_id())
            await client.schools.CreateSchool(request, metadata=bearer("b"))
            # Another server is at work on the school, so that the run waits.
            assert await store.leases.acquire(SCHOOL, "another", timedelta(hours=1)) is not None
            run = (await client.sync.StartSync(start(), metadata=bearer("b"))).run
            watched: Any = client.sync.WatchRun(
                s.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id), metadata=bearer("a")
            )
            assert (await watched.read()).run.run_id == run.run_id
            write("b")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async with asyncio.timeout(10):
                    await watched.read()
            assert failure_of(raised.value).reason == "TOKEN_INVALID"
    finally:
        reading.cancel()
