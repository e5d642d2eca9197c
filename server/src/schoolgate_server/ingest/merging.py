"""Merging: two records of one entity become one, and what referred to either refers to the one that stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schoolgate.v1.record_pb2 import CHANGE_CAUSE_IDENTITY, TOMBSTONE_REASON_MERGED
from schoolgate_sdk import KINDS
from schoolgate_server.ingest.identity import joined_keys
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.changes import Change
from schoolgate_server.model.dates import validity
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.ids import Minter
from schoolgate_server.store.redirects import LONGEST_CHAIN
from schoolgate_server.store.references import Stored
from schoolgate_server.store.store import Store


class NotMergeable(ValueError):
    """The two records cannot become one; the text says why."""


class Merge(NamedTuple):
    """What one merge writes: the ``aliases``, and only then the ``changes``, in this order.

    The first changes are those of the two records, the others those of what refers to the one that goes. The
    first alias is the loser's own key, so that a crash among the aliases shows that there is a merge to
    finish. A crash after them leaves keys that find the survivor and a loser that is merged when the merge is
    done again; a crash between two commits of changes leaves a merge that is seen, and references that are
    rewritten when it is done again, which a run that goes on does before it takes rows. The other way round,
    a snapshot would bring the loser back through its own key.
    """

    survivor_id: str
    changes: list[Change]
    aliases: list[Alias]


async def merge_changes(store: Store, school_id: str, loser_id: str, survivor_id: str) -> Merge:
    """Return what merges one record into another, less what an earlier try of the same merge has done.

    A survivor that is merged itself stands for the record that it was merged into. The survivor keeps its
    body, unless it has left and the loser has not: then it lives on with the loser's. For the holder of the
    school's lease after recovery.

    Raises:
        NotMergeable: they are one record already, not of one kind, one is unknown, or the loser is merged
            into a third one.
    """
    survivor = await _final(store, school_id, survivor_id)
    loser = await store.references.stored(school_id, loser_id)
    if loser is None:
        raise NotMergeable(f"there is no record {loser_id}")
    if loser.kind != survivor.kind:
        raise NotMergeable(f"{loser_id} and {survivor.record_id} are of different kinds")
    is_merged = loser.tombstone == TOMBSTONE_REASON_MERGED
    if loser_id == survivor.record_id:
        raise NotMergeable(f"{loser_id} cannot be merged into itself")
    if is_merged and (await _final(store, school_id, loser_id)).record_id != survivor.record_id:
        raise NotMergeable(f"{loser_id} is merged into another record than {survivor.record_id}")
    keys = await _all_keys(store, school_id, loser, survivor)
    changes = [] if is_merged else [_merged(loser, survivor.record_id)]
    if (kept := _surviving(survivor, loser, keys)) is not None:
        changes.append(kept)
    changes += [
        _pointed(stored, loser_id, survivor.record_id)
        for stored in await store.references.referring(school_id, loser_id)
    ]
    own_first = sorted(keys, key=lambda key: key != loser.keys[0])
    aliases = [Alias(survivor.kind, key, survivor.record_id, link=True) for key in own_first]
    return Merge(survivor.record_id, changes, aliases)


async def _final(store: Store, school_id: str, record_id: str) -> Stored:
    """Return the record that ``record_id`` lives on in: itself, unless it is merged."""
    for _ in range(LONGEST_CHAIN):
        stored = await store.references.stored(school_id, record_id)
        if stored is None:
            raise NotMergeable(f"there is no record {record_id}")
        if stored.tombstone != TOMBSTONE_REASON_MERGED:
            return stored
        record_id = stored.merged_into
    raise NotMergeable(f"the merges of {record_id} do not end")


async def _all_keys(store: Store, school_id: str, loser: Stored, survivor: Stored) -> tuple[str, ...]:
    """Return every key under which either was ever known, in the order in which the survivor has them."""
    known: set[str] = {*survivor.keys, *loser.keys}
    for stored in (survivor, loser):
        known.update(alias.key for alias in await store.identities.of_record(school_id, stored.record_id))
    return joined_keys(Minter(school_id), survivor.record_id, known)


def _merged(loser: Stored, survivor_id: str) -> Change:
    return _change(loser)._replace(tombstone=TOMBSTONE_REASON_MERGED, merged_into=survivor_id)


def _surviving(survivor: Stored, loser: Stored, keys: Iterable[str]) -> Change | None:
    """Return the survivor's next version, ``None`` where it stays as it is."""
    keys = tuple(keys)
    revived = survivor.tombstone is not None and loser.tombstone is None
    if keys == survivor.keys and not revived:
        return None
    source = loser if revived else survivor
    change = _change(source)._replace(
        record_id=survivor.record_id,
        keys=keys,
        digest=content_digest(source.wire, keys),
        expected_version=survivor.version,
    )
    return change if revived else change._replace(tombstone=survivor.tombstone)


def _pointed(stored: Stored, loser_id: str, survivor_id: str) -> Change:
    """Return a referring record's next version, as the projection of its row makes it from now on."""
    message = KINDS[stored.kind].message()
    message.CopyFrom(stored.message)
    for field in KINDS[stored.kind].references:
        if getattr(message, field) == loser_id:
            setattr(message, field, survivor_id)
    wire = message.SerializeToString(deterministic=True)
    return _change(stored)._replace(wire=wire, digest=content_digest(wire, stored.keys))


def _change(stored: Stored) -> Change:
    """Return a next version of a record that differs in nothing, of the cause that all of a merge have."""
    valid_from, valid_to = validity(KINDS[stored.kind], stored.message)
    return Change(
        record_id=stored.record_id,
        dataset=stored.dataset,
        kind=stored.kind,
        keys=stored.keys,
        wire=stored.wire,
        digest=stored.digest,
        expected_version=stored.version,
        valid_from=valid_from,
        valid_to=valid_to,
        cause=CHANGE_CAUSE_IDENTITY,
    )
