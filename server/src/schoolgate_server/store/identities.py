"""Identities: source keys that stand for a record whose id was minted from another key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from pymongo.operations import ReplaceOne

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.aliases import Alias
from schoolgate_server.store.handles import Collection, Document, Write, chunks


class Identities:
    """The ``identities`` collection."""

    def __init__(self, identities: Collection) -> None:
        self._identities = identities

    async def load(self, school_id: str, most: int) -> list[Alias] | None:
        """Return every alias of the school, ``None`` where they are more than ``most``."""
        known: list[Alias] = []
        async with aclosing(self._identities.batches({"school": school_id}, size=5_000)) as batches:
            async for batch in batches:
                known += map(_alias, batch)
                if len(known) > most:
                    return None
        return known

    async def of_keys(self, school_id: str, keys: Sequence[tuple[Kind.ValueType, str]]) -> list[Alias]:
        """Return the aliases of encoded keys; a key that has none is left out."""
        found: list[Alias] = []
        for some in chunks(keys):
            ids = [_alias_id(school_id, kind, key) for kind, key in some]
            documents = await self._identities.find({"_id": {"$in": ids}, "school": school_id})
            found += map(_alias, documents)
        return found

    async def links_of(self, school_id: str, record_ids: Sequence[str]) -> list[Alias]:
        """Return those aliases of the records that are links."""
        found: list[Alias] = []
        for some in chunks(record_ids):
            query: Document = {"school": school_id, "record": {"$in": list(some)}, "link": True}
            found += map(_alias, await self._identities.find(query))
        return found

    async def of_record(self, school_id: str, record_id: str) -> list[Alias]:
        """Return the aliases of one record."""
        found = await self._identities.find({"school": school_id, "record": record_id})
        return [_alias(document) for document in found]

    async def linked_by(self, school_id: str, run_id: str) -> list[Alias]:
        """Return the aliases that ``run_id`` made by a decision about identity; no index answers this."""
        found = await self._identities.find({"school": school_id, "link": True, "run": run_id})
        return [_alias(document) for document in found]

    async def add(self, school_id: str, aliases: Sequence[Alias], run_id: str) -> None:
        """Store aliases in their order; a key that has a record already moves to this one."""
        writes: list[Write] = []
        for alias in aliases:
            alias_id = _alias_id(school_id, alias.kind, alias.key)
            document: Document = {
                "_id": alias_id,
                "school": school_id,
                "kind": KINDS[alias.kind].name,
                "key": alias.key,
                "record": alias.record_id,
                "link": alias.link,
                "run": run_id,
            }
            writes.append(ReplaceOne({"_id": alias_id, "school": school_id}, document, upsert=True))
        for some in chunks(writes):
            await self._identities.bulk(some, ordered=True)


def _alias_id(school_id: str, kind: Kind.ValueType, key: str) -> str:
    # Neither school ids nor kind names hold a colon, so no two keys make one id.
    return f"{school_id}:{KINDS[kind].name}:{key}"


def _alias(document: Document) -> Alias:
    return Alias(
        KINDS_BY_NAME[document["kind"]].kind,
        document["key"],
        document["record"],
        document.get("link", False),
    )
