"""Identity proposals: pairs of records that wait for an operator's word, and those that have had it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from pymongo.operations import UpdateOne

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.identity_service_pb2 import IdentityProposal
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.store.handles import Collection, Document, Write
from schoolgate_server.store.paging import before_of

_OPEN, _ACCEPTED, _REJECTED, _OVERTAKEN = "OPEN", "ACCEPTED", "REJECTED", "OVERTAKEN"


class Proposals:
    """The ``proposals`` collection. Nothing is ever removed: a pair that was answered is not asked again."""

    def __init__(self, proposals: Collection) -> None:
        self._proposals = proposals

    async def add(self, proposals: Sequence[IdentityProposal]) -> int:
        """Add proposals, and return how many are new: a pair that was proposed once stays as it is."""
        added = [await self._proposals.insert_one(_document(proposal)) for proposal in proposals]
        return sum(added)

    async def list(self, school_id: str, before: str | None, limit: int) -> list[IdentityProposal]:
        """Return up to ``limit`` open proposals, newest first, those before the one with id ``before``.

        Raises:
            ServiceError: PROPOSAL_NOT_FOUND, for ``before``.
        """
        query: Document = {"school": school_id, "state": _OPEN}
        if before is not None:
            earlier = await before_of(self._proposals, school_id, before, "created_at")
            if earlier is None:
                raise _not_found(school_id, before)
            query.update(earlier)
        found = await self._proposals.find(query, sort=[("created_at", -1), ("_id", -1)], limit=limit)
        return [IdentityProposal.FromString(document["wire"]) for document in found]

    async def get(self, school_id: str, proposal_id: str, request_id: str) -> IdentityProposal:
        """Return a proposal that is open, or that the request ``request_id`` has answered.

        Raises:
            ServiceError: PROPOSAL_NOT_FOUND.
        """
        query = _answerable(school_id, proposal_id, request_id)
        found = await self._proposals.find_one(query)
        if found is None:
            raise _not_found(school_id, proposal_id)
        return IdentityProposal.FromString(found["wire"])

    async def reject(self, school_id: str, proposal_id: str, request_id: str) -> None:
        """Never propose this pair again.

        Raises:
            ServiceError: PROPOSAL_NOT_FOUND.
        """
        query = _answerable(school_id, proposal_id, request_id)
        answer: Document = {"$set": {"state": _REJECTED, "request": request_id}}
        if not await self._proposals.update_one(query, answer):
            raise _not_found(school_id, proposal_id)

    async def accept(self, school_id: str, proposal_id: str, request_id: str) -> None:
        """Take note that a run was accepted which merges the pair, whether or not it has done so already."""
        answer: Document = {"$set": {"state": _ACCEPTED, "request": request_id}}
        await self._proposals.update_one({"_id": proposal_id, "school": school_id}, answer)

    async def close(self, school_id: str, record_id: str, request_id: str = "") -> None:
        """Close the open proposals about a record that has been merged, by the request ``request_id``."""
        either: Document = {"$or": [{"survivor": record_id}, {"merged": record_id}]}
        found = await self._proposals.find({"school": school_id, "state": _OPEN, **either}, {"_id": 1})
        closed: Document = {"$set": {"state": _OVERTAKEN, "request": request_id}}
        writes: list[Write] = [
            UpdateOne({"_id": document["_id"], "school": school_id, "state": _OPEN}, closed)
            for document in found
        ]
        if writes:
            await self._proposals.bulk(writes)


def _answerable(school_id: str, proposal_id: str, request_id: str) -> Document:
    mine: Document = {"$or": [{"state": _OPEN}, {"request": request_id}]}
    return {"_id": proposal_id, "school": school_id, **mine}


def _document(proposal: IdentityProposal) -> Document:
    return {
        "_id": proposal.proposal_id,
        "school": proposal.school_id,
        "state": _OPEN,
        "survivor": proposal.survivor_id,
        "merged": proposal.merged_id,
        "run": proposal.run_id,
        "evidence": proposal.evidence,
        "created_at": proposal.created_at.ToDatetime(tzinfo=UTC),
        "wire": proposal.SerializeToString(),
    }


def _not_found(school_id: str, proposal_id: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_PROPOSAL_NOT_FOUND,
        f"school {school_id!r} has no open proposal {proposal_id!r}",
        metadata={"school_id": school_id, "proposal_id": proposal_id},
    )
