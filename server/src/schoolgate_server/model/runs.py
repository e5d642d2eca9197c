"""A run as the store keeps it: the public message and what only the engine needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from schoolgate.v1.sync_service_pb2 import DatasetRun, Run


class Segment(NamedTuple):
    """Source rows that were read together and retained under ``digest``; ``cursor`` resumes after them.

    ``seq`` is the school's published seq when their first page was asked for: what was committed later is
    newer knowledge than these rows (G07).
    """

    digest: bytes
    cursor: str
    rows: int
    seq: int = 0


class SealedSnapshot(NamedTuple):
    """How a dataset was last sealed as a whole with nothing held, and the segments that were read then.

    ``seq`` is the school's published seq after that run: what was committed later is newer than these rows.
    """

    run_id: str
    state: DatasetRun
    segments: list[Segment]
    seq: int


@dataclass(slots=True)
class RunEntry:
    """One run with its request and, per dataset, the segments read so far in order.

    ``targets`` holds, per dataset, the encoded keys that a targeted run asks for. ``operation`` is what a run
    of the identity layer does, in the form that ``identity`` gives it; it may be sealed, and the store only
    keeps it. ``scheduled`` says that a schedule asked for the run.
    """

    run: Run
    request_id: str = ""
    request_digest: bytes = b""
    manifest: dict[str, list[Segment]] = field(default_factory=dict[str, list[Segment]])
    targets: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    operation: bytes = b""
    scheduled: bool = False
