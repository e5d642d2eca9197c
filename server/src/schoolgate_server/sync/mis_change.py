"""Applying a planned change of MIS: matched records get the other MIS's keys, and the school its connector.

Each step can be done again, and the school's own document comes last, so that a run which died goes on to
the same end, and until then nothing reads the other MIS. In between no sync can begin: this run is at work
still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from schoolgate.v1 import failure_pb2 as failures
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import CHANGE_CAUSE_IDENTITY
from schoolgate_sdk import KINDS, Connector
from schoolgate_server.ingest.identity import joined_keys
from schoolgate_server.mis.connections import RunFailed
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.changes import Change, Commit
from schoolgate_server.model.dates import validity
from schoolgate_server.model.failures import failure
from schoolgate_server.model.hashing import content_digest
from schoolgate_server.model.ids import Minter
from schoolgate_server.model.mis_changes import StoredPlan, staleness
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.mis_plans import Piece
from schoolgate_server.store.readings import StoredReading
from schoolgate_server.store.references import Stored
from schoolgate_server.sync.operations import OperationEnv


async def apply(env: OperationEnv, entry: RunEntry, data: Mapping[str, Any]) -> None:
    """Move the school to the other MIS as the plan with ``data``'s digest says.

    It looks for no request to stop on its way: half a change of MIS helps nobody.

    Raises:
        RunFailed: the plan is not the latest, or the school has changed since; nothing was done.
    """
    school_id, run_id = entry.run.school_id, entry.run.run_id
    digest = str(data["digest"])
    planned = await env.store.mis_plans.get(school_id)
    if planned.applied and await _applied_by(env, school_id, run_id):
        return  # and what was left to do then was to say so
    head = await env.store.leases.head(school_id)
    why = staleness(planned, digest, head.published)
    if why is not None:
        refused = failure(
            failures.FAILURE_TYPE_UNSUPPORTED,
            f"{why}; nothing was done",
            audience=failures.AUDIENCE_OPERATOR,
        )
        refused.remediation = "Plan again, look at the plan, and apply that one."
        raise RunFailed(refused)
    connector = env.connectors.get(planned.plan.connector)
    secret = await env.store.row_seal.unseal(school_id, planned.sealed)
    given: dict[str, dict[str, str]] = orjson.loads(secret)
    env.store.remember_secrets(given["credentials"].values())
    await env.store.mis_plans.begin(school_id, digest)
    await _Moving(env, entry, connector).move(planned)
    # One write for connector, settings, and that the old credentials go: never may one MIS see the other's.
    await env.store.schools.change_mis(school_id, connector.name, given["settings"], run_id)
    if given["credentials"]:
        await env.store.credentials.set(school_id, given["credentials"], run_id)
    await env.store.mis_plans.finish(school_id, digest)


async def _applied_by(env: OperationEnv, school_id: str, run_id: str) -> bool:
    return await env.store.schools.has_request(school_id, run_id)


class _Moving:
    """What becomes of the records."""

    def __init__(self, env: OperationEnv, entry: RunEntry, connector: Connector) -> None:
        self._env = env
        self._store = env.store
        self._school_id, self._run_id = entry.run.school_id, entry.run.run_id
        self._minter = Minter(entry.run.school_id)
        self._datasets: dict[Kind.ValueType, str] = {
            spec.kind: dataset.name for dataset in connector.datasets for spec in dataset.kinds
        }

    async def move(self, planned: StoredPlan) -> None:
        """Give the matched records their further keys, and have all records looked for where they will be."""
        env, store = self._env, self._store
        await store.moves.mark(env.lease())
        for name in dict.fromkeys(self._datasets.values()):
            # As long as no snapshot is sealed, what the other MIS says otherwise is another reading (G08).
            await store.readings.put(env.lease(), name, StoredReading("", ""))
        async for _, piece in store.mis_plans.pieces(self._school_id, planned.plan.run_id):
            await self._tie(piece)
        for kind, name in self._datasets.items():
            await store.moves.move(env.lease(), kind, name)

    async def _tie(self, piece: Piece) -> None:
        """Let the keys of one piece stand for their records, beside the keys that those have already."""
        new_keys = {record: key for key, record in zip(piece.keys, piece.records, strict=True) if record}
        found_all = await self._store.moves.stored(self._school_id, list(new_keys))
        stored = [found for found in found_all if found.tombstone is None]
        keys = {
            found.record_id: joined_keys(
                self._minter, found.record_id, {*found.keys, new_keys[found.record_id]}
            )
            for found in stored
        }
        aliases = [
            Alias(piece.kind, key, record, link=True) for record, known in keys.items() for key in known
        ]
        await self._store.identities.add(self._school_id, aliases, self._run_id)
        changes = [
            self._change(found, keys[found.record_id])
            for found in stored
            if found.keys != keys[found.record_id]
        ]
        await self._commit(changes)

    async def _commit(self, changes: Sequence[Change]) -> None:
        size = self._env.options.commit_batch
        for start in range(0, len(changes), size):
            part = changes[start : start + size]
            await self._store.commits.commit(self._env.lease(), Commit(self._run_id, part))

    def _change(self, found: Stored, keys: tuple[str, ...]) -> Change:
        valid_from, valid_to = validity(KINDS[found.kind], found.message)
        return Change(
            record_id=found.record_id,
            dataset=self._datasets[found.kind],
            kind=found.kind,
            keys=keys,
            wire=found.wire,
            digest=content_digest(found.wire, keys),
            expected_version=found.version,
            valid_from=valid_from,
            valid_to=valid_to,
            cause=CHANGE_CAUSE_IDENTITY,
        )
