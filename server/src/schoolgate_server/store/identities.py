"""Identities: source keys that stand for a record whose id was minted from another key."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.operations import ReplaceOne

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.store.handles import Collection, Write, chunks


class Identities:
    """The ``identities`` collection."""

    def __init__(self, identities: Collection) -> None:
        self._identities = identities

    async def load(self, school_id: str) -> dict[tuple[Kind.ValueType, str], str]:
        """Return the record id of every (kind, encoded key) that was added."""
        known: dict[tuple[Kind.ValueType, str], str] = {}
        async for batch in self._identities.batches({"school": school_id}):
            for document in batch:
                known[KINDS_BY_NAME[document["kind"]].kind, document["key"]] = document["record"]
        return known

    async def add(self, school_id: str, aliases: Sequence[tuple[Kind.ValueType, str, str, str]]) -> None:
        """Store (kind, encoded key, record id, run id); a key that has a record already moves to this one."""
        writes: list[Write] = []
        for kind, key, record_id, run_id in aliases:
            name = KINDS[kind].name
            # Neither school ids nor kind names hold a colon, so no two keys make one id.
            alias_id = f"{school_id}:{name}:{key}"
            document = {
                "_id": alias_id,
                "school": school_id,
                "kind": name,
                "key": key,
                "record": record_id,
                "run": run_id,
            }
            writes.append(ReplaceOne({"_id": alias_id, "school": school_id}, document, upsert=True))
        for some in chunks(writes):
            await self._identities.bulk(some)
