"""How syncs behave, with a unit and a reason for each value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from schoolgate_server.reconcile.holds import Thresholds


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What a connector may do in one read: it may be wrong in ways that no answer of its MIS explains."""

    empty_pages: int = 1_000
    """Pages without rows in a row: a few come of filters, a thousand of a loop."""
    rows: int = 8_000_000
    """Rows of one snapshot: more than twice the marks that 2,000 pupils get in a year, at eight a day."""
    page_bytes: int = 64 * 1024 * 1024
    """Bytes of one page as JSON: a hundred times what MISs send, and bounded memory."""
    segment_bytes: int = 8 * 1024 * 1024
    """Bytes of rows that are retained together, where they are fewer than ``segment_rows``."""
    duration: timedelta = timedelta(hours=12)
    """Longest read: whatever takes longer is overtaken by the next one."""
    closing: timedelta = timedelta(seconds=10)
    """Longest wait for a read to let go of what it holds; its rows are here by then."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of all syncs of one server."""

    lease_ttl: timedelta = timedelta(seconds=30)
    """How long a school stays with a server that no longer answers; renewed every third of it."""
    commit_batch: int = 5_000
    """Records per commit: large enough to amortise its round trips, small enough to bound memory."""
    segment_rows: int = 20_000
    """Source rows that a resumed run may have to read again."""
    checked_rows: int = 64
    """Rows of each segment that are read though it is known what they were read as before, so that a parser
    is noticed that changed without a new version, or that is no function of the row."""
    checked_one_of: int = 64
    """Of so many other known rows one is read all the same, another one in each run; none where it is 0."""
    concurrency: int = 4
    """Runs at work at once on one server; the rest wait in order."""
    page_timeout: timedelta = timedelta(minutes=10)
    """Longest wait for one page; SOAP clients of some MISs are told to wait this long."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """When deletions and updates are held for an operator."""
    check_timeout: timedelta = timedelta(seconds=60)
    """Longest wait for a session, and for its answer, where a connection is checked: somebody is waiting."""
    close_timeout: timedelta = timedelta(seconds=30)
    """Longest wait for a session to close; everything that was read is stored by then."""
    limits: ReadLimits = field(default_factory=ReadLimits)
    """Where a read that does not end is broken off."""
    changes_overlap: timedelta = timedelta(minutes=15)
    """How far before the last position changes are read again: a MIS stamps a change when somebody saves it
    and shows it when its own transaction, cache or replica is through, and its servers' clocks differ."""
