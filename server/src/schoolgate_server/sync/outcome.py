"""How one dataset of a run ends."""

from __future__ import annotations

from typing import NamedTuple

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1 import sync_service_pb2 as pb


class DatasetOutcome(NamedTuple):
    """A final state, why it is not success, and how many changes were set aside."""

    state: pb.DatasetState.ValueType
    failure: failures.Failure | None = None
    held: int = 0
