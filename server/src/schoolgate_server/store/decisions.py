"""Decisions about source rows: inserted once, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from schoolgate.v1.diagnostics_service_pb2 import Decision, DecisionReason
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.store.errors import BulkFailed, StoreError
from schoolgate_server.store.handles import Collection, Document, chunks
from schoolgate_server.store.paging import before_of


class Decisions:
    """The ``decisions`` collection."""

    def __init__(self, decisions: Collection) -> None:
        self._decisions = decisions

    async def known(self, school_id: str, dataset: str) -> set[str]:
        """Return the ids of all decisions about ``dataset``."""
        known: set[str] = set()
        async for batch in self._decisions.batches({"school": school_id, "dataset": dataset}, {"_id": 1}):
            known.update(document["_id"] for document in batch)
        return known

    async def insert(self, decisions: Sequence[Decision]) -> None:
        """Store decisions; one whose id is stored already stays as it was first taken."""
        for some in chunks(decisions):
            try:
                await self._decisions.insert_many([_document(decision) for decision in some])
            except BulkFailed as failed:
                if failed.others:
                    raise StoreError(f"MongoDB refused {failed.others} decisions") from None

    async def list(self, school_id: str, dataset: str, before: str | None, limit: int) -> list[Decision]:
        """Return up to ``limit`` decisions, newest first, those before the decision with id ``before``.

        An empty ``dataset`` means all.

        Raises:
            ServiceError: REQUEST_INVALID where the school has no decision ``before``.
        """
        query: Document = {"school": school_id}
        if dataset:
            query["dataset"] = dataset
        if before is not None:
            earlier = await before_of(self._decisions, school_id, before, "first_seen_at")
            if earlier is None:
                raise invalid_request(Violation("before", f"there is no decision {before!r}"))
            query.update(earlier)
        found = await self._decisions.find(query, sort=[("first_seen_at", -1), ("_id", -1)], limit=limit)
        return [Decision.FromString(document["wire"]) for document in found]


def _document(decision: Decision) -> Document:
    return {
        "_id": decision.decision_id,
        "school": decision.school_id,
        "dataset": decision.dataset,
        "reason": DecisionReason.Name(decision.reason),
        "field": decision.field,
        "detail": decision.detail,
        "run": decision.first_run_id,
        "first_seen_at": decision.first_seen_at.ToDatetime(tzinfo=UTC),
        "wire": decision.SerializeToString(),
    }
