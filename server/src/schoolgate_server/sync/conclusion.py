"""The final state of a run, as its datasets amount to it."""

from __future__ import annotations

from datetime import datetime

from schoolgate.v1 import sync_service_pb2 as pb

UNFINISHED = frozenset({pb.DATASET_STATE_PENDING, pb.DATASET_STATE_READING, pb.DATASET_STATE_SEALING})
"""States of datasets that a run taken up again goes on with."""

_NOTHING_DONE = frozenset({pb.DATASET_STATE_FAILED, pb.DATASET_STATE_SKIPPED})


def conclude(run: pb.Run, now: datetime, *, stopped: bool = False) -> None:
    """Give ``run`` its final state, and its unfinished datasets theirs; ``now`` is when it ended.

    A run without datasets succeeded unless it was ``stopped`` on request or has a failure.
    """
    for part in run.datasets:
        if part.state in UNFINISHED:
            part.state = pb.DATASET_STATE_SKIPPED
    run.state = _state(run) if run.datasets else _state_of_operation(run, stopped=stopped)
    if run.state == pb.RUN_STATE_FAILED and not run.HasField("failure"):
        run.failure.CopyFrom(next(part.failure for part in run.datasets if part.HasField("failure")))
    run.finished_at.FromDatetime(now)


def _state(run: pb.Run) -> pb.RunState.ValueType:
    states = {part.state for part in run.datasets}
    if states == {pb.DATASET_STATE_SUCCEEDED}:
        return pb.RUN_STATE_SUCCEEDED
    if run.cancel_requested:
        return pb.RUN_STATE_CANCELLED
    return pb.RUN_STATE_FAILED if states <= _NOTHING_DONE else pb.RUN_STATE_PARTIAL


def _state_of_operation(run: pb.Run, *, stopped: bool) -> pb.RunState.ValueType:
    if stopped:
        return pb.RUN_STATE_CANCELLED
    return pb.RUN_STATE_FAILED if run.HasField("failure") else pb.RUN_STATE_SUCCEEDED
