"""Sets change sets aside for an operator, and lets through the one that an operator approved."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_server.model.ids import kind_of
from schoolgate_server.reconcile.diff import SnapshotDiff, Withheld
from schoolgate_server.reconcile.holds import all_marked, change_marks, change_set_digest
from schoolgate_server.sync.context import RunContext

MOST_MARKED = 1_000_000
"""Changes of an approved set that are remembered while it is applied: 8 MB, half of what a document takes.
What a crash leaves of a larger set is held anew."""


@dataclass(frozen=True, slots=True)
class DoubtfulChanges:
    """Changes of one dataset that look wrong, and why.

    ``deletions`` maps record ids to their versions; ``updates``, new records among them, are record ids with
    the version that is replaced and the new content's digest.
    """

    reasons: tuple[str, ...] = ()
    deletions: dict[str, int] = field(default_factory=dict[str, int])
    updates: Sequence[tuple[str, int, bytes]] = ()

    def __len__(self) -> int:
        return len(self.deletions) + len(self.updates)

    @property
    def explanation(self) -> str:
        """All reasons in a sentence."""
        return "; ".join(self.reasons)

    @property
    def digest(self) -> str:
        """The digest that names exactly these changes."""
        return change_set_digest(self.each())

    def each(self) -> list[tuple[str, int, bytes]]:
        """Return each change's record id, the version that it replaces, and its new content's digest."""
        deletions = [(record_id, version, b"") for record_id, version in self.deletions.items()]
        return [*deletions, *self.updates]


class Doubts(NamedTuple):
    """Changes that wait and look wrong, and why."""

    withheld: Withheld
    reasons: tuple[str, ...] = ()


async def is_approved(context: RunContext, dataset: str, changes: DoubtfulChanges) -> bool:
    """Whether an operator approved exactly ``changes``, or they are what a crash left to do of such a set.

    The hold stays open until they are committed, so that a crash in between does not forget the approval.
    """
    holds, school_id = context.ingest.store.holds, context.ingest.school_id
    if await holds.is_approved(school_id, dataset, changes.digest):
        return True
    begun = array("Q", await holds.begun(school_id, dataset))
    return len(begun) > 0 and all_marked(changes.each(), begun)


async def begin(context: RunContext, dataset: str, changes: DoubtfulChanges) -> None:
    """Remember ``changes``, which are approved, before the first of them is committed.

    A set of several commits that a crash interrupts has another digest afterwards, since a part is applied.
    """
    if 0 < len(changes) <= MOST_MARKED:
        marks = change_marks(changes.each()).tobytes()
        await context.ingest.store.holds.begin(context.ingest.school_id, dataset, changes.digest, marks)


def versions_of(
    diff: SnapshotDiff, record_ids: Iterable[str], kinds: Container[Kind.ValueType]
) -> dict[str, int]:
    """Return the stored versions of those of the records that are of ``kinds``."""
    return {
        record_id: known.version
        for record_id in record_ids
        if kind_of(record_id) in kinds and (known := diff.known(record_id)) is not None
    }


async def hold(context: RunContext, dataset: str, changes: DoubtfulChanges, live: int) -> None:
    """Set ``changes`` aside, in place of what an earlier run set aside. ``live`` counts the live records."""
    ingest, digest = context.ingest, changes.digest
    set_aside = pb.Hold(
        hold_id=f"hld_{digest[:32]}",
        school_id=ingest.school_id,
        run_id=ingest.run_id,
        dataset=dataset,
        digest=digest,
        tombstones=len(changes.deletions),
        updates=len(changes.updates),
        live_records=live,
        explanation=changes.explanation,
    )
    set_aside.created_at.FromDatetime(ingest.clock())
    await ingest.store.holds.replace(ingest.school_id, dataset, set_aside)


async def close(context: RunContext, dataset: str) -> None:
    """Close the dataset's hold, if one is open: nothing looks wrong any more, or what did is committed."""
    await context.ingest.store.holds.replace(context.ingest.school_id, dataset, None)
