"""A world's truths put into a store as they are, without a MIS between: all kinds, with all their dates."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.record_pb2 import TombstoneReason
from schoolgate.v1.school_service_pb2 import School
from schoolgate_bromcom.plugin import schoolgate_connector as bromcom_connector
from schoolgate_sdk import KINDS, encode_key, source_key
from schoolgate_sdk.keys import KeyPart
from schoolgate_sdk.testing.world import Truth, World
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.dates import validity
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.profile import CORE_PROFILE
from schoolgate_server.store.store import Store

_AT_ONCE = 1000
_MEANINGS = resolve_meanings(bromcom_connector().code_meanings)


class WorldStore:
    """One school of a store, which says of a world what :meth:`put` is given."""

    def __init__(self, store: Store, school_id: str) -> None:
        self._store = store
        self._minter = Minter(school_id)
        self._versions: dict[str, int] = {}
        self.school_id = school_id

    async def register(self, profile: Sequence[str] = CORE_PROFILE) -> None:
        school = School(
            school_id=self.school_id, connector="bromcom", data_profile=profile, time_zone="Europe/London"
        )
        await self._store.schools.create(school, str(uuid.uuid4()), b"")

    def id_of(self, kind: k.Kind.ValueType, *key: KeyPart) -> str:
        """Return the record id of what the world knows by ``key``; see :class:`Truth`."""
        return self._minter.mint(kind, encode_key(source_key(f"world/{KINDS[kind].name}", *key)))

    async def put(self, truths: Iterable[Truth], tombstone: TombstoneReason.ValueType | None = None) -> int:
        """Commit these entities, or that they left, and return the seq of the last commit."""
        return await self.put_changes([self.change(truth, tombstone) for truth in truths])

    async def put_changes(self, changes: Iterable[Change]) -> int:
        """Commit these changes, and return the seq of the last commit."""
        lease = await self._store.leases.acquire(self.school_id, "tests", timedelta(seconds=60))
        assert lease is not None
        left = iter(changes)
        seq = 0
        while some := tuple(islice(left, _AT_ONCE)):
            seq = await self._store.commits.commit(lease, Commit("run_world", some))
        await self._store.leases.release(lease)
        return seq

    async def put_world(self, world: World) -> int:
        return await self.put(world.canonical())

    def change(self, truth: Truth, tombstone: TombstoneReason.ValueType | None = None) -> Change:
        """Return the next version of an entity, or that it left."""
        info = KINDS[truth.kind]
        message = type(truth.message)()
        message.CopyFrom(truth.message)
        for ref in truth.refs:
            setattr(message, ref.field, self.id_of(ref.kind, *ref.key))
        for code, meaning in info.coded.items():
            known = _MEANINGS[truth.kind].get(code, {}).get(getattr(message, code))
            if known is not None:
                setattr(message, meaning, known)
        record_id = self.id_of(truth.kind, *truth.key)
        keys = (encode_key(source_key(f"world/{info.name}", *truth.key)),)
        wire = message.SerializeToString(deterministic=True)
        begins, ends = validity(info, message)
        version = self._versions.get(record_id, 0)
        self._versions[record_id] = version + 1
        return Change(
            record_id=record_id,
            dataset=info.name,
            kind=truth.kind,
            keys=keys,
            wire=wire,
            digest=content_digest(wire, keys),
            expected_version=version,
            valid_from=begins,
            valid_to=ends,
            tombstone=tombstone,
        )
