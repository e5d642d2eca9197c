"""A running service seen from outside: its API through synchronous stubs, its MongoDB through a client.

with live(open_service.target, folder) as service:
    service.register("oak", simulator, school_number=20001)
    run = service.sync("oak")
    service.count("oak", KIND_STUDENT)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
from pymongo import MongoClient
from pymongo.database import Database

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as query
from schoolgate.v1 import school_service_pb2 as schools
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1.diagnostics_service_pb2_grpc import DiagnosticsServiceStub
from schoolgate.v1.query_service_pb2_grpc import QueryServiceStub
from schoolgate.v1.record_pb2 import KeyPart, Record, SourceKey
from schoolgate.v1.school_service_pb2_grpc import SchoolServiceStub
from schoolgate.v1.sync_service_pb2_grpc import SyncServiceStub
from tests.support.documents import Documents
from tests.support.served import Failure, failure_of, new_request_id
from tests.support.simulator import Simulator

READ_KINDS = (
    kinds.KIND_STUDENT,
    kinds.KIND_ENROLMENT,
    kinds.KIND_ADMISSION,
    kinds.KIND_CONTACT,
    kinds.KIND_STUDENT_CONTACT,
    kinds.KIND_STAFF,
    kinds.KIND_SUBJECT,
    kinds.KIND_ROOM,
    kinds.KIND_PERIOD,
    kinds.KIND_GROUP,
    kinds.KIND_GROUP_MEMBERSHIP,
    kinds.KIND_STAFF_ASSIGNMENT,
    kinds.KIND_TIMETABLE_ENTRY,
    kinds.KIND_ATTENDANCE_MARK,
    kinds.KIND_LOCAL_CODE,
    kinds.KIND_BEHAVIOUR_EVENT,
    kinds.KIND_ASSESSMENT_RESULT,
)
"""The kinds that the Bromcom connector reads."""

CLOSED_YEAR = schools.AcademicYearSpan(name="2024/25", valid_from="2024-09-01", valid_to="2025-09-01")
"""A year that is over whenever the tests run: the ends of its spans have passed by the system's clock."""


class Live:
    """One service. Calls fail with ``grpc.RpcError``; see :func:`refused`."""

    def __init__(self, channel: grpc.Channel, database: Database[dict[str, Any]]) -> None:
        self.channel = channel
        self.database = database
        self.schools = SchoolServiceStub(channel)
        self.runs = SyncServiceStub(channel)
        self.query = QueryServiceStub(channel)
        self.diagnostics = DiagnosticsServiceStub(channel)

    def register(
        self,
        school_id: str,
        simulator: Simulator,
        number: int | None = None,
        settings: dict[str, str] | None = None,
        **school: Any,
    ) -> None:
        """Register ``school_id`` with a simulated school, by default the simulator's first."""
        registered = schools.School(
            school_id=school_id,
            connector="bromcom",
            settings=simulator.settings_of(number or simulator.schools[0]) | (settings or {}),
            **school,
        )
        self.schools.CreateSchool(
            schools.CreateSchoolRequest(
                school=registered, credentials=simulator.credentials, request_id=new_request_id()
            )
        )

    def change_settings(self, school_id: str, **settings: str) -> None:
        """Change some of a school's connector settings and leave the others as they are."""
        school = self.schools.GetSchool(schools.GetSchoolRequest(school_id=school_id)).school
        school.settings.update(settings)
        request = schools.UpdateSchoolRequest(school=school, request_id=new_request_id())
        request.update_mask.paths.append("settings")
        self.schools.UpdateSchool(request)

    def set_credentials(self, school_id: str, credentials: dict[str, str]) -> None:
        self.schools.SetCredentials(
            schools.SetCredentialsRequest(
                school_id=school_id, credentials=credentials, request_id=new_request_id()
            )
        )

    def sync(self, school_id: str, *datasets: str) -> sync.Run:
        """Run a sync to its end and return it."""
        request = sync.StartSyncRequest(school_id=school_id, datasets=datasets, request_id=new_request_id())
        run = self.runs.StartSync(request).run
        for state in self.runs.WatchRun(sync.WatchRunRequest(school_id=school_id, run_id=run.run_id)):
            run = state.run
        return run

    def count(self, school_id: str, kind: kinds.Kind.ValueType, *, tombstones: bool = False) -> int:
        request = query.CountRecordsRequest(school_id=school_id, kind=kind, include_tombstones=tombstones)
        return self.query.CountRecords(request).count

    def records(
        self, school_id: str, kind: kinds.Kind.ValueType, *, tombstones: bool = False, seq: int = 0
    ) -> list[Record]:
        """Return all records of a kind, as of ``seq`` where it is given."""
        request = query.QueryRecordsRequest(
            school_id=school_id, kind=kind, include_tombstones=tombstones, known_at_seq=seq, page_size=2000
        )
        return [record for page in self.query.QueryRecords(request) for record in page.records]

    def everything(self, school_id: str, *, seq: int = 0) -> dict[str, Record]:
        """Return the records of every kind that the connector reads by id, those that left included."""
        return {
            record.id: record
            for kind in READ_KINDS
            for record in self.records(school_id, kind, tombstones=True, seq=seq)
        }

    def versions(self, school_id: str, record_id: str) -> list[query.Version]:
        """Return all versions of a record, newest first."""
        request = query.ListVersionsRequest(school_id=school_id, record_id=record_id)
        return list(self.query.ListVersions(request).versions)

    def documents(self) -> Documents:
        """Return every document of every collection, except for who holds a school and since when."""
        found: Documents = {}
        for name in self.database.list_collection_names():
            rows = self.database[name].find({})
            found[name] = {str(row["_id"]): row for row in rows}
        for head in found.get("heads", {}).values():
            del head["lease"], head["epoch"]
        return found

    def fingerprints(self, *left_out: str) -> dict[str, Any]:
        """Return a fingerprint of every collection, made by MongoDB, but for those ``left_out``.

        Of the heads, who holds a school and since when is left out, and the others are shown as they are.
        """
        names = set(self.database.list_collection_names()) - {"heads", *left_out}
        hashes: dict[str, Any] = self.database.command("dbHash", collections=sorted(names))["collections"]
        return {**hashes, "heads": list(self.database["heads"].find({}, {"lease": 0, "epoch": 0}))}

    def data(self, *left_out: str) -> dict[str, Any]:
        """Return the fingerprints of what a run leaves alone that learns nothing new.

        A run that fails may retain rows and what they were read as, decide about some and set deletions
        aside; it is a document itself.
        """
        return self.fingerprints("runs", "raw_pages", "memos", "decisions", "holds", *left_out)


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends a token with every call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=[("authorization", f"Bearer {self._token}")])

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_token(client_call_details), request)


