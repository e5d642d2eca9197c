"""What the servicers need of the layers below: the store's and the supervisor's methods that they call.

Each raises :class:`~schoolgate_server.model.errors.ServiceError` for what the API documents, and
``StoreUnavailable`` while MongoDB cannot be reached.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from schoolgate.v1.diagnostics_service_pb2 import (
    CompareParsersRequest,
    CompareParsersResponse,
    ConnectorInfo,
    Decision,
)
from schoolgate.v1.identity_service_pb2 import IdentityProposal
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate.v1.school_service_pb2 import CheckConnectionResponse, School, SchoolCondition
from schoolgate.v1.sync_service_pb2 import Hold, Run, SyncLayer
from schoolgate_sdk import Connector, SourceKey
from schoolgate_server.model.audit import AuditEntry
from schoolgate_server.model.feed import FeedPage, Position
from schoolgate_server.model.groups import Values
from schoolgate_server.model.mis_changes import StoredPlan
from schoolgate_server.model.questions import Question, SerialisedRecord
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.model.writes import WriteConditions, WriteEntry


class Schools(Protocol):
    """Registrations of schools."""

    async def create(self, school: School, request_id: str, request_digest: bytes) -> School: ...
    async def get(self, school_id: str) -> School: ...
    async def list(
        self, after_id: str, limit: int, only: Collection[str] | None = None
    ) -> Sequence[School]: ...
    async def update(
        self,
        school: School,
        paths: Sequence[str],
        request_id: str,
        request_digest: bytes,
        endpoints: Mapping[str, str] | None = None,
    ) -> School: ...


class Credentials(Protocol):
    """The vault of MIS credentials."""

    async def set(self, school_id: str, credentials: Mapping[str, str], request_id: str) -> datetime: ...


class Head(Protocol):
    """Where a school stands."""

    @property
    def published(self) -> int: ...


class Leases(Protocol):
    """Published positions of schools."""

    async def head(self, school_id: str) -> Head: ...


class Instants(Protocol):
    """Points in time as seqs."""

    async def seq_at(self, school_id: str, time: datetime) -> int: ...


class Records(Protocol):
    """Records as of a seq."""

    async def published(self, school_id: str) -> int: ...
    async def get(self, school_id: str, record_id: str, seq: int | None = None) -> Record | None: ...
    async def latest(self, school_id: str, record_id: str) -> tuple[int, Record | None]: ...
    async def find_by_key(
        self, school_id: str, kind: Kind.ValueType, key: str, seq: int | None = None
    ) -> Record | None: ...
    async def query(
        self,
        school_id: str,
        kind: Kind.ValueType,
        question: Question,
        seq: int,
        after_id: str,
        limit: int,
    ) -> Sequence[Record]: ...
    async def serialised(
        self,
        school_id: str,
        kind: Kind.ValueType,
        question: Question,
        seq: int,
        after_id: str,
        limit: int,
    ) -> Sequence[SerialisedRecord]: ...
    async def ids_of_keys(
        self, school_id: str, kind: Kind.ValueType, keys: Sequence[str], seq: int
    ) -> set[str]: ...
    async def some(
        self, school_id: str, kind: Kind.ValueType, question: Question, seq: int, limit: int
    ) -> Sequence[Record]: ...
    async def count(self, school_id: str, kind: Kind.ValueType, question: Question, seq: int) -> int: ...
    async def groups(
        self, school_id: str, kind: Kind.ValueType, question: Question, fields: Sequence[str], seq: int
    ) -> dict[Values, int]: ...
    async def versions(
        self, school_id: str, record_id: str, before_version: int | None, limit: int, seq: int
    ) -> Sequence[tuple[Record, datetime | None]]: ...


class News(Protocol):
    """Whether something may have been published since ``clear``."""

    def clear(self) -> None: ...
    async def wait(self) -> None: ...


class Feed(Protocol):
    """Changes of records."""

    def news(self, school_id: str) -> AbstractAsyncContextManager[News]: ...
    async def now(self, school_id: str) -> Position: ...
    async def snapshot(self, school_id: str) -> Position: ...
    async def after(self, school_id: str, seq: int) -> Position: ...
    async def resume(self, school_id: str, position: Position) -> Position: ...
    async def page(
        self, school_id: str, kinds: Collection[Kind.ValueType], position: Position, limit: int
    ) -> FeedPage: ...


class Redirects(Protocol):
    """What became of merged records."""

    async def follow(self, school_id: str, record: Record, seq: int) -> Record: ...
    async def same(self, school_id: str, record_ids: Iterable[str], seq: int) -> set[str]: ...


class Proposals(Protocol):
    """Pairs of records that wait for an operator's word."""

    async def list(self, school_id: str, before: str | None, limit: int) -> Sequence[IdentityProposal]: ...
    async def get(self, school_id: str, proposal_id: str, request_id: str) -> IdentityProposal: ...
    async def reject(self, school_id: str, proposal_id: str, request_id: str) -> None: ...
    async def accept(self, school_id: str, proposal_id: str, request_id: str) -> None: ...


