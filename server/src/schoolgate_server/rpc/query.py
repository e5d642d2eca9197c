"""QueryService: records as of one instant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record, SourceKey
from schoolgate_sdk import KINDS, encode_key
from schoolgate_server.model.checks import is_record_id
from schoolgate_server.model.errors import Violation, invalid_request, record_not_found
from schoolgate_server.model.groups import Values, as_text, summed
from schoolgate_server.model.ids import kind_of
from schoolgate_server.model.questions import SerialisedRecord
from schoolgate_server.model.wire import Serialised
from schoolgate_server.rpc.changes import changed_fields, field_changes
from schoolgate_server.rpc.checks import Violations
from schoolgate_server.rpc.expansion import Expander, expansions_of
from schoolgate_server.rpc.instants import check_instant, instant_of, is_latest, published_seq
from schoolgate_server.rpc.interceptors import Context
from schoolgate_server.rpc.paging import Pages, add_related, responses, with_token
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.selection import groupings_of, mask_of, resolved, selection_of, show_only
from schoolgate_server.rpc.source_keys import checked_key
from schoolgate_server.rpc.tokens import make_token, not_the_token, question_of, read_token
from schoolgate_server.rpc.watch import Watch

_MOST_PER_PAGE = 5000
_USUAL_PER_PAGE = 1000

MOST_GROUPS = 10_000
"""Groups in one answer."""

LONGEST_S = 300
"""Seconds after which a stream ends with a token to go on from, so that nothing stays open for ever."""


class Query(Watch):
    """Serves records; changes are served by its base."""

    def __init__(self, store: Store, closing: asyncio.Event) -> None:
        super().__init__(store, closing)
        self._store = store

    async def GetRecord(self, request: q.GetRecordRequest, context: Context) -> q.GetRecordResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        encoded, info = "", None
        match request.WhichOneof("reference"):
            case "record_id":
                violations.record_id(request.record_id)
                info = KINDS[kind_of(request.record_id)] if is_record_id(request.record_id) else None
            case "source_key":
                encoded = _encoded(request.source_key, violations)
                info = violations.kind(request.kind)
            case None:
                violations.add("reference", "must be given: record_id or source_key")
        shown = mask_of(request.field_mask, info, violations)
        check_instant(request, violations)
        violations.raise_any()
        seq, record = await self._found(request, encoded)
        if record is None:
            raise record_not_found(request.school_id)
        asked = record.id
        if not request.without_redirect:
            record = await self._store.redirects.follow(request.school_id, record, seq)
        show_only(shown, [record])
        redirected_from = "" if record.id == asked else asked
        return q.GetRecordResponse(record=record, seq=seq, redirected_from=redirected_from)

    async def _found(self, request: q.GetRecordRequest, key: str) -> tuple[int, Record | None]:
        """Return the record that is asked for, by ``key`` or its id, and the seq that it is as of."""
        records, school_id = self._store.records, request.school_id
        if not key and is_latest(request):
            seq, record = await records.latest(school_id, request.record_id)
            return seq or await published_seq(self._store, school_id), record
        # Before the record, so that the seq it is said to be of is never ahead of what was read.
        seq = await instant_of(self._store, request)
        if key:
            return seq, await records.find_by_key(school_id, request.kind, key, seq)
        return seq, await records.get(school_id, request.record_id, seq)

    async def QueryRecords(
        self, request: q.QueryRecordsRequest, context: Context
    ) -> AsyncIterator[Any]:  # `Serialised`, which is not in grpc's stubs
        violations = Violations()
        selection = selection_of(request, violations)
        shown = mask_of(request.field_mask, KINDS.get(request.kind), violations)
        expansions = expansions_of(request.expand, KINDS.get(request.kind), violations)
        usual, most = (50, 500) if request.expand else (_USUAL_PER_PAGE, _MOST_PER_PAGE)
        size = violations.size(request.page_size, default=usual, maximum=most)
        if request.max_records < 0:
            violations.add("max_records", "must be 0, for no limit, or more")
        violations.raise_any()
        bound_to = question_of(_without_limit(request))
        seq, after = await self._first_place(request, bound_to)
        question = await resolved(self._store, request, selection, seq)

        async def fetch(after_id: str, limit: int) -> Sequence[SerialisedRecord]:
            return await self._store.records.serialised(
                request.school_id, request.kind, question, seq, after_id, limit
            )

        expander = Expander(self._store, request, expansions, question, seq)
        time = asyncio.get_running_loop().time
        late = time() + LONGEST_S
        async for page in Pages(fetch, after, size, request.max_records):
            parts = responses(page.records, seq)
            if shown or expansions.steps:
                parts = await _expanded(parts, expander, shown)
            ended = page.more_left_out or time() > late or expander.has_sent_enough
            if ended and page.records:
                parts[-1] = with_token(parts[-1], make_token(bound_to, seq, page.records[-1].id))
            for response in parts:
                yield response
            if ended:
                return

    async def _first_place(self, request: q.QueryRecordsRequest, bound_to: bytes) -> tuple[int, str]:
        """Return the seq that an answer is as of, and the record that it goes on after, "" for none."""
        if not request.page_token:
            return await instant_of(self._store, request), ""
        seq, after = read_token(bound_to, request.page_token, int, str)
        if seq > await published_seq(self._store, request.school_id):
            raise not_the_token()
        return seq, after

    async def CountRecords(self, request: q.CountRecordsRequest, context: Context) -> q.CountRecordsResponse:
        violations = Violations()
        selection = selection_of(request, violations)
        groupings = groupings_of(request, violations)
        violations.raise_any()
        seq = await instant_of(self._store, request)
        question = await resolved(self._store, request, selection, seq)
        asked = request.school_id, request.kind, question
        if not groupings:
            return q.CountRecordsResponse(count=await self._store.records.count(*asked, seq), seq=seq)
        fields = [grouping.field for grouping in groupings]
        groups = summed(await self._store.records.groups(*asked, fields, seq), groupings)
        if len(groups) > MOST_GROUPS:
            raise invalid_request(Violation("group_by", f"must not make more than {MOST_GROUPS} groups"))
        response = q.CountRecordsResponse(count=sum(groups.values()), seq=seq)
        for values, count in sorted(groups.items(), key=_group_place):
            group = response.groups.add(count=count)
            for value in values:
                group.values.add(text=None if value is None else as_text(value))
        return response

    async def ListVersions(self, request: q.ListVersionsRequest, context: Context) -> q.ListVersionsResponse:
        violations = Violations()
        violations.school_id(request.school_id)
        violations.record_id(request.record_id)
        limit = violations.size(request.page_size, default=100, maximum=1000)
        check_instant(request, violations)
        violations.raise_any()
        question = question_of(request)
        upper = read_token(question, request.page_token, int)[0] if request.page_token else None
        seq = await instant_of(self._store, request)
        # One more than asked for: it shows whether there is a next page, and what the last one here changed.
        asked = request.school_id, request.record_id
        found = await self._store.records.versions(*asked, upper, limit + 1, seq)
        if not found and upper is None:
            raise record_not_found(request.school_id)
        response = q.ListVersionsResponse(seq=seq)
        for index, (record, superseded_at) in enumerate(found[:limit]):
            version = response.versions.add(record=record)
            if index + 1 < len(found):
                before = found[index + 1][0]
                version.changed_fields.extend(changed_fields(before, record))
                version.changes.extend(field_changes(before, record))
            if superseded_at is not None:
                version.superseded_at.FromDatetime(superseded_at)
        if len(found) > limit:
            response.next_page_token = make_token(question, found[limit - 1][0].version)
        return response


async def _expanded(parts: list[Serialised], expander: Expander, shown: frozenset[str]) -> list[Serialised]:
    """Return ``parts`` with what the expansions lead to, and with no fields but those that are ``shown``."""
    messages = [q.QueryRecordsResponse.FromString(part.wire) for part in parts]
    # Fields that are not shown may lead on.
    related = await expander.related([record for message in messages for record in message.records])
    for message in messages:
        show_only(shown, message.records)
    add_related(messages, related)
    return [Serialised(message.SerializeToString()) for message in messages]


def _encoded(key: SourceKey, violations: Violations) -> str:
    """Return ``key`` as the store knows it, or "" after noting what is wrong with it."""
    checked = checked_key(key, "source_key", violations)
    return "" if checked is None else encode_key(checked)


def _group_place(group: tuple[Values, int]) -> list[tuple[bool, str]]:
    return [(value is not None, "" if value is None else as_text(value)) for value in group[0]]


def _without_limit(request: q.QueryRecordsRequest) -> q.QueryRecordsRequest:
    """Return the question alone: going on with another limit is still the same question."""
    asked = q.QueryRecordsRequest()
    asked.CopyFrom(request)
    asked.ClearField("max_records")
    return asked
