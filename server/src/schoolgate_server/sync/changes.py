"""Reads less than a snapshot: what changed, or what a notification named."""

from __future__ import annotations

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Dataset, Scope
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.outcome import DatasetOutcome


async def sync_targets(
    context: RunContext, dataset: Dataset, scope: Scope, state: pb.DatasetRun
) -> DatasetOutcome | None:
    """Read what the run's targets name; ``None`` where the dataset must be read in full instead."""
    state.layer, state.fallback = pb.SYNC_LAYER_FULL, "single entities are not read yet"
    return None


async def sync_changes(
    context: RunContext, dataset: Dataset, scope: Scope, state: pb.DatasetRun
) -> DatasetOutcome | None:
    """Read what changed since the last read; ``None`` where the dataset must be read in full instead."""
    state.layer, state.fallback = pb.SYNC_LAYER_FULL, "changes are not read yet"
    return None


async def store_checkpoint(context: RunContext, dataset: str, cursor: str) -> None:
    """Keep the position from which changes are read next."""
