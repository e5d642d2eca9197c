"""Runs: the public message, and what the engine needs to resume one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.json_format import MessageToDict

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1.sync_service_pb2 import (
    DATASET_STATE_SUCCEEDED,
    RUN_STATE_QUEUED,
    RUN_STATE_RUNNING,
    SYNC_LAYER_CHANGES,
    SYNC_LAYER_FULL,
    SYNC_LAYER_TARGETED,
    SYNC_LAYER_UNSPECIFIED,
    SYNC_LAYER_WINDOW,
    DatasetRun,
    Run,
    SyncLayer,
)
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.runs import RunEntry, SealedSnapshot, Segment
from schoolgate_server.store.errors import LeaseLost
from schoolgate_server.store.handles import Collection, Document
from schoolgate_server.store.paging import before_of
from schoolgate_server.store.requests import reused

_UNFINISHED = (RUN_STATE_QUEUED, RUN_STATE_RUNNING)
SCHEDULED_LAYERS = (SYNC_LAYER_FULL, SYNC_LAYER_WINDOW, SYNC_LAYER_CHANGES)
"""Layers of which a schedule can start runs, the most thorough first."""
_WHOLE = (SYNC_LAYER_UNSPECIFIED, SYNC_LAYER_FULL)


class Runs:
    """The ``runs`` collection."""

    def __init__(self, runs: Collection) -> None:
        self._runs = runs
        self._saves = itertools.count(1)

    async def insert(self, entry: RunEntry) -> RunEntry:
        """Store a new run and return it; a repeated request gets the run that the first one began.

        Raises:
            ServiceError: REQUEST_ID_REUSED, where that request was a different one; RUN_IN_PROGRESS, where
                another run of the school has not ended.
        """
        if await self._runs.insert_one(document_of(entry)):
            return entry
        query: Document = {"school": entry.run.school_id, "_id": entry.run.run_id}
        if entry.request_id:
            query = {"school": entry.run.school_id, "request_id": entry.request_id}
        found = await self._runs.find_one(query)
        if found is None:
            at_work = await self.at_work(entry.run.school_id)
            if at_work is not None:
                raise in_progress(at_work.run)
        if found is None or found["request_digest"] != entry.request_digest:
            raise reused()
        return entry_of(found)

    async def get(self, school_id: str, run_id: str) -> RunEntry:
        """Return one run.

        Raises:
            ServiceError: RUN_NOT_FOUND.
        """
        found = await self._runs.find_one({"_id": run_id, "school": school_id})
        if found is None:
            raise _not_found(school_id, run_id)
        return entry_of(found)

    async def save(self, entry: RunEntry, epoch: int) -> None:
        """Store the state of a run again, for the owner of ``epoch``; a request to cancel it is kept.

        Raises:
            ServiceError: RUN_NOT_FOUND.
            LeaseLost: an owner of a later epoch has stored it since.
        """
        school_id, run_id = entry.run.school_id, entry.run.run_id
        number = next(self._saves)
        document = document_of(entry) | {"epoch": epoch, "saved": number}
        update: Document = {"$set": document}
        if "unfinished" not in document:
            update["$unset"] = {"unfinished": ""}
        # An epoch belongs to one process, so this one's numbers order its saves: one that the network delays
        # until a newer one has been stored must not bring the older state back.
        not_later: Document = {
            "_id": run_id,
            "school": school_id,
            "$or": [{"epoch": {"$not": {"$gte": epoch}}}, {"epoch": epoch, "saved": {"$lt": number}}],
        }
        if not await self._runs.update_one(not_later, update):
            stored = await self._runs.find_one({"_id": run_id, "school": school_id}, {"epoch": 1})
            if stored is None:
                raise _not_found(school_id, run_id)
            if stored["epoch"] == epoch:
                return  # what was to be stored later has been stored already
            raise LeaseLost(f"run {run_id} has gone to another owner")

    async def begin(self, school_id: str, run_id: str) -> RunEntry:
        """Return a run that is to be worked on; one that collects notifications takes no more of them.

        Raises:
            ServiceError: RUN_NOT_FOUND.
        """
        await self._runs.update_one(
            {"_id": run_id, "unfinished": collecting_slot(school_id)},
            {"$set": {"unfinished": _own_slot(school_id, run_id)}},
        )
        return await self.get(school_id, run_id)

    async def request_cancel(self, school_id: str, run_id: str) -> RunEntry:
        """Take note that a run is to stop, for whichever server works on it, and return it.

        Raises:
            ServiceError: RUN_NOT_FOUND.
        """
        await self.begin(school_id, run_id)  # what is to stop collects nothing more
        await self._runs.update_one(
            {"_id": run_id, "school": school_id, "unfinished": {"$exists": True}}, {"$set": {"cancel": True}}
        )
        return await self.get(school_id, run_id)

    async def unfinished(self, school_id: str | None = None) -> Sequence[RunEntry]:
        """Return the queued and running runs of one school, or of all schools, oldest first."""
        query: Document = {"unfinished": {"$exists": True}}
        if school_id is not None:
            query["school"] = school_id
        found = await self._runs.find(query, sort=[("created_at", 1), ("_id", 1)])
        return [entry_of(document) for document in found]

    async def at_work(self, school_id: str) -> RunEntry | None:
        """Return the school's unfinished run, of which there is one at most; notifications' runs aside."""
        found = await self._runs.find_one({"unfinished": school_id})
        return None if found is None else entry_of(found)

    async def last_scheduled(self, school_id: str) -> dict[SyncLayer.ValueType, datetime]:
        """Return when the latest run that a schedule began was accepted, by layer."""
        latest: dict[SyncLayer.ValueType, datetime] = {}
        for layer in SCHEDULED_LAYERS:
            found = await self._runs.find_one(
                {"school": school_id, "scheduled": layer}, {"created_at": 1}, sort=[("created_at", -1)]
            )
            if found is not None:
                latest[layer] = found["created_at"]
        return latest

    async def finished(self, school_id: str, limit: int) -> Sequence[Run]:
        """Return up to ``limit`` of the runs that asked the school's MIS and have ended, newest first."""
        found = await self._runs.find(
            {
                "school": school_id,
                "unfinished": {"$exists": False},
                "body.layer": {"$nin": ["SYNC_LAYER_REPROJECTION", "SYNC_LAYER_IDENTITY"]},
            },
            sort=[("created_at", -1), ("_id", -1)],
            limit=limit,
        )
        return [entry_of(document).run for document in found]

    async def last_sealed(self, school_id: str, dataset: str) -> SealedSnapshot | None:
        """Return how ``dataset`` was last sealed as a whole with nothing held, and the segments read then."""
        found = await self._runs.find(
            {"school": school_id, "sealed": dataset}, sort=[("created_at", -1)], limit=1
        )
        if not found:
            return None
        entry = entry_of(found[0])
        part = next(part for part in entry.run.datasets if part.dataset == dataset)
        return SealedSnapshot(entry.run.run_id, part, entry.manifest.get(dataset, []), entry.run.seq_after)

    async def list(self, school_id: str, before: str | None, limit: int) -> list[RunEntry]:
        """Return up to ``limit`` runs, newest first, those before the run with id ``before``.

        Raises:
            ServiceError: RUN_NOT_FOUND, for ``before``.
        """
        query: Document = {"school": school_id}
        if before is not None:
            earlier = await before_of(self._runs, school_id, before, "created_at")
            if earlier is None:
                raise _not_found(school_id, before)
            query.update(earlier)
        found = await self._runs.find(query, sort=[("created_at", -1), ("_id", -1)], limit=limit)
        return [entry_of(document) for document in found]


