"""Identities: source keys that stand for a record whose id was minted from another key."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.operations import ReplaceOne

from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.aliases import Alias
from schoolgate_server.store.handles import Collection, Document, Write, chunks


class Identities:
    """The ``identities`` collection."""

    def __init__(self, identities: Collection) -> None:
        self._identities = identities

    async def load(self, school_id: str) -> list[Alias]:
        """Return every alias of the school."""
        known: list[Alias] = []
        async for batch in self._identities.batches({"school": school_id}):
            known += map(_alias, batch)
        return known

    async def of_record(self, school_id: str, record_id: str) -> list[Alias]:
        """Return the aliases of one record."""
        found = await self._identities.find({"school": school_id, "record": record_id})
        return [_alias(document) for document in found]

    async def add(self, school_id: str, aliases: Sequence[Alias], run_id: str) -> None:
        """Store aliases; a key that has a record already moves to this one."""
        writes: list[Write] = []
        for alias in aliases:
            name = KINDS[alias.kind].name
            # Neither school ids nor kind names hold a colon, so no two keys make one id.
            alias_id = f"{school_id}:{name}:{alias.key}"
            document: Document = {
                "_id": alias_id,
                "school": school_id,
                "kind": name,
                "key": alias.key,
                "record": alias.record_id,
                "link": alias.link,
                "run": run_id,
            }
            writes.append(ReplaceOne({"_id": alias_id, "school": school_id}, document, upsert=True))
        for some in chunks(writes):
            await self._identities.bulk(some)


def _alias(document: Document) -> Alias:
    return Alias(
        KINDS_BY_NAME[document["kind"]].kind,
        document["key"],
        document["record"],
        document.get("link", False),
    )
