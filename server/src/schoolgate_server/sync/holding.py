"""Sets change sets aside for an operator, and lets through the one that an operator approved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_server.model.changes import Change
from schoolgate_server.reconcile.holds import change_set_digest
from schoolgate_server.sync.context import RunContext


@dataclass(frozen=True, slots=True)
class DoubtfulChanges:
    """Changes of one dataset that look wrong, and why. ``deletions`` maps record ids to their versions."""

    reasons: tuple[str, ...] = ()
    deletions: dict[str, int] = field(default_factory=dict[str, int])
    updates: Sequence[Change] = ()

    def __len__(self) -> int:
        return len(self.deletions) + len(self.updates)

    @property
    def explanation(self) -> str:
        """All reasons in a sentence."""
        return "; ".join(self.reasons)

    @property
    def digest(self) -> str:
        """The digest that names exactly these changes."""
        deletions = [(record_id, version, b"") for record_id, version in self.deletions.items()]
        updates = [(change.record_id, change.expected_version, change.digest) for change in self.updates]
        return change_set_digest(deletions + updates)


async def is_approved(context: RunContext, dataset: str, changes: DoubtfulChanges) -> bool:
    """Whether an operator approved exactly ``changes``.

    The hold stays open until they are committed, so that a crash in between does not forget the approval.
    """
    return await context.ingest.store.holds.is_approved(context.ingest.school_id, dataset, changes.digest)


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
