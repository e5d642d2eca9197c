"""Plans for a change of MIS: which entity of the other MIS is which record, as they were matched.

A school has one plan, the latest. Its pairs stand in pieces beside it; what was being written when a run
died is no plan, and is swept by the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from pymongo.operations import ReplaceOne

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.identity_service_pb2 import MisChangePlan
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.mis_changes import StoredPlan
from schoolgate_server.store.handles import Collection, Document

PIECE = 5_000
"""Keys of one piece: half a megabyte."""


class Piece(NamedTuple):
    """Some keys of entities of one kind, encoded, and the records that they are; "" where they are none."""

    kind: Kind.ValueType
    keys: Sequence[str]
    records: Sequence[str]


class MisPlans:
    """The ``mis_plans`` collection."""

    def __init__(self, plans: Collection) -> None:
        self._plans = plans

    async def get(self, school_id: str) -> StoredPlan:
        """Return the school's plan.

        Raises:
            ServiceError: ``MIS_CHANGE_PLAN_NOT_FOUND``.
        """
        found = await self._plans.find_one({"_id": school_id, "school": school_id})
        if found is None:
            raise ServiceError(
                reasons.ERROR_REASON_MIS_CHANGE_PLAN_NOT_FOUND,
                f"school {school_id!r} has no plan for a change of MIS",
                metadata={"school_id": school_id},
            )
        return StoredPlan(
            MisChangePlan.FromString(found["wire"]), found["sealed"], found["begun"], found["applied"]
        )

    async def put(self, plan: MisChangePlan, sealed: bytes) -> None:
        """Make ``plan`` the school's plan, and forget what earlier ones matched."""
        school_id = plan.school_id
        document: Document = {
            "_id": school_id,
            "school": school_id,
            "plan": plan.run_id,
            "digest": plan.digest,
            "sealed": sealed,
            "begun": False,
            "applied": False,
            "wire": plan.SerializeToString(),
        }
        await self._plans.bulk([ReplaceOne({"_id": school_id, "school": school_id}, document, upsert=True)])
        await self._plans.delete_many({"school": school_id, "plan": {"$ne": plan.run_id}})

    async def sweep(self, school_id: str, run_id: str) -> None:
        """Forget what an interrupted run ``run_id`` has written."""
        await self._plans.delete_many({"school": school_id, "plan": run_id})

    async def put_piece(self, school_id: str, run_id: str, number: int, piece: Piece) -> None:
        """Keep the ``number``-th piece of its kind, in place of an earlier one."""
        name = KINDS[piece.kind].name
        document: Document = {
            "_id": f"{school_id}:{run_id}:{name}:{number}",
            "school": school_id,
            "plan": run_id,
            "kind": name,
            "n": number,
            "keys": list(piece.keys),
            "records": list(piece.records),
        }
        query = {"_id": document["_id"], "school": school_id}
        await self._plans.bulk([ReplaceOne(query, document, upsert=True)])

    async def pieces(
        self, school_id: str, run_id: str, kind: Kind.ValueType | None = None
    ) -> AsyncIterator[tuple[int, Piece]]:
        """Yield the pieces of a plan with their numbers, in the order of kinds and numbers."""
        query: Document = {"school": school_id, "plan": run_id, "n": {"$exists": True}}
        if kind is not None:
            query["kind"] = KINDS[kind].name
        places = await self._plans.find(query, {"_id": 1}, sort=[("kind", 1), ("n", 1)])
        for place in places:
            found = await self._plans.find_one({"_id": place["_id"], "school": school_id})
            if found is not None:
                kind_of = KINDS_BY_NAME[found["kind"]].kind
                yield found["n"], Piece(kind_of, found["keys"], found["records"])

    async def begin(self, school_id: str, digest: str) -> None:
        """Note that the plan is being applied: what it changes does not make it stale."""
        await self._plans.update_one(
            {"_id": school_id, "school": school_id, "digest": digest}, {"$set": {"begun": True}}
        )

    async def finish(self, school_id: str, digest: str) -> None:
        """Note that the plan was applied; its secrets are the school's now, and forgotten here."""
        await self._plans.update_one(
            {"_id": school_id, "school": school_id, "digest": digest},
            {"$set": {"applied": True, "sealed": b""}},
        )