@contextmanager
def live(target: str, data: Path, token: str = "") -> Generator[Live]:
    """Connect to the service at ``target`` and to the MongoDB that it embeds in the folder ``data``.

    ``token`` is the caller's, where the service asks for one.
    """
    folder = data / "mongod"
    client: MongoClient[dict[str, Any]] = MongoClient(
        "127.0.0.1",
        int((folder / "port").read_text()),
        username="schoolgate",
        password=(folder / "password").read_text().strip(),
        directConnection=True,
        tz_aware=True,
    )
    with client, grpc.insecure_channel(target) as channel:
        admitted = grpc.intercept_channel(channel, _Bearer(token)) if token else channel
        yield Live(admitted, client["schoolgate"])


def refused(call: Callable[[], Any]) -> Failure:
    """Return the failure of a call that must fail, unary or a stream."""
    try:
        answer = call()
        if isinstance(answer, Iterator):
            for _ in cast("Iterator[object]", answer):
                pass
    except grpc.RpcError as error:
        return failure_of(cast("Any", error))
    raise AssertionError("the call did not fail")


def part_of(run: sync.Run, dataset: str) -> sync.DatasetRun:
    """Return what a run says of a dataset."""
    return next(part for part in run.datasets if part.dataset == dataset)


def key_parts(record: Record, namespace: str) -> tuple[int | str, ...]:
    """Return the parts of a record's key in ``namespace``; empty where it has none there."""
    for key in record.source_keys:
        if key.namespace == namespace:
            return tuple(
                part.integer if part.WhichOneof("value") == "integer" else part.text for part in key.parts
            )
    return ()


def wire_key(namespace: str, *parts: int | str) -> SourceKey:
    """Return a source key as requests hold it."""
    return SourceKey(
        namespace=namespace,
        parts=[KeyPart(integer=part) if isinstance(part, int) else KeyPart(text=part) for part in parts],
    )


def digest(documents: Documents) -> dict[str, dict[str, str]]:
    """Return the documents as fingerprints, of which a failing comparison shows the few that differ."""
    return {
        name: {key: hashlib.sha256(repr(row).encode()).hexdigest()[:12] for key, row in rows.items()}
        for name, rows in documents.items()
    }
