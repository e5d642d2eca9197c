"""Runs of the identity layer: they are accepted, performed and ended like any other run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.mis.connections import connection_of
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.sync import runner
from schoolgate_server.sync.operations import OperationEnv
from tests.support.engine import SCHOOL, Engine


async def _operation(engine: Engine, data: object, request_id: str = "") -> pb.Run:
    run = await engine.supervisor.start_operation(
        SCHOOL, orjson.dumps(data), request_id or str(uuid.uuid4()), "tests"
    )
    return await engine.finish(run.run_id)


@pytest.mark.parametrize("data", [{"type": "unheard of"}, {"type": 3}, [], {}])
async def test_an_operation_that_nobody_knows_fails_and_says_so(engine: Engine, data: object) -> None:
    run = await _operation(engine, data)
    assert (run.state, run.layer) == (pb.RUN_STATE_FAILED, pb.SYNC_LAYER_IDENTITY)
    assert run.failure.type == failures.FAILURE_TYPE_INTERNAL
    assert "does not know the operation" in run.failure.message


async def test_an_operation_is_performed_with_the_schools_lease_and_can_reach_a_mis(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def look(env: OperationEnv, entry: RunEntry, data: Mapping[str, Any]) -> None:
        school = await env.store.schools.get(entry.run.school_id)
        connector = env.connectors.get(school.connector)
        connection = await connection_of(env.store, env.clock, school, connector)
        async with env.sessions(connector, connection):
            seen.append((env.lease().school_id, data["what"], engine.mis.opened))
        await env.save()

    monkeypatch.setattr(runner, "OPERATIONS", {"look": look})
    request_id = str(uuid.uuid4())
    run = await _operation(engine, {"type": "look", "what": 7}, request_id)
    assert run.state == pb.RUN_STATE_SUCCEEDED
    again = await engine.supervisor.start_operation(
        SCHOOL, orjson.dumps({"type": "look", "what": 7}), request_id, "tests"
    )
    assert again.run_id == run.run_id
    assert seen == [(SCHOOL, 7, 1)]
    with pytest.raises(ServiceError):
        await engine.supervisor.start_operation(SCHOOL, b"{}", request_id, "tests")
