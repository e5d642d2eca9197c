"""The final state of a run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.sync.conclusion import conclude

NOW = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
OK, BAD = pb.DATASET_STATE_SUCCEEDED, pb.DATASET_STATE_FAILED
HELD, SKIPPED = pb.DATASET_STATE_HELD, pb.DATASET_STATE_SKIPPED
READING, PENDING = pb.DATASET_STATE_READING, pb.DATASET_STATE_PENDING


def _run(*states: pb.DatasetState.ValueType, cancel: bool = False, failed: bool = False) -> pb.Run:
    run = pb.Run(cancel_requested=cancel, datasets=[pb.DatasetRun(state=state) for state in states])
    for part in run.datasets:
        if part.state == BAD:
            part.failure.message = "bad"
    if failed:
        run.failure.CopyFrom(failures.Failure(message="the whole"))
    return run


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (_run(OK, OK), pb.RUN_STATE_SUCCEEDED),
        (_run(OK, OK, cancel=True), pb.RUN_STATE_SUCCEEDED),
        (_run(OK, PENDING, cancel=True), pb.RUN_STATE_CANCELLED),
        (_run(OK, BAD), pb.RUN_STATE_PARTIAL),
        (_run(HELD), pb.RUN_STATE_PARTIAL),
        (_run(BAD, READING), pb.RUN_STATE_FAILED),
        (_run(), pb.RUN_STATE_SUCCEEDED),
        (_run(failed=True), pb.RUN_STATE_FAILED),
        (_run(cancel=True), pb.RUN_STATE_SUCCEEDED),
    ],
)
def test_a_run_ends_as_its_datasets_do(run: pb.Run, state: pb.RunState.ValueType) -> None:
    conclude(run, NOW)
    assert run.state == state
    assert run.finished_at.ToDatetime(tzinfo=UTC) == NOW
    assert not any(part.state in {READING, PENDING} for part in run.datasets)
    assert run.HasField("failure") == (state == pb.RUN_STATE_FAILED)


def test_an_operation_that_was_stopped_is_cancelled() -> None:
    run = _run(cancel=True)
    conclude(run, NOW, stopped=True)
    assert run.state == pb.RUN_STATE_CANCELLED


def test_a_skipped_dataset_is_told_from_a_failed_one() -> None:
    run = _run(BAD, READING)
    conclude(run, NOW)
    assert [part.state for part in run.datasets] == [BAD, SKIPPED]
    assert run.failure.message == "bad"
