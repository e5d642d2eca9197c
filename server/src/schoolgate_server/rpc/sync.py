"""SyncService: starting, watching and stopping runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from schoolgate.v1 import sync_service_pb2 as s
from schoolgate.v1.sync_service_pb2_grpc import SyncServiceServicer
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.checks import is_iso_date
from schoolgate_server.rpc.calls import current_caller
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations
from schoolgate_server.rpc.digests import digest_of
from schoolgate_server.rpc.following import followed
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.ports import Store, Supervisor
from schoolgate_server.rpc.source_keys import checked_key
from schoolgate_server.rpc.tokens import make_token, question_of, read_token

_STARTABLE = (
    s.SYNC_LAYER_UNSPECIFIED,
    s.SYNC_LAYER_FULL,
    s.SYNC_LAYER_WINDOW,
    s.SYNC_LAYER_CHANGES,
    s.SYNC_LAYER_REPROJECTION,
)
_MOST_DATASETS = 100


class Sync(SyncServiceServicer):
    """Serves runs, notifications and holds."""

    def __init__(self, store: Store, supervisor: Supervisor, closing: asyncio.Event) -> None:
        self._store = store
        self._supervisor = supervisor
        self._closing = closing

    async def StartSync(self, request: s.StartSyncRequest, context: Context) -> s.StartSyncResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.request_id(request.request_id)
        violations.each_once(request.datasets, "datasets", maximum=_MOST_DATASETS, what="dataset")
        for index, dataset in enumerate(request.datasets[:_MOST_DATASETS]):
            violations.text(dataset, f"datasets[{index}]", maximum=LONGEST_NAME, required=True)
        _check_layer(request, violations)
        violations.raise_any()
        run = await self._supervisor.start_sync(
            request.school_id,
            list(request.datasets),
            request.request_id,
            current_caller().name,
            layer=request.layer or s.SYNC_LAYER_FULL,
            date_from=request.date_from,
            date_to=request.date_to,
        )
        return s.StartSyncResponse(run=run)

    async def NotifyChange(self, request: s.NotifyChangeRequest, context: Context) -> s.NotifyChangeResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.request_id(request.request_id)
        violations.kind(request.kind)
        given = [
            checked_key(key, f"source_keys[{index}]", violations)
            for index, key in enumerate(request.source_keys)
        ]
        violations.raise_any()
        keys = [key for key in given if key is not None]
        run = await self._supervisor.notify(
            request.school_id, request.kind, keys, request.request_id, current_caller().name
        )
        return s.NotifyChangeResponse(run=run)

    async def GetRun(self, request: s.GetRunRequest, context: Context) -> s.GetRunResponse:
        _check_run(request)
        await self._store.schools.get(request.school_id)
        entry = await self._store.runs.get(request.school_id, request.run_id)
        return s.GetRunResponse(run=entry.run)

    async def ListRuns(self, request: s.ListRunsRequest, context: Context) -> s.ListRunsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        limit = violations.size(request.page_size, default=50, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        before = read_token(question, request.page_token, str)[0] if request.page_token else None
        await self._store.schools.get(request.school_id)
        found = await self._store.runs.list(request.school_id, before, limit + 1)
        response = s.ListRunsResponse(runs=[entry.run for entry in found[:limit]])
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1].run.run_id)
        return response

    async def WatchRun(
        self, request: s.WatchRunRequest, context: Context
    ) -> AsyncIterator[s.WatchRunResponse]:
        _check_run(request)
        await self._store.schools.get(request.school_id)
        states = self._supervisor.watch(request.school_id, request.run_id)
        async with aclosing(followed(states, self._closing)) as runs:
            async for run in runs:
                yield s.WatchRunResponse(run=run)

    async def CancelRun(self, request: s.CancelRunRequest, context: Context) -> s.CancelRunResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.run_id(request.run_id)
        violations.request_id(request.request_id)
        violations.raise_any()
        await self._store.schools.get(request.school_id)
        return s.CancelRunResponse(run=await self._supervisor.cancel(request.school_id, request.run_id))

    async def ListHolds(self, request: s.ListHoldsRequest, context: Context) -> s.ListHoldsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        limit = violations.size(request.page_size, default=100, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        skip = read_token(question, request.page_token, int)[0] if request.page_token else 0
        await self._store.schools.get(request.school_id)
        # A school has at most one open hold per dataset, so all of them are few.
        found = await self._store.holds.list(request.school_id)
        response = s.ListHoldsResponse(holds=found[skip : skip + limit])
        if len(found) > skip + limit:
            response.next_page_token = make_token(question, skip + limit)
        return response

    async def ResolveHold(self, request: s.ResolveHoldRequest, context: Context) -> s.ResolveHoldResponse:
        _check_resolution(request)
        await self._store.schools.get(request.school_id)
        digest = digest_of(request)
        earlier = await self._store.audit.repeated(request.school_id, request.request_id, digest)
        if earlier is not None:
            return s.ResolveHoldResponse.FromString(earlier)
        which = (request.school_id, request.hold_id, request.digest)
        caller, now = current_caller().name, self._supervisor.now()
        if request.resolution == s.ResolveHoldRequest.RESOLUTION_APPROVE:
            hold = await self._store.holds.approve(*which, caller, now)
        else:
            hold = await self._store.holds.discard(*which)
        response = s.ResolveHoldResponse(hold=hold)
        await self._store.audit.record(
            AuditEntry(
                request.school_id,
                request.request_id,
                digest,
                s.ResolveHoldRequest.Resolution.Name(request.resolution),
                request.hold_id,
                caller,
                now,
                request.comment,
                response.SerializeToString(),
            )
        )
        return response


def _check_layer(request: s.StartSyncRequest, violations: Violations) -> None:
    """Note what is wrong with the layer and its window."""
    if request.layer not in _STARTABLE:
        names = ", ".join(s.SyncLayer.Name(layer) for layer in _STARTABLE if layer)
        violations.add("layer", f"must be one of {names}")
        return
    window = {"date_from": request.date_from, "date_to": request.date_to}
    if request.layer != s.SYNC_LAYER_WINDOW:
        for field, value in window.items():
            if value:
                violations.add(field, "must not be given, except for SYNC_LAYER_WINDOW")
        return
    for field, value in window.items():
        violations.iso_date(value, field)
    if all(map(is_iso_date, window.values())) and not request.date_from < request.date_to:
        violations.add("date_to", "must lie after date_from: it is the first day that is not read")


def _check_resolution(request: s.ResolveHoldRequest) -> None:
    violations = Violations()
    violations.school_id(request.school_id)
    violations.request_id(request.request_id)
    for name in ("hold_id", "digest"):
        violations.text(getattr(request, name), name, maximum=LONGEST_NAME, required=True)
    known = s.ResolveHoldRequest.Resolution.values()
    if request.resolution not in known or not request.resolution:
        violations.add("resolution", "must be RESOLUTION_APPROVE or RESOLUTION_DISCARD")
    violations.comment(request.comment)
    violations.raise_any()


def _check_run(request: s.GetRunRequest | s.WatchRunRequest) -> None:
    violations = Violations()
    violations.school_id(request.school_id)
    violations.run_id(request.run_id)
    violations.raise_any()
