"""What may be written: one document per school and environment."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate_server.model.write_policies import OperationRule, Policies
from schoolgate_server.store import handles
from schoolgate_server.store.handles import Document


class WritePolicies:
    """The ``write_policies`` collection, and ``latest`` of it. What is not named there is OFF (G19)."""

    def __init__(self, policies: handles.Collection, latest: handles.Collection) -> None:
        self._policies = policies
        self._latest = latest

    async def get(self, school_id: str, environment: str) -> Policies:
        """Return what may be written for a school from an environment."""
        found = await self._policies.find_one({"_id": _id(school_id, environment), "school": school_id})
        return Policies() if found is None else _policies(found)

    async def in_force(self, school_id: str, environment: str) -> Policies:
        """Return the same, and never what had been changed before this was asked: for who is to send."""
        found = await self._latest.find_one({"_id": _id(school_id, environment), "school": school_id})
        return Policies() if found is None else _policies(found)

    async def set(
        self,
        school_id: str,
        environment: str,
        operations: Collection[str],
        policy: pb.WritePolicy.ValueType,
        quota: int | None,
        by: str,
        at: datetime,
        *,
        cancels: bool = False,
    ) -> Policies:
        """Set the rule of each of ``operations``, all at once, and return what holds from now on.

        ``quota`` is the most writes of each that are accepted within 24 hours, 0 for no limit, and
        ``None`` for what there was. ``cancels``: what was submitted until ``at`` is not sent under a later
        policy either.
        """
        if not operations:
            return await self.get(school_id, environment)
        rule: Document = {"policy": pb.WritePolicy.Name(policy), "by": by, "at": at}
        if quota is not None:
            rule["quota"] = quota
        if cancels:
            rule["cancels_before"] = at
        query: Document = {"_id": _id(school_id, environment), "school": school_id}
        # Field by field, so that what is not given stays.
        change = {
            "$set": {
                f"operations.{operation}.{name}": value
                for operation in operations
                for name, value in rule.items()
            }
        }
        found = await self._policies.find_one_and_update(query, change)
        while found is None:
            await self._policies.insert_one(query | {"environment": environment, "operations": {}})
            found = await self._policies.find_one_and_update(query, change)
        return _policies(found)


def _id(school_id: str, environment: str) -> str:
    return f"{school_id}:{environment}"  # an environment's name has no colons


def _policies(document: Document) -> Policies:
    rules: Document = document["operations"]
    return Policies(
        {
            operation: OperationRule(
                pb.WritePolicy.Value(rule["policy"]),
                rule.get("quota", 0),
                rule["by"],
                rule["at"],
                rule.get("cancels_before"),
            )
            for operation, rule in rules.items()
        }
    )
