"""What the ingest of all datasets of a run shares."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from schoolgate_server.ingest.totals import Totals
from schoolgate_server.model.clock import Clock
from schoolgate_server.store.leases import Lease
from schoolgate_server.store.store import Store


class _EveryRecord(Container[str]):
    def __contains__(self, record_id: object) -> bool:
        return True


EVERY_RECORD = _EveryRecord()
"""Stands for a set of record ids that leaves none out."""


@dataclass(frozen=True, slots=True)
class IngestContext:
    """Where the changes of a run go. ``lease`` returns the present state of the run's lease.

    By dataset, ``read_otherwise`` holds records whose stored state comes from another reading of their row,
    so that a change of them cannot be told from the school's; ``dropped`` holds those that are not read any
    more from rows that are still there.
    """

    store: Store
    school_id: str
    run_id: str
    clock: Clock
    lease: Callable[[], Lease]
    commit_batch: int
    totals: dict[str, Totals] = field(default_factory=dict[str, Totals])
    read_otherwise: dict[str, frozenset[str] | _EveryRecord] = field(
        default_factory=dict[str, "frozenset[str] | _EveryRecord"]
    )
    dropped: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def totals_of(self, dataset: str) -> Totals:
        """Return the counters of ``dataset``, from 0 where there are none yet."""
        return self.totals.setdefault(dataset, Totals())
