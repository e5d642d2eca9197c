"""Entities under a new key: a row whose key is new, and which brings a further key that a record has already.

The record may have been given a new number at the MIS (the row is the record), two records may have been
merged there (the record that went is now the other one), or two entities share the further key by mistake.
Which of these it is shows only once the snapshot is complete: a record whose row is missing then has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import Row
from schoolgate_server.ingest.decisions import Finding
from schoolgate_server.ingest.identity import Claim, Identities
from schoolgate_server.ingest.projection import Projection, Projector
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.wire_keys import encode_wire_key
from schoolgate_server.reconcile.diff import SnapshotDiff

MAX_ROWS = 10_000
"""Rows that may wait for the end of a snapshot; of more the further key is left out, as of a conflict."""


class Settled(NamedTuple):
    """A row that waited, asked for at the seq ``as_of``; it is left out where it is ``undecided``."""

    row: Row
    as_of: int
    finding: Finding | None
    undecided: bool


class Relinking:
    """The rows of one snapshot that wait, and what rows said about the keys of other records.

    ``merges`` maps a record whose key another record's row brings to that other record; to "" where several
    do.
    """

    def __init__(self, identities: Identities, diff: SnapshotDiff) -> None:
        self._identities = identities
        self._diff = diff
        self._rows: list[tuple[Row, int]] = []
        self._claims: list[Claim] = []
        self.merges: dict[str, str] = {}

    @property
    def rows(self) -> list[Row]:
        """The rows that wait, in the order in which they came."""
        return [row for row, _ in self._rows]

    def waits(self, row: Row, projection: Projection, as_of: int) -> bool:
        """Whether ``row`` must wait for the snapshot's end; if not, it must be projected again and taken.

        ``as_of`` is the school's published seq when it was asked for.
        """
        waiting: list[Claim] = []
        for claim in projection.claims:
            if self._is_known(claim.record_id):
                self._merges(claim)
            elif self._diff.known(claim.holder) is not None or claim.certain:
                waiting.append(claim)
        if not waiting:
            return False
        if len(self._rows) >= MAX_ROWS:
            for claim in waiting:
                self._merges(claim)
            return False
        self._rows.append((row, as_of))
        self._claims += waiting
        return True

    def holders(self) -> list[str]:
        """Return the records whose keys the waiting rows bring, in order of their id."""
        known = {claim.holder for claim in self._claims if self._diff.known(claim.holder) is not None}
        return sorted(known)

    def absent_holders(self) -> list[str]:
        """Return those of :meth:`holders` whose own row the snapshot lacks so far."""
        return [holder for holder in self.holders() if not self._has_row(holder)]

    def settle(
        self,
        projector: Projector,
        holders: Mapping[str, Record],
        present: Container[str],
        *,
        complete: bool,
    ) -> Iterator[Settled]:
        """Decide about the rows that waited, and yield them in the order in which they came.

        A row is the record whose key it brings where that record's own row is gone, the record is not in
        ``present``, and no other new record claims it. That is undecided where the snapshot is not complete,
        unless the record's own row came. Where another row of the entity was taken, the entity is a record
        already, and the one that it claims is merged into it if that has gone.
        """
        claimants: defaultdict[str, set[str]] = defaultdict(set)
        for claim in self._claims:
            claimants[claim.holder].add(claim.record_id)
        rows, self._rows = self._rows, []
        for row, as_of in rows:
            projection = projector.project(row)
            claims = [claim for claim in projection.claims if claim.holder in claimants]
            stored = [claim for claim in claims if claim.holder in holders]
            if any(self._diff.is_observed(claim.record_id) for claim in stored):
                for claim in stored:
                    if len(claimants[claim.holder]) == 1:
                        self._merges(claim)
                yield Settled(row, as_of, None, False)
                continue
            alone = [
                claim
                for claim in claims
                if len(claimants[claim.holder]) == 1
                and claim.holder not in present
                and not self._has_row(claim.holder)
                and (complete or claim.certain)
            ]
            if alone and alone[0].holder not in holders:
                # A former key of nobody who is stored, and of no other row: kept for whoever asks by it.
                if complete:
                    self._identities.link(kind_of(alone[0].record_id), [alone[0].key], alone[0].record_id)
                yield Settled(row, as_of, None, False)
            elif alone:
                self._adopt(projection, alone[0], holders[alone[0].holder])
                reason = diagnostics.DECISION_REASON_RELINKED
                yield Settled(row, as_of, _finding(projection, reason, _RELINKED), False)
            elif not complete and not all(self._diff.is_observed(claim.holder) for claim in claims):
                reason = diagnostics.DECISION_REASON_IDENTITY_UNDECIDED
                yield Settled(row, as_of, _finding(projection, reason, _UNDECIDED), True)
            else:
                yield Settled(row, as_of, None, False)
        self._claims.clear()

    def _merges(self, claim: Claim) -> None:
        """Take note that the holder, should it have left, is the record whose row brings its key now."""
        if self.merges.setdefault(claim.holder, claim.record_id) != claim.record_id:
            self.merges[claim.holder] = ""

    def _has_row(self, record_id: str) -> bool:
        """Whether the snapshot has a row of the record so far, be it one that was not taken."""
        return self._diff.is_observed(record_id) or self._diff.is_protected(record_id)

    def _is_known(self, record_id: str) -> bool:
        return self._diff.known(record_id) is not None or self._diff.is_observed(record_id)

    def _adopt(self, projection: Projection, claim: Claim, holder: Record) -> None:
        """Let the keys of the row stand for the record that has one of them already."""
        kept = [encode_wire_key(key) for key in holder.source_keys]
        brought = next(each.keys for each in projection.records if each.record_id == claim.record_id)
        self._identities.link(holder.kind, [*kept, *brought, claim.key], holder.id)


_RELINKED = "the row came under a new key; it was taken for the record that has its further or former key"
_UNDECIDED = "the row came under a new key with the further key of a record; a complete snapshot will tell"


def _finding(projection: Projection, reason: diagnostics.DecisionReason.ValueType, detail: str) -> Finding:
    claimants = {claim.record_id for claim in projection.claims}
    record = next(each for each in projection.records if each.record_id in claimants)
    return Finding(reason, "", detail, record.key)
