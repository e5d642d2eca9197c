"""Records as a change of identity needs them: what is stored of one, and which others refer to it."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import TombstoneReason
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.ids import kind_of
from schoolgate_server.store.handles import Collection, Document

_FIELDS: dict[str, int] = dict.fromkeys(
    ("kind", "dataset", "keys", "version", "wire", "hash", "tombstone"), 1
)


class Stored(NamedTuple):
    """The latest state of one record, with what a next version of it is made from.

    ``keys`` are encoded; ``tombstone`` is ``None`` for a live record.
    """

    record_id: str
    kind: Kind.ValueType
    dataset: str
    keys: tuple[str, ...]
    message: Message
    wire: bytes
    digest: bytes
    version: int
    tombstone: TombstoneReason.ValueType | None
    merged_into: str


class References:
    """The ``records`` collection by what its records refer to.

    For the holder of the school's lease after recovery: it reads what is there, published or not.
    """

    def __init__(self, records: Collection) -> None:
        self._records = records

    async def stored(self, school_id: str, record_id: str) -> Stored | None:
        """Return the latest state of a record, tombstoned or not."""
        found = await self._records.find_one({"school": school_id, "_id": record_id}, _FIELDS)
        return None if found is None else _stored(found)

    async def referring(self, school_id: str, record_id: str) -> list[Stored]:
        """Return the live records that refer to ``record_id``, in order of their id.

        No index answers this: it reads every record of the kinds that can refer to this one. An operation as
        rare as a merge may cost that (``docs/adr/0008-identity.md`` says how much); an index over every
        reference would slow down each first load.
        """
        fields = referring_fields(kind_of(record_id))
        if not fields:
            return []
        query: Document = {
            "school": school_id,
            "kind": {"$in": [KINDS[kind].name for kind in fields]},
            "live": True,
            "$or": [
                {f"body.{field}": record_id}
                for field in sorted({name for names in fields.values() for name in names})
            ],
        }
        found: list[Stored] = []
        async for batch in self._records.batches(query, _FIELDS):
            found += map(_stored, batch)
        return sorted(found, key=lambda stored: stored.record_id)


def referring_fields(kind: Kind.ValueType) -> dict[Kind.ValueType, tuple[str, ...]]:
    """Return the kinds that can refer to ``kind``, with the fields that do, by the naming of the model."""
    name = f"{KINDS[kind].name}_id"
    fields = {
        other: tuple(field for field in info.references if field == name or field.endswith(f"_{name}"))
        for other, info in KINDS.items()
    }
    return {other: names for other, names in fields.items() if names}


def _stored(document: Document) -> Stored:
    info = KINDS_BY_NAME[document["kind"]]
    tombstone: Document | None = document.get("tombstone")
    reason = None if tombstone is None else TombstoneReason.Value(f"TOMBSTONE_REASON_{tombstone['reason']}")
    return Stored(
        document["_id"],
        info.kind,
        document["dataset"],
        tuple(document["keys"]),
        info.message.FromString(document["wire"]),
        document["wire"],
        document["hash"],
        document["version"],
        reason,
        "" if tombstone is None else tombstone.get("merged_into", ""),
    )
