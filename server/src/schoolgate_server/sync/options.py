"""How syncs behave, with a unit and a reason for each value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from schoolgate_server.reconcile.holds import Thresholds


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of all syncs of one server."""

    lease_ttl: timedelta = timedelta(seconds=30)
    """How long a school stays with a server that no longer answers; renewed every third of it."""
    commit_batch: int = 5_000
    """Records per commit: large enough to amortise its round trips, small enough to bound memory."""
    segment_rows: int = 20_000
    """Source rows that a resumed run may have to read again."""
    concurrency: int = 4
    """Runs at work at once on one server; the rest wait in order."""
    page_timeout: timedelta = timedelta(minutes=10)
    """Longest wait for one page; SOAP clients of some MISs are told to wait this long."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """When deletions and updates are held for an operator."""
