"""QueryService: records as of one instant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record, SourceKey
from schoolgate_sdk import KINDS, encode_key
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.questions import Condition, Question
from schoolgate_server.rpc.changes import changed_fields
from schoolgate_server.rpc.checks import Violations, is_record_id
from schoolgate_server.rpc.filters import conditions_from
from schoolgate_server.rpc.instants import check_instant, instant_of, published_seq
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.paging import Pages, responses
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.source_keys import checked_key
from schoolgate_server.rpc.tokens import make_token, question_of, read_token
from schoolgate_server.rpc.watch import Watch

_MOST_PER_PAGE = 5000
_USUAL_PER_PAGE = 500

_NAMING = frozenset({q.FILTER_OPERATOR_EQUAL, q.FILTER_OPERATOR_IN})
"""Operators whose values name records, in fields that refer to some."""


class Query(Watch):
    """Serves records; changes are served by its base."""

    def __init__(self, store: Store, closing: asyncio.Event) -> None:
        super().__init__(store, closing)
        self._store = store

    async def GetRecord(self, request: q.GetRecordRequest, context: Context) -> q.GetRecordResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        encoded = ""
        match request.WhichOneof("reference"):
            case "record_id":
                violations.record_id(request.record_id)
            case "source_key":
                encoded = _encoded(request.source_key, violations)
                violations.kind(request.kind)
            case None:
                violations.add("reference", "must be given: record_id or source_key")
        check_instant(request, violations)
        violations.raise_any()
        # Before the record, so that the seq it is said to be of is never ahead of what was read.
        seq = await instant_of(self._store, request)
        if encoded:
            record = await self._store.records.find_by_key(request.school_id, request.kind, encoded, seq)
        else:
            record = await self._store.records.get(request.school_id, request.record_id, seq)
        if record is None:
            raise _record_not_found(request.school_id)
        asked = record.id
        if not request.without_redirect:
            record = await self._store.redirects.follow(request.school_id, record, seq)
        redirected_from = "" if record.id == asked else asked
        return q.GetRecordResponse(record=record, seq=seq, redirected_from=redirected_from)

    async def QueryRecords(
        self, request: q.QueryRecordsRequest, context: Context
    ) -> AsyncIterator[q.QueryRecordsResponse]:
        violations = Violations()
        question = _question(request, violations)
        size = violations.size(request.page_size, default=_USUAL_PER_PAGE, maximum=_MOST_PER_PAGE)
        if request.max_records < 0:
            violations.add("max_records", "must be 0, for no limit, or more")
        violations.raise_any()
        bound_to = question_of(_without_limit(request))
        if request.page_token:
            seq, after = read_token(bound_to, request.page_token, int, str)
            await published_seq(self._store, request.school_id)
        else:
            seq, after = await instant_of(self._store, request), ""
        question = await self._of_entities(request, question, seq)

        async def fetch(after_id: str, limit: int) -> Sequence[Record]:
            return await self._store.records.query(
                request.school_id, request.kind, question, seq, after_id, limit
            )

        async for page in Pages(fetch, after, size, request.max_records):
            parts = responses(page.records, seq)
            if page.more_left_out:
                parts[-1].next_page_token = make_token(bound_to, seq, page.records[-1].id)
            for response in parts:
                yield response

    async def CountRecords(self, request: q.CountRecordsRequest, context: Context) -> q.CountRecordsResponse:
        violations = Violations()
        question = _question(request, violations)
        violations.raise_any()
        seq = await instant_of(self._store, request)
        question = await self._of_entities(request, question, seq)
        count = await self._store.records.count(request.school_id, request.kind, question, seq)
        return q.CountRecordsResponse(count=count, seq=seq)

    async def ListVersions(self, request: q.ListVersionsRequest, context: Context) -> q.ListVersionsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.record_id(request.record_id)
        limit = violations.size(request.page_size, default=100, maximum=1000)
        violations.raise_any()
        question = question_of(request)
        before = read_token(question, request.page_token, int)[0] if request.page_token else None
        await published_seq(self._store, request.school_id)
        # One more than asked for: it shows whether there is a next page, and what the last one here changed.
        found = await self._store.records.versions(request.school_id, request.record_id, before, limit + 1)
        if not found and before is None:
            raise _record_not_found(request.school_id)
        response = q.ListVersionsResponse()
        for index, (record, superseded_at) in enumerate(found[:limit]):
            version = response.versions.add(record=record)
            if index + 1 < len(found):
                version.changed_fields.extend(changed_fields(found[index + 1][0], record))
            if superseded_at is not None:
                version.superseded_at.FromDatetime(superseded_at)
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1][0].version)
        return response

    async def _of_entities(
        self, request: q.QueryRecordsRequest | q.CountRecordsRequest, question: Question, seq: int
    ) -> Question:
        """Return the question about the entities that the request names, under whichever of their ids."""
        references = KINDS[request.kind].references
        conditions: list[Condition] = []
        for condition in question.conditions:
            if condition.field in references and condition.operator in _NAMING:
                named = {value for value in condition.values if is_record_id(str(value))}
                same = await self._store.redirects.same(request.school_id, map(str, named), seq)
                if same > named:
                    values = tuple(sorted({*map(str, condition.values), *same}))
                    conditions.append(Condition(condition.field, q.FILTER_OPERATOR_IN, values))
                    continue
            conditions.append(condition)
        return replace(question, conditions=tuple(conditions))


def _encoded(key: SourceKey, violations: Violations) -> str:
    """Return ``key`` as the store knows it, or "" after noting what is wrong with it."""
    checked = checked_key(key, "source_key", violations)
    return "" if checked is None else encode_key(checked)


def _question(request: q.QueryRecordsRequest | q.CountRecordsRequest, violations: Violations) -> Question:
    """Return the typed question of a request, after noting what is wrong with it."""
    violations.school_id(request.school_id)
    info = violations.kind(request.kind)
    conditions = conditions_from(info, request.filters, violations) if info else ()
    if request.effective_on:
        violations.iso_date(request.effective_on, "effective_on")
    check_instant(request, violations)
    return Question(conditions, request.include_tombstones, request.effective_on or None)


def _without_limit(request: q.QueryRecordsRequest) -> q.QueryRecordsRequest:
    """Return the question alone: going on with another limit is still the same question."""
    asked = q.QueryRecordsRequest()
    asked.CopyFrom(request)
    asked.ClearField("max_records")
    return asked


def _record_not_found(school_id: str) -> ServiceError:
    return ServiceError(reasons.ERROR_REASON_RECORD_NOT_FOUND, "", metadata={"school_id": school_id})
