"""Records as a change of identity needs them: what is stored of one, and which others refer to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import TombstoneReason
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.ids import kind_of
from schoolgate_server.store.documents import body_wire
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.places import id_of

STORED_FIELDS: dict[str, int] = dict.fromkeys(
    ("kind", "dataset", "keys", "version", "wire", "hash", "tombstone"), 1
)
"""Projection for what :class:`Stored` is made of."""


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
    """``records`` and ``history`` by what their records are and refer to.

    For the holder of the school's lease after recovery: it reads what is there, published or not.
    """

    def __init__(self, records: Collection, history: Collection) -> None:
        self._records = records
        self._history = history

    async def stored(self, school_id: str, record_id: str) -> Stored | None:
        """Return the latest state of a record, tombstoned or not."""
        found = await self._records.find_one({"school": school_id, "_id": record_id}, STORED_FIELDS)
        return None if found is None else stored_of(found)

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
        async for batch in self._records.batches(query, STORED_FIELDS):
            found += map(stored_of, batch)
        return sorted(found, key=lambda stored: stored.record_id)

    async def last_merged(self, school_id: str, run_id: str) -> Stored | None:
        """Return the record that ``run_id`` merged into another one last."""
        query: Document = {"school": school_id, "run": run_id, "tombstone.reason": "MERGED"}
        found: list[Document] = []
        async for batch in self._records.batches(query, {**STORED_FIELDS, "seq": 1}):
            found = [max([*found, *batch], key=_seq)]
        return stored_of(found[0]) if found else None

    async def any_gone(self, school_id: str, kind: Kind.ValueType) -> bool:
        """Whether there is a record of ``kind`` that has left, other than by a merge."""
        query = {**_of_kind(school_id, kind), "live": False}
        return await self._records.find_one(query, {"_id": 1}) is not None

    async def attributes(
        self, school_id: str, kind: Kind.ValueType, fields: Sequence[str]
    ) -> AsyncIterator[tuple[str, bool, dict[str, str]]]:
        """Yield the id of each record of ``kind`` that is not merged, whether it is live, and its ``fields``.

        Fields without a value are left out, and so are those that are no texts.
        """
        projection = {"live": 1, **{f"body.{field}": 1 for field in fields}}
        async for batch in self._records.batches(_of_kind(school_id, kind), projection):
            for document in batch:
                body: dict[str, Any] = document.get("body", {})
                values = {name: value for name, value in body.items() if isinstance(value, str)}
                yield document["_id"], document["live"], values

    async def began(self, school_id: str, record_ids: Sequence[str]) -> dict[str, int]:
        """Return the seq at which each record came into being."""
        first: Document = {"school": school_id, "version": 1}
        ids = list(record_ids)
        past = await self._history.find({**first, "id": {"$in": ids}}, {"id": 1, "seq": 1})
        present = await self._records.find({**first, "_id": {"$in": ids}}, {"seq": 1})
        return {id_of(document): document["seq"] for document in (*past, *present)}


def _seq(document: Document) -> int:
    seq: int = document["seq"]
    return seq


def _of_kind(school_id: str, kind: Kind.ValueType) -> Document:
    return {"school": school_id, "kind": KINDS[kind].name, "tombstone.reason": {"$ne": "MERGED"}}


def referring_fields(kind: Kind.ValueType) -> dict[Kind.ValueType, tuple[str, ...]]:
    """Return the kinds that can refer to ``kind``, with the fields that do, by the naming of the model."""
    name = f"{KINDS[kind].name}_id"
    fields = {
        other: tuple(field for field in info.references if field == name or field.endswith(f"_{name}"))
        for other, info in KINDS.items()
    }
    return {other: names for other, names in fields.items() if names}


def stored_of(document: Document) -> Stored:
    """Return what a document of ``records`` with :data:`STORED_FIELDS` stores."""
    info = KINDS_BY_NAME[document["kind"]]
    tombstone: Document | None = document.get("tombstone")
    reason = None if tombstone is None else TombstoneReason.Value(f"TOMBSTONE_REASON_{tombstone['reason']}")
    wire = body_wire(document)
    return Stored(
        document["_id"],
        info.kind,
        document["dataset"],
        tuple(document["keys"]),
        info.message.FromString(wire),
        wire,
        document["hash"],
        document["version"],
        reason,
        "" if tombstone is None else tombstone.get("merged_into", ""),
    )
