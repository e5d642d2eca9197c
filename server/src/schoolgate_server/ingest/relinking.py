"""Entities under a new key: a row whose key is new, and which brings a further key that a record has already.

The record may have been given a new number at the MIS (the row is the record), two records may have been
merged there (the record that went is now the other one), or two entities share the further key by mistake.
Which of these it is shows only once the snapshot is complete: a record whose row is missing then has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import Row, encode_key
from schoolgate_server.ingest.decisions import Finding
from schoolgate_server.ingest.identity import Claim, Identities
from schoolgate_server.ingest.projection import Projection, Projector
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.wire_keys import encode_wire_key
from schoolgate_server.reconcile.diff import SnapshotDiff

MAX_ROWS = 10_000
"""Rows that may wait for the end of a snapshot; of more the further key is left out, as of a conflict, and
their entity becomes a record of its own, into which the other one is merged if it has gone."""


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
        self._waiting: set[str] = set()
        """The records that rows wait to become."""
        self._beside: set[str] = set()
        """Known records of which a row that waits has the message."""
        self.merges: dict[str, str] = {}

    @property
    def rows(self) -> list[Row]:
        """The rows that wait, in the order in which they came."""
        return [row for row, _ in self._rows]

    def waits(self, row: Row, projection: Projection, as_of: int) -> bool:
        """Whether ``row`` must wait for the snapshot's end; if not, it must be projected again and taken.

        ``as_of`` is the school's published seq when it was asked for. A row waits too where one of its entity
        does that came before: which record that is shows only then.
        """
        waiting: list[Claim] = []
        for claim in projection.claims:
            if self._is_known(claim.record_id):
                self._merges(claim)
            elif self._diff.known(claim.holder) is not None or claim.certain:
                waiting.append(claim)
        if not waiting and not self.concerns(projection):
            return False
        if len(self._rows) >= MAX_ROWS:
            for claim in waiting:
                self._merges(claim)
            return False
        self._rows.append((row, as_of))
        self._claims += waiting
        self._note(projection, waiting)
        return True

    def _note(self, projection: Projection, waiting: Sequence[Claim]) -> None:
        """Note what a row that waits brings."""
        for claim in waiting:
            self._identities.hold_back(claim.record_id)
            self._waiting.add(claim.record_id)
        known = (
            each.record_id for each in projection.records if self._diff.known(each.record_id) is not None
        )
        self._beside.update(known)

    def concerns(self, projection: Projection) -> bool:
        """Whether ``projection`` is of an entity of which a row waits."""
        return bool(self._waiting) and any(each.record_id in self._waiting for each in projection.records)

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
        unless the record's own row came. All rows of one entity that waited are the same record, or undecided
        together: everything is decided before the first of them is yielded.
        """
        claimants: defaultdict[str, set[str]] = defaultdict(set)
        for claim in self._claims:
            claimants[claim.holder].add(claim.record_id)
        undecided: set[str] = set()
        decided: list[tuple[Row, int, Projection, Finding | None]] = []
        for row, as_of in self._rows:
            projection = projector.project(row)
            finding = None
            claims = self._open_claims(projection, claimants)
            alone = [
                claim
                for claim in claims
                if len(claimants[claim.holder]) == 1
                and claim.holder not in present
                and not self._has_row(claim.holder)
                and (complete or claim.certain)
            ]
            if alone:
                finding = self._take_for(projection, alone[0], holders, complete=complete)
            elif not complete and not all(self._is_there(claim.holder) for claim in claims):
                undecided.update(claim.record_id for claim in claims)
            decided.append((row, as_of, projection, finding))
        undecided &= self._waiting  # less those that another of their rows had adopted
        self.forget(undecided)
        for row, as_of, projection, finding in decided:
            if any(each.record_id in undecided for each in projection.records):
                reason = diagnostics.DECISION_REASON_IDENTITY_UNDECIDED
                yield Settled(row, as_of, _finding(projection, undecided, reason, _UNDECIDED), True)
            else:
                yield Settled(row, as_of, finding, False)

    def forget(self, undecided: Set[str] | None = None) -> None:
        """Let no row wait any more, and nobody have the keys of those ``undecided``, of all unless given."""
        for record_id in self._waiting:
            if undecided is None or record_id in undecided:
                self._identities.forget(record_id)
            else:
                self._identities.release(record_id)
        self._rows.clear()
        self._claims.clear()
        self._waiting.clear()
        self._beside.clear()

    def _merges(self, claim: Claim) -> None:
        """Take note that the holder, should it have left, is the record whose row brings its key now."""
        if self.merges.setdefault(claim.holder, claim.record_id) != claim.record_id:
            self.merges[claim.holder] = ""

    def _has_row(self, record_id: str) -> bool:
        """Whether the snapshot has a row of the record so far, be it one that was not taken."""
        return self._is_there(record_id) or self._diff.is_protected(record_id)

    def _is_there(self, record_id: str) -> bool:
        return self._diff.is_observed(record_id) or record_id in self._beside

    def _is_known(self, record_id: str) -> bool:
        return self._diff.known(record_id) is not None or self._diff.is_observed(record_id)

    def _open_claims(self, projection: Projection, claimants: Container[str]) -> list[Claim]:
        """Return the claims of a row that waited, less those of a record that it turned out to be."""
        found: list[Claim] = []
        for claim in projection.claims:
            if self._is_known(claim.record_id):
                # Another of its rows was adopted, or there were too many to wait for.
                self._merges(claim)
            elif claim.holder in claimants:
                found.append(claim)
        return found

    def _take_for(
        self, projection: Projection, claim: Claim, holders: Mapping[str, Record], *, complete: bool
    ) -> Finding | None:
        """Let the claim's record, which is none, be the one that has its key; return what is to be told."""
        holder = holders.get(claim.holder)
        if holder is None:
            # A former key of nobody who is stored, and of no other row: kept for whoever asks by it.
            if complete:
                self._identities.link(kind_of(claim.record_id), [claim.key], claim.record_id)
            return None
        kept = [encode_wire_key(key) for key in holder.source_keys]
        own = next(each for each in projection.records if each.record_id == claim.record_id)
        # What other rows bring is learnt anew, as this record's. Its own key last: as long as that is not
        # stored, the row claims again after a crash.
        self._waiting.discard(claim.record_id)
        self._identities.forget(claim.record_id)
        last = encode_key(own.key)
        brought = [key for key in own.keys if key != last]
        self._identities.link(holder.kind, [*kept, *brought, claim.key, last], holder.id)
        return _finding(projection, {claim.record_id}, diagnostics.DECISION_REASON_RELINKED, _RELINKED)


_RELINKED = "the row came under a new key; it was taken for the record that has its further or former key"
_UNDECIDED = (
    "the row, or another of its entity, came under a new key with the further key of a record; "
    "a complete snapshot will tell"
)


def _finding(
    projection: Projection, records: Set[str], reason: diagnostics.DecisionReason.ValueType, detail: str
) -> Finding:
    """Return what is told of a row that has one of ``records``."""
    record = next(each for each in projection.records if each.record_id in records)
    return Finding(reason, "", detail, record.key)
