"""Who may do what with writes, and for how long (G17)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.rpc import following
from schoolgate_server.rpc.callers import CallersFile, hash_token
from schoolgate_server.rpc.write_ports import Writing
from schoolgate_server.store.store import Store
from tests.integration.rpc.conftest import SCHOOL
from tests.integration.rpc.test_writeback import DECISIONS, StandIn, decision
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import bearer, failure_of, new_request_id, refused, served
from tests.support.writes import behaviour

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


def decided(stubs: Any, method: str, who: str) -> Any:
    return getattr(stubs, method)(decision(method), metadata=bearer(who))


ROLES = {"reader": "READER", "writer": "WRITER", "approver": "APPROVER", "operator": "OPERATOR"}


def callers_file(path: Path, *names: str) -> Path:
    """Write the callers called ``names`` and one who is an administrator everywhere."""
    entries = [(name, ROLES[name], SCHOOL) for name in names] + [("boss", "ADMIN", "*")]
    path.write_text(
        "\n".join(
            f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(name)}"\n'
            f'roles = ["{role}"]\nschools = ["{school}"]'
            for name, role, school in entries
        )
    )
    return path


async def test_a_watcher_whose_token_is_revoked_is_sent_away(
    store: Store, mis: ScriptedMis, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing happens at the school. Seen to fail without looking again whether it is admitted."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)
    callers = CallersFile(callers_file(tmp_path / "callers.toml", "reader"), every_s=0.02)
    reading = asyncio.create_task(callers.follow())
    writing = Writing(stand_in, stand_in)
    connector = scripted_connector(mis)
    try:
        async with served(
            store, connector, callers=callers, clock=TickingClock(), writing=writing
        ) as running:
            await running.client.schools.CreateSchool(
                schools.CreateSchoolRequest(
                    school=schools.School(school_id=SCHOOL, connector="scripted"), request_id=new_request_id()
                ),
                metadata=bearer("boss"),
            )
            watched: Any = running.client.writeback.WatchWrites(
                pb.WatchWritesRequest(school_id=SCHOOL), metadata=bearer("reader")
            )
            stand_in.news.put_nowait(None)
            assert (await watched.read()).caught_up
            callers_file(tmp_path / "callers.toml")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                async with asyncio.timeout(10):
                    await watched.read()
            assert failure_of(raised.value).reason == "TOKEN_INVALID"
            assert stand_in.watchers == 0
    finally:
        reading.cancel()


async def test_g17_who_may_decide_what_is_told_apart_by_name(
    store: Store, mis: ScriptedMis, stand_in: StandIn, tmp_path: Path
) -> None:
    """No administrator writes or approves by rank, and no writer settles what is undecided."""
    callers = CallersFile(callers_file(tmp_path / "callers.toml", *ROLES))
    writing = Writing(stand_in, stand_in)
    async with served(
        store, scripted_connector(mis), callers=callers, clock=TickingClock(), writing=writing
    ) as running:
        stubs = running.client.writeback
        policy = pb.SetWritePolicyRequest(
            school_id=SCHOOL, policy=pb.WRITE_POLICY_ON, request_id=new_request_id()
        )
        submission = pb.SubmitWriteRequest(school_id=SCHOOL, operation=behaviour())
        school = schools.School(school_id=SCHOOL, connector="scripted")
        await running.client.schools.CreateSchool(
            schools.CreateSchoolRequest(school=school, request_id=new_request_id()), metadata=bearer("boss")
        )
        calls: dict[str, Callable[[str], Any]] = {
            "SubmitWrite": lambda who: stubs.SubmitWrite(submission, metadata=bearer(who)),
            "SetWritePolicy": lambda who: stubs.SetWritePolicy(policy, metadata=bearer(who)),
            **{method: functools.partial(decided, stubs, method) for method in DECISIONS},
        }
        may = {
            "SubmitWrite": {"writer"},
            "CancelWrite": {"writer"},
            "ReverseWrite": {"writer"},
            "ApproveWrite": {"approver"},
            "ResolveWrite": {"operator", "boss"},
            "SetWritePolicy": {"boss"},
        }
        for method, call in calls.items():
            for who in (*ROLES, "boss"):
                if who in may[method]:
                    await call(who)
                else:
                    assert (await refused(call(who))).reason == "ROLE_MISSING", (method, who)
