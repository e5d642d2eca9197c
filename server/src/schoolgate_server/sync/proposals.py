"""Proposes pairs of records that strong evidence says are one entity; an operator decides."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from loguru import logger

from schoolgate.v1.identity_service_pb2 import IdentityProposal
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_server.model.ids import kind_of
from schoolgate_server.reconcile.evidence import Entity, Pair, clues, fields_of, pairs
from schoolgate_server.store.store import Store
from schoolgate_server.sync.context import RunContext


async def propose(
    context: RunContext, dataset: str, created: Sequence[str], tombstoned: Sequence[str]
) -> None:
    """Look for one entity under two ids, after a snapshot of ``dataset`` created and tombstoned records.

    What was created is compared with all that ever left, and what left with all that is live, so that a row
    that went and came under a new key is found however long it took, and a deletion that was held meanwhile
    makes no difference. The work is two readings of a kind's records, for the few kinds that have evidence,
    and only when there is something new to compare.
    """
    ingest = context.ingest
    fresh = {*created, *tombstoned}
    for kind in sorted({kind_of(record_id) for record_id in fresh}):
        if not fields_of(kind) or not await ingest.store.references.any_gone(ingest.school_id, kind):
            continue
        found = pairs(kind, [entity async for entity in _alike(ingest.store, ingest.school_id, kind, fresh)])
        proposals = [await _proposal(context, kind, pair, ingest.clock()) for pair in found]
        added = await ingest.store.proposals.add(proposals)
        if added:
            logger.info("{} proposals of records that may be one, from {}", added, dataset)


async def _alike(
    store: Store, school_id: str, kind: Kind.ValueType, fresh: set[str]
) -> AsyncIterator[Entity]:
    """Yield the records of ``kind`` that have a clue in common with a fresh one, and these."""
    wanted: set[tuple[str, ...]] = set()
    async for entity in _entities(store, school_id, kind, fresh):
        if entity.fresh:
            wanted.update(clues(kind, entity))
    async for entity in _entities(store, school_id, kind, fresh):
        if not wanted.isdisjoint(clues(kind, entity)):
            yield entity


async def _entities(
    store: Store, school_id: str, kind: Kind.ValueType, fresh: set[str]
) -> AsyncIterator[Entity]:
    async for record_id, live, values in store.references.attributes(school_id, kind, fields_of(kind)):
        yield Entity(record_id, live, record_id in fresh, values)


async def _proposal(context: RunContext, kind: Kind.ValueType, pair: Pair, now: datetime) -> IdentityProposal:
    """Return the proposal to merge the younger record of a pair into the older one."""
    ingest = context.ingest
    # Of two that came with one commit, the one that is still there stays.
    survivor, merged = pair.live_id, pair.gone_id
    began = await ingest.store.references.began(ingest.school_id, (survivor, merged))
    if began[merged] < began[survivor]:
        survivor, merged = merged, survivor
    proposal = IdentityProposal(
        proposal_id=_proposal_id(ingest.school_id, pair),
        school_id=ingest.school_id,
        kind=kind,
        survivor_id=survivor,
        merged_id=merged,
        evidence=pair.says,
        run_id=ingest.run_id,
    )
    proposal.created_at.FromDatetime(now)
    return proposal


def _proposal_id(school_id: str, pair: Pair) -> str:
    """Return the id of a pair, whichever of the two is live."""
    named = "\n".join((school_id, *sorted((pair.live_id, pair.gone_id))))
    return f"idp_{hashlib.blake2b(named.encode(), digest_size=16).hexdigest()}"
