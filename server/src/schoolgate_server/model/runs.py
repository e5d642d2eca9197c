"""A run as the store keeps it: the public message and what only the engine needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from schoolgate.v1.sync_service_pb2 import Run


class Segment(NamedTuple):
    """Source rows that were read together and retained under ``digest``; ``cursor`` resumes after them."""

    digest: bytes
    cursor: str
    rows: int


@dataclass(slots=True)
class RunEntry:
    """One run with its request and, per dataset, the segments read so far in order."""

    run: Run
    request_id: str = ""
    request_digest: bytes = b""
    manifest: dict[str, list[Segment]] = field(default_factory=dict[str, list[Segment]])
