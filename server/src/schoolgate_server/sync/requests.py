"""Turns what callers and schedules ask for into stored runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import SourceKey, encode_key
from schoolgate_server.mis.connections import connection_of
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.store.notices import Notice
from schoolgate_server.store.runs import in_progress
from schoolgate_server.store.store import Store
from schoolgate_server.sync.layers import Wanted, check_window, datasets_to_read
from schoolgate_server.sync.notifications import check_namespaces, dataset_of_kind, merged, pending


class RunRequests:
    """Accepts runs: what is accepted is stored before it is answered.

    Args:
        new_id: makes the opaque part of run ids.
    """

    def __init__(
        self,
        store: Store,
        connectors: ConnectorHost,
        clock: Clock,
        new_id: Callable[[], str],
        partners: Partners = NO_PARTNERS,
    ) -> None:
        self._partners = partners
        self._store = store
        self._connectors = connectors
        self._clock = clock
        self._new_id = new_id

    async def sync(
        self, school_id: str, wanted: Wanted, request_id: str, requested_by: str, *, scheduled: bool = False
    ) -> RunEntry:
        """Return a new run that reads what is ``wanted``; a repeated ``request_id`` gets the first one's run.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``DATASET_UNKNOWN``,
                ``REQUEST_INVALID``, ``CREDENTIALS_MISSING``, ``RUN_IN_PROGRESS``, ``REQUEST_ID_REUSED``.
        """
        school = await self._store.schools.get(school_id)
        connector = self._connectors.get(school.connector)
        names = datasets_to_read(connector, wanted)
        check_window(school, wanted, self._clock().date())
        if wanted.layer != pb.SYNC_LAYER_REPROJECTION:
            await connection_of(self._store, self._clock, school, connector, partners=self._partners)
        run = self._new_run(school, requested_by)
        run.layer, run.date_from, run.date_to = wanted.layer, wanted.date_from, wanted.date_to
        run.datasets.extend(pending(connector, names))
        what = (pb.SyncLayer.Name(wanted.layer), wanted.date_from, wanted.date_to, *names)
        return await self._insert(RunEntry(run, request_id, _digest(what), scheduled=scheduled))

    async def notify(
        self,
        school_id: str,
        kind: Kind.ValueType,
        keys: Sequence[SourceKey],
        request_id: str,
        requested_by: str,
    ) -> RunEntry:
        """Return the run that reads again what is named: those that wait are read together.

        No ``keys`` mean the kind as a whole. It is never refused because a run is at work, and a repeated
        ``request_id`` gets the first one's run, also after that ended.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``CONNECTOR_UNKNOWN``, ``REQUEST_INVALID``,
                ``CREDENTIALS_MISSING``, ``REQUEST_ID_REUSED``.
        """
        school = await self._store.schools.get(school_id)
        connector = self._connectors.get(school.connector)
        dataset = dataset_of_kind(connector, kind)
        check_namespaces(dataset, kind, keys)
        await connection_of(self._store, self._clock, school, connector, partners=self._partners)
        encoded = sorted({encode_key(key) for key in keys})
        notice = Notice(school_id, request_id, _digest((Kind.Name(kind), *encoded)), self._clock())

        def merge(collecting: RunEntry | None) -> RunEntry:
            return merged(collecting or self._collecting(school, requested_by), connector, dataset, encoded)

        return await self._store.notices.add(notice, merge)

    async def operation(
        self, school_id: str, operation: bytes, request_id: str, requested_by: str, request_digest: bytes
    ) -> RunEntry:
        """Return a new run of the identity layer; see ``sync.operations``.

        Raises:
            ServiceError: ``SCHOOL_NOT_FOUND``, ``RUN_IN_PROGRESS``, ``REQUEST_ID_REUSED``.
        """
        run = self._new_run(await self._store.schools.get(school_id), requested_by)
        run.layer = pb.SYNC_LAYER_IDENTITY
        digest = request_digest or hashlib.sha256(b"operation\n" + operation).digest()
        return await self._insert(RunEntry(run, request_id, digest, operation=operation))

    def _collecting(self, school: School, requested_by: str) -> RunEntry:
        run = self._new_run(school, requested_by)
        run.layer = pb.SYNC_LAYER_TARGETED
        # Its notifications have the request ids; the run is nobody's alone.
        return RunEntry(run, request_id=run.run_id)

    def _new_run(self, school: School, requested_by: str) -> pb.Run:
        run = pb.Run(
            run_id=f"run_{self._new_id()}",
            school_id=school.school_id,
            state=pb.RUN_STATE_QUEUED,
            requested_by=requested_by,
            connector=school.connector,
        )
        run.created_at.FromDatetime(self._clock())
        return run

    async def _insert(self, entry: RunEntry) -> RunEntry:
        at_work = await self._store.runs.at_work(entry.run.school_id)
        if at_work is not None and at_work.request_id != entry.request_id:
            raise in_progress(at_work.run)
        return await self._store.runs.insert(entry)


def _digest(parts: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()