def collecting_slot(school_id: str) -> str:
    """Return what marks the school's run that takes notifications in until it begins."""
    return f"{school_id}:targets"


def _own_slot(school_id: str, run_id: str) -> str:
    return f"{school_id}:{run_id}"


def _slot(run: Run) -> str:
    """Return what marks an unfinished run, unique among all: runs of one slot exclude each other.

    Those for notifications do not exclude others, which would have to be refused; they wait for the lease.
    """
    if run.layer != SYNC_LAYER_TARGETED:
        return run.school_id
    if run.state == RUN_STATE_QUEUED:
        return collecting_slot(run.school_id)
    return _own_slot(run.school_id, run.run_id)


def _is_whole(run: Run, part: DatasetRun) -> bool:
    return (part.layer or run.layer) in _WHOLE


def document_of(entry: RunEntry) -> Document:
    """Return the document of a run."""
    run = entry.run
    document: Document = {
        "_id": run.run_id,
        "school": run.school_id,
        "created_at": _time(run),
        "request_digest": entry.request_digest,
        "sealed": [
            part.dataset
            for part in run.datasets
            if part.state == DATASET_STATE_SUCCEEDED and _is_whole(run, part)
        ],
        # Dataset names come from connectors, so they are values and not field names.
        "manifest": [
            {"dataset": dataset, "segments": [segment._asdict() for segment in segments]}
            for dataset, segments in entry.manifest.items()
        ],
        "body": MessageToDict(run, preserving_proto_field_name=True),
        "wire": run.SerializeToString(),
    }
    if entry.targets:
        document["targets"] = [
            {"dataset": dataset, "keys": list(keys)} for dataset, keys in entry.targets.items()
        ]
    if entry.operation:
        document["operation"] = entry.operation
    if entry.scheduled:
        document["scheduled"] = run.layer
    if entry.request_id:
        document["request_id"] = entry.request_id
    if run.state in _UNFINISHED:
        document["unfinished"] = _slot(run)
    return document


def entry_of(document: Document) -> RunEntry:
    """Return the run that a document holds."""
    manifest = {
        part["dataset"]: [
            Segment(segment["digest"], segment["cursor"], segment["rows"], segment.get("seq", 0))
            for segment in part["segments"]
        ]
        for part in document["manifest"]
    }
    run = Run.FromString(document["wire"])
    run.cancel_requested = run.cancel_requested or document.get("cancel", False)
    return RunEntry(
        run,
        document.get("request_id", ""),
        document["request_digest"],
        manifest,
        {part["dataset"]: list(part["keys"]) for part in document.get("targets", ())},
        document.get("operation", b""),
        "scheduled" in document,
    )


def in_progress(run: Run) -> ServiceError:
    """Return the error for a run that cannot begin while ``run`` is at work."""
    return ServiceError(
        reasons.ERROR_REASON_RUN_IN_PROGRESS,
        f"school {run.school_id!r} is being synced by run {run.run_id}",
        metadata={"run_id": run.run_id},
    )


def _time(run: Run) -> datetime:
    return run.created_at.ToDatetime(tzinfo=UTC)


def _not_found(school_id: str, run_id: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_RUN_NOT_FOUND,
        f"school {school_id!r} has no run {run_id!r}",
        metadata={"school_id": school_id, "run_id": run_id},
    )
