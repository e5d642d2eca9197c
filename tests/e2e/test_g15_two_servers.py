"""G15 with real servers: an owner that stalls in a run, and two servers asked at once, again and again.

Two `schoolgate serve` processes share one MongoDB and one school. Their clocks are the machine's, so the one
that takes over waits the lease out, at the shortest that the settings allow.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from pymongo import MongoClient

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import KINDS
from schoolgate_sdk.testing.world import World
from tests.e2e.conftest import Service, service
from tests.support.bromcom_truth import shown_at_bromcom
from tests.support.documents import take_retained
from tests.support.live import CLOSED_YEAR, READ_KINDS, Live
from tests.support.looks import Look, assert_equals_the_world, key_of
from tests.support.mongo import empty_databases, mongo_database, mongo_uri
from tests.support.processes import stands_still, wait_until
from tests.support.served import failure_of, new_request_id
from tests.support.simulator import Simulator, start_simulator

__all__ = ["empty_databases", "mongo_database", "mongo_uri"]

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("two servers")]

SEED, PUPILS, BEGINS, MARKS_UNTIL = 7, 60, date(2024, 9, 1), date(2024, 9, 14)
SCHOOL = "shared"
ROUNDS = 8


@dataclass
class Two:
    """Two servers of one school, the MIS that they read, and what it is to show."""

    owner: Live
    rival: Live
    processes: tuple[Service, Service]
    simulator: Simulator
    world: World

    def edit(self, **edit: object) -> None:
        assert self.simulator.edit(edit) == self.world.apply(edit)

    def assert_all_is_as_in_the_world(self, seen_by: Live) -> None:
        records = {key_of(record.source_keys[0]): record for record in seen_by.everything(SCHOOL).values()}
        assert_equals_the_world(Look(shown_at_bromcom(self.world), records, 0))

    def head(self) -> dict[str, Any]:
        [head] = self.owner.database["heads"].find({})
        return head


@pytest.fixture
def two(tmp_path: Path, mongo_uri: str, mongo_database: str) -> Generator[Two]:
    arguments = ("--seed", str(SEED), "--pupils", str(PUPILS), "--academic-year-start", str(BEGINS))
    key = tmp_path / "vault.key"
    key.write_bytes(b"\x07" * 96)
    settings = {
        "SCHOOLGATE_MONGO__URI": mongo_uri,
        "SCHOOLGATE_MONGO__DATABASE": mongo_database,
        "SCHOOLGATE_SYNC__LEASE_TTL_S": "5",
        "SCHOOLGATE_SYNC__COMMIT_BATCH": "50",
        "SCHOOLGATE_VAULT__KEY_FILE": str(key),
    }
    with ExitStack() as stack:
        simulator = stack.enter_context(start_simulator(*arguments, "--marks-until", str(MARKS_UNTIL)))
        client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, tz_aware=True)
        stack.callback(client.close)
        processes = [stack.enter_context(woken(tmp_path / name, settings)) for name in ("owner", "rival")]
        owner, rival = (
            Live(stack.enter_context(grpc.insecure_channel(running.target)), client[mongo_database])
            for running in processes
        )
        profile = [f"{KINDS[kind].name}.*" for kind in READ_KINDS]
        owner.register(SCHOOL, simulator, academic_year=CLOSED_YEAR, data_profile=profile)
        world = World.build(SEED, PUPILS, BEGINS, MARKS_UNTIL)
        yield Two(owner, rival, (processes[0], processes[1]), simulator, world)


@contextmanager
def woken(folder: Path, settings: dict[str, str]) -> Generator[Service]:
    """Run a service that is woken before it is asked to end, whatever became of the test."""
    folder.mkdir()
    with service(folder, settings) as running:
        try:
            yield running
        finally:
            running.process.send_signal(signal.SIGCONT)


def started(server: Live) -> pb.Run:
    """Ask a server for a run."""
    return server.runs.StartSync(pb.StartSyncRequest(school_id=SCHOOL, request_id=new_request_id())).run


def ended(server: Live, run: pb.Run) -> pb.Run:
    """Watch a run by a server until it has ended."""
    request = pb.WatchRunRequest(school_id=SCHOOL, run_id=run.run_id)
    return [state.run for state in server.runs.WatchRun(request)][-1]


def test_g15_a_stalled_owner_that_wakes_up_changes_nothing(two: Two) -> None:
    assert two.owner.sync(SCHOOL).state == pb.RUN_STATE_SUCCEEDED
    first = two.head()["published"]
    known = two.owner.everything(SCHOOL, seq=first)
    for pupil in list(two.world.pupils)[:12]:
        two.edit(op="rename", pupil=pupil, surname="Overtaken")
    two.simulator.faults({"kind": "slow", "seconds": 3.0, "entity": "BasicAttendance", "page": 0})
    run = started(two.owner)
    wait_until(lambda: two.head()["published"] > first, "the owner has committed something")
    owner = two.processes[0].process
    owner.send_signal(signal.SIGSTOP)
    wait_until(lambda: stands_still(owner.pid), "the owner stands still")
    stalled_at = two.head()

    done = ended(two.rival, run)
    assert (done.state, done.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
    assert two.head()["epoch"] == stalled_at["epoch"] + 1
    two.assert_all_is_as_in_the_world(two.rival)
    before = two.rival.documents()
    owner.send_signal(signal.SIGCONT)
    wait_until(lambda: "lost" in two.processes[0].log.read_text(), "the owner has noticed")
    assert ended(two.owner, run) == done
    after = two.rival.documents()
    kept = take_retained(before)
    assert all(kept.values())
    assert take_retained(after) == kept
    assert after == before
    two.assert_all_is_as_in_the_world(two.owner)
    assert two.owner.everything(SCHOOL, seq=first) == known

    again = two.owner.sync(SCHOOL)
    assert (again.state, again.seq_after) == (pb.RUN_STATE_SUCCEEDED, done.seq_after)


def test_g15_two_servers_asked_at_once_are_never_at_work_at_once(two: Two) -> None:
    pupils = iter(list(two.world.pupils))
    runs: list[pb.Run] = []
    with ThreadPoolExecutor(2) as threads:
        for number in range(ROUNDS):
            two.edit(op="rename", pupil=next(pupils), surname=f"Round {number}")
            asked = list(threads.map(ask, (two.owner, two.rival)))
            accepted = [run for run in asked if run is not None]
            assert accepted
            runs += [ended(two.rival, run) for run in accepted]
    assert {run.state for run in runs} == {pb.RUN_STATE_SUCCEEDED}
    runs.sort(key=lambda run: run.started_at.ToNanoseconds())
    for earlier, later in pairwise(runs):
        assert earlier.finished_at.ToNanoseconds() <= later.started_at.ToNanoseconds()
        assert earlier.seq_after == later.seq_before
    two.assert_all_is_as_in_the_world(two.owner)
    two.assert_all_is_as_in_the_world(two.rival)


def test_a_run_is_cancelled_by_whichever_server_is_asked(two: Two) -> None:
    """Seen to fail, as a run that succeeds, where the renewal of the lease does not tell of it."""
    assert two.owner.sync(SCHOOL).state == pb.RUN_STATE_SUCCEEDED
    for pupil in list(two.world.pupils)[:3]:
        two.edit(op="rename", pupil=pupil, surname="Renamed")
    # Several times as long as between two renewals.
    two.simulator.faults({"kind": "slow", "seconds": 12.0, "entity": "BasicAttendance", "page": 0})
    run = started(two.owner)
    asked = pb.GetRunRequest(school_id=SCHOOL, run_id=run.run_id)

    def is_reading() -> bool:
        parts = two.rival.runs.GetRun(asked).run.datasets
        return any(
            part.dataset == "attendance_marks" and part.state == pb.DATASET_STATE_READING for part in parts
        )

    wait_until(is_reading, "the owner reads attendance")
    two.rival.runs.CancelRun(
        pb.CancelRunRequest(school_id=SCHOOL, run_id=run.run_id, request_id=new_request_id())
    )
    done = ended(two.rival, run)
    assert (done.state, done.resumptions) == (pb.RUN_STATE_CANCELLED, 0)
    assert sum(part.tombstoned for part in done.datasets) == 0
    assert two.rival.sync(SCHOOL).state == pb.RUN_STATE_SUCCEEDED
    two.assert_all_is_as_in_the_world(two.owner)


def ask(server: Live) -> pb.Run | None:
    """Return the run that a server begins; none where it says that another one is at work."""
    try:
        return started(server)
    except grpc.RpcError as error:
        failure = failure_of(cast("Any", error))
    assert failure.reason == "RUN_IN_PROGRESS"
    return None
