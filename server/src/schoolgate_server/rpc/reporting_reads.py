"""What the answers of ReportingService are made from: records of one school, all as of one seq."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import reporting_service_pb2 as pb
from schoolgate.v1.record_pb2 import TOMBSTONE_REASON_MERGED, Record
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.batches import batched
from schoolgate_server.model.errors import ServiceError, record_not_found
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.profile import dropped_fields
from schoolgate_server.model.questions import Condition, Question
from schoolgate_server.reporting.standing import Unresolved
from schoolgate_server.rpc.ports import Store

_PER_PAGE = 5000


class Reads:
    """One school as of ``seq``; tombstoned records are included everywhere."""

    def __init__(self, store: Store, school: School, seq: int) -> None:
        self._store = store
        self._school = school
        self._empty: list[k.Kind.ValueType] = []
        self.seq = seq
        self.unresolved = Unresolved()

    async def every(
        self, kind: k.Kind.ValueType, *conditions: Condition, effective_on: str | None = None
    ) -> list[Record]:
        """Return all records of a kind that meet the conditions."""
        question = Question(conditions, include_tombstones=True, effective_on=effective_on)
        found: list[Record] = []
        while True:
            after = found[-1].id if found else ""
            page = await self._page(kind, question, after, _PER_PAGE)
            found += page
            if len(page) < _PER_PAGE:
                break
        if not found and kind not in self._empty:
            anything = Question(include_tombstones=True)
            if not await self._page(kind, anything, "", 1):
                self._empty.append(kind)
        return found

    async def _page(
        self, kind: k.Kind.ValueType, question: Question, after: str, limit: int
    ) -> Sequence[Record]:
        return await self._store.records.query(self._school.school_id, kind, question, self.seq, after, limit)

    async def referring(
        self, kind: k.Kind.ValueType, field: str, ids: Collection[str], effective_on: str | None = None
    ) -> list[Record]:
        """Return the records of a kind that refer to one of ``ids``, under whichever id they know it."""
        if not ids:
            return []
        return await self.every(
            kind, Condition(field, q.FILTER_OPERATOR_IN, tuple(sorted(ids))), effective_on=effective_on
        )

    async def same(self, record_ids: Iterable[str]) -> set[str]:
        """Return ``record_ids`` and all ids that mean the same entities."""
        wanted = set(record_ids)
        return (
            await self._store.redirects.same(self._school.school_id, wanted, self.seq) if wanted else wanted
        )

    async def one(self, record_id: str) -> Record:
        """Return what became of a record.

        Raises:
            ServiceError: ``RECORD_NOT_FOUND``.
        """
        found = await self.by_id([record_id])
        if not found:
            raise record_not_found(self._school.school_id)
        return found[record_id]

    async def by_id(self, record_ids: Iterable[str]) -> dict[str, Record]:
        """Return what became of these records, by the ids that were asked for, as far as there are any."""
        by_kind: dict[k.Kind.ValueType, list[str]] = {}
        for record_id in sorted(set(record_ids) - {""}):
            by_kind.setdefault(kind_of(record_id), []).append(record_id)
        found: dict[str, Record] = {}
        for kind, ids in by_kind.items():
            for some in batched(ids, _PER_PAGE):
                question = Question(include_tombstones=True, ids=tuple(some))
                for record in await self._page(kind, question, "", len(some)):
                    found[record.id] = await self._survivor(record)
        return found

    async def _survivor(self, record: Record) -> Record:
        if record.tombstone.reason != TOMBSTONE_REASON_MERGED:
            return record
        return await self._store.redirects.follow(self._school.school_id, record, self.seq)

    def require(self, *fields: str) -> None:
        """Refuse an answer that would mean nothing without fields that the data profile does not keep.

        Raises:
            ServiceError: ``FIELDS_NOT_KEPT``.
        """
        missing = self._not_kept(fields)
        if missing:
            named = ", ".join(missing)
            raise ServiceError(
                reasons.ERROR_REASON_FIELDS_NOT_KEPT,
                f"the school's data profile does not keep {named}, without which there is no answer",
                metadata={"fields": named},
            )

    def basis(self, *fields: str) -> pb.Basis:
        """Return what the answer is made from; ``fields`` are those that it would use."""
        return pb.Basis(
            seq=self.seq,
            unresolved=self.unresolved.told(),
            fields_not_kept=self._not_kept(fields),
            kinds_without_records=sorted(self._empty),
        )

    def _not_kept(self, fields: Sequence[str]) -> list[str]:
        dropped = dropped_fields(self._school.data_profile)
        by_name: Mapping[str, tuple[str, ...]] = {KINDS[kind].name: names for kind, names in dropped.items()}
        found: list[str] = []
        for named in fields:
            kind, _, field = named.partition(".")
            if field in by_name[kind]:
                found.append(named)
        return found
