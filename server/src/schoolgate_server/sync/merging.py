"""The operation that merges two records because an operator said that they are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schoolgate.v1 import failure_pb2 as failures
from schoolgate_server.ingest.merging import NotMergeable, merge_changes
from schoolgate_server.mis.connections import RunFailed
from schoolgate_server.model.changes import Commit
from schoolgate_server.model.failures import failure
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.sync.operations import OperationEnv


async def merge(env: OperationEnv, entry: RunEntry, data: Mapping[str, Any]) -> None:
    """Merge the record ``merged_id`` of ``data`` into ``survivor_id``.

    Done again after a crash, it does what is missing still. It looks for no request to stop on its way: half
    a merge helps nobody.

    Raises:
        RunFailed: the records cannot be merged; nothing was changed.
    """
    school_id, run_id = entry.run.school_id, entry.run.run_id
    merged_id, survivor_id = str(data["merged_id"]), str(data["survivor_id"])
    try:
        merging = await merge_changes(env.store, school_id, merged_id, survivor_id)
    except NotMergeable as error:
        why = failure(
            failures.FAILURE_TYPE_UNSUPPORTED,
            f"{error}; nothing was changed",
            audience=failures.AUDIENCE_OPERATOR,
        )
        why.remediation = (
            "Read both with QueryService.GetRecord and without_redirect, and merge what is there now."
        )
        raise RunFailed(why) from error
    await env.store.identities.add(school_id, merging.aliases, run_id)
    size = env.options.commit_batch
    for start in range(0, len(merging.changes), size):
        part = merging.changes[start : start + size]
        await env.store.commits.commit(env.lease(), Commit(run_id, part))
    await env.store.proposals.close(school_id, merged_id, entry.request_id)