class Runs(Protocol):
    """Runs of schools."""

    async def get(self, school_id: str, run_id: str) -> RunEntry: ...
    async def list(self, school_id: str, before: str | None, limit: int) -> Sequence[RunEntry]: ...


class MisPlans(Protocol):
    """Plans for a change of MIS."""

    async def get(self, school_id: str) -> StoredPlan: ...


class RowSeal(Protocol):
    """What encrypts for one school."""

    async def seal(self, school_id: str, plain: bytes) -> bytes: ...
    async def unseal(self, school_id: str, sealed: bytes) -> bytes: ...


class Decisions(Protocol):
    """Decisions about source rows."""

    async def list(
        self, school_id: str, dataset: str, before: str | None, limit: int
    ) -> Sequence[Decision]: ...


class Holds(Protocol):
    """Change sets that wait for an operator."""

    async def list(self, school_id: str) -> Sequence[Hold]: ...
    async def approve(self, school_id: str, hold_id: str, digest: str, by: str, at: datetime) -> Hold: ...
    async def discard(self, school_id: str, hold_id: str, digest: str) -> Hold: ...


class Audit(Protocol):
    """What people decided."""

    async def find(self, school_id: str, request_id: str, digest: bytes) -> AuditEntry | None: ...
    async def repeated(self, school_id: str, request_id: str, digest: bytes) -> bytes | None: ...
    async def record(self, entry: AuditEntry) -> bool: ...
    async def intend(self, entry: AuditEntry) -> AuditEntry | None: ...
    async def close(self, school_id: str, request_id: str, result: bytes) -> None: ...
    async def refuse(self, school_id: str, request_id: str) -> None: ...


class Ledger(Protocol):
    """Writes as they are stored."""

    async def get(self, school_id: str, write_id: str) -> WriteEntry: ...
    async def find(self, school_id: str, write_id: str) -> WriteEntry | None: ...
    async def counts(
        self, school_id: str, environment: str, operations: Collection[str]
    ) -> tuple[int, int]: ...
    async def list(
        self, school_id: str, conditions: WriteConditions, after: tuple[datetime, str] | None, limit: int
    ) -> Sequence[WriteEntry]: ...


class Store(Protocol):
    """The parts of the store that the API reads from and writes to."""

    @property
    def schools(self) -> Schools: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def instants(self) -> Instants: ...
    @property
    def records(self) -> Records: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def redirects(self) -> Redirects: ...
    @property
    def proposals(self) -> Proposals: ...
    @property
    def mis_plans(self) -> MisPlans: ...
    @property
    def row_seal(self) -> RowSeal: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def decisions(self) -> Decisions: ...
    @property
    def holds(self) -> Holds: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def writes(self) -> Ledger: ...

    async def ping(self) -> None: ...


class Connectors(Protocol):
    """The connectors that are configured."""

    def get(self, name: str) -> Connector: ...
    def infos(self) -> Sequence[ConnectorInfo]: ...


class Supervisor(Protocol):
    """Runs, as they are started, watched and stopped."""

    @property
    def connectors(self) -> Connectors: ...

    def now(self) -> datetime: ...
    async def start_sync(
        self,
        school_id: str,
        datasets: Sequence[str],
        request_id: str,
        requested_by: str,
        *,
        layer: SyncLayer.ValueType,
        date_from: str,
        date_to: str,
    ) -> Run: ...
    async def notify(
        self,
        school_id: str,
        kind: Kind.ValueType,
        keys: Sequence[SourceKey],
        request_id: str,
        requested_by: str,
    ) -> Run: ...
    async def start_operation(
        self,
        school_id: str,
        operation: bytes,
        request_id: str,
        requested_by: str,
        *,
        request_digest: bytes = b"",
    ) -> Run: ...
    def watch(self, school_id: str, run_id: str) -> AsyncGenerator[Run]: ...
    async def cancel(self, school_id: str, run_id: str) -> Run: ...
    async def check_connection(self, school_id: str) -> CheckConnectionResponse: ...
    async def condition(self, school: School) -> SchoolCondition | None: ...
    async def compare_parsers(self, request: CompareParsersRequest) -> CompareParsersResponse: ...
