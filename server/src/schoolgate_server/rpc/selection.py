"""Which records a request means, in which order, how they are counted apart, and what is shown of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import KINDS, KindInfo, encode_key
from schoolgate_server.model.checks import is_record_id
from schoolgate_server.model.groups import Grouping
from schoolgate_server.model.questions import (
    GROWING,
    INDEXED_REFERENCES,
    Condition,
    Ordering,
    Question,
    day_field,
)
from schoolgate_server.rpc.checks import Violations, echo
from schoolgate_server.rpc.filters import conditions_from, filterable, is_date_field, operators_for
from schoolgate_server.rpc.instants import check_instant
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.source_keys import checked_key

MOST_NAMED = 1000
"""Ids and source keys in one request."""

MOST_FIELDS = 4
"""Fields to order by, and to count apart by."""

Asked: TypeAlias = q.QueryRecordsRequest | q.CountRecordsRequest

_NAMING = frozenset({q.FILTER_OPERATOR_EQUAL, q.FILTER_OPERATOR_IN})
"""Operators whose values name records, in fields that refer to some."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A checked question; ``keys`` are encoded source keys. ``is_named``: only ids and keys are meant."""

    question: Question
    ids: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def is_named(self) -> bool:
        return bool(self.ids or self.keys)


def selection_of(request: Asked, violations: Violations) -> Selection:
    """Return what a request selects, after noting what is wrong with it."""
    violations.school_id(request.school_id)
    info = violations.kind(request.kind)
    conditions = conditions_from(info, request.filters, violations) if info else ()
    if request.effective_on:
        violations.iso_date(request.effective_on, "effective_on")
    check_instant(request, violations)
    ids, keys = _names(request, info, violations)
    order: tuple[Ordering, ...] = ()
    if info:
        bounded = bool(ids or keys) or _is_bounded(info, conditions, request.effective_on)
        _check_reach(info, conditions, bounded, violations)
        if isinstance(request, q.QueryRecordsRequest):
            order = _order(info, request.order_by, conditions, bounded, violations)
    question = Question(conditions, request.include_tombstones, request.effective_on or None, order=order)
    return Selection(question, ids, keys)


async def resolved(store: Store, request: Asked, selection: Selection, seq: int) -> Question:
    """Return the question with every entity that the request names, under whichever of its ids and keys."""
    question = selection.question
    if selection.is_named:
        ids = set(selection.ids)
        if selection.keys:
            ids |= await store.records.ids_of_keys(request.school_id, request.kind, selection.keys, seq)
        if ids:
            ids = await store.redirects.same(request.school_id, ids, seq)
        question = replace(question, ids=tuple(sorted(ids)))
    references = KINDS[request.kind].references
    conditions: list[Condition] = []
    for condition in question.conditions:
        if condition.field in references and condition.operator in _NAMING:
            named = {value for value in condition.values if is_record_id(str(value))}
            same = await store.redirects.same(request.school_id, map(str, named), seq)
            if same > named:
                values = tuple(sorted({*map(str, condition.values), *same}))
                conditions.append(Condition(condition.field, q.FILTER_OPERATOR_IN, values))
                continue
        conditions.append(condition)
    return replace(question, conditions=tuple(conditions))


def groupings_of(request: q.CountRecordsRequest, violations: Violations) -> tuple[Grouping, ...]:
    """Return what a request counts apart by, after noting what is wrong with it."""
    info = KINDS.get(request.kind)
    if info is None:
        return ()
    if len(request.group_by) > MOST_FIELDS:
        violations.add("group_by", f"must be at most {MOST_FIELDS} fields")
    offered = filterable(info)
    groupings: list[Grouping] = []
    for index, asked in enumerate(request.group_by):
        field = offered.get(asked.field)
        if field is None:
            description = f"must be one of {', '.join(offered)}"
            _refuse(violations, f"group_by[{index}].field", description, echo(asked.field))
            continue
        if asked.period not in q.GroupingPeriod.values():
            violations.add(f"group_by[{index}].period", "must be a period of this API")
        elif asked.period and not is_date_field(field) and asked.field != info.on:
            violations.add(f"group_by[{index}].period", "must not be given for a field that is no date")
        groupings.append(Grouping(field.name, asked.period))
    return tuple(groupings)


def mask_of(
    mask: FieldMask, info: KindInfo | None, violations: Violations, place: str = "field_mask"
) -> frozenset[str]:
    """Return the names of the body's fields to show, none for all, after noting what is wrong with them."""
    if info is None:
        return frozenset()
    offered = info.message.DESCRIPTOR.fields_by_name
    for path in mask.paths:
        if path not in offered:
            violations.add(
                place,
                f"must name fields of {info.name}; it has no {echo(path)!r} but {', '.join(offered)}",
            )
            break
    return frozenset(mask.paths)


def show_only(names: Collection[str], records: Sequence[Record]) -> None:
    """Take every field but ``names`` out of the records' bodies; all stay where there are no names."""
    if not names:
        return
    for record in records:
        name = record.WhichOneof("body")
        if name is not None:
            body: Message = getattr(record, name)
            for field, _ in body.ListFields():
                if field.name not in names:
                    body.ClearField(field.name)


def _names(
    request: Asked, info: KindInfo | None, violations: Violations
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if len(request.ids) + len(request.source_keys) > MOST_NAMED:
        violations.add("ids", f"must be, with source_keys, at most {MOST_NAMED}")
        return (), ()
    for index, record_id in enumerate(request.ids):
        if not is_record_id(record_id) or (info and not record_id.startswith(f"{info.prefix}_")):
            violations.add(f"ids[{index}]", "must be the id of a record of the kind")
    keys = [
        checked_key(key, f"source_keys[{index}]", violations) for index, key in enumerate(request.source_keys)
    ]
    return tuple(request.ids), tuple(encode_key(key) for key in keys if key is not None)


def _is_bounded(info: KindInfo, conditions: Sequence[Condition], effective_on: str) -> bool:
    """Whether few enough records match, by an index, to be sorted and looked through at will."""
    if info.kind not in GROWING or (info.on and effective_on):
        return True
    leading = {*INDEXED_REFERENCES, day_field(info)}
    return any(condition.field in leading and condition.operator in _NAMING for condition in conditions)


def _bounds_day(info: KindInfo, conditions: Sequence[Condition]) -> bool:
    return any(
        condition.field == day_field(info) and condition.operator != q.FILTER_OPERATOR_PRESENT
        for condition in conditions
    )


def _check_reach(
    info: KindInfo, conditions: Sequence[Condition], bounded: bool, violations: Violations
) -> None:
    """Note a filter that would have every record ever looked at."""
    if conditions and not bounded and not _bounds_day(info, conditions):
        fields = [name for name in INDEXED_REFERENCES if name in info.message.DESCRIPTOR.fields_by_name]
        leading = ", ".join([*fields, str(day_field(info))])
        description = f"of {info.name} need one with a value for {leading} beside them, or ids"
        _refuse(violations, "filters", description, conditions[0].field)


def _order(
    info: KindInfo,
    asked: Sequence[q.Order],
    conditions: Sequence[Condition],
    bounded: bool,
    violations: Violations,
) -> tuple[Ordering, ...]:
    day = day_field(info)
    if len(asked) > MOST_FIELDS:
        violations.add("order_by", f"must be at most {MOST_FIELDS} fields")
    offered = [
        name for name, field in filterable(info).items() if q.FILTER_OPERATOR_LESS in operators_for(field)
    ]
    if not bounded:
        offered = [str(day)] if _bounds_day(info, conditions) else []
    for index, order in enumerate(asked):
        if order.field not in offered or any(order.field == other.field for other in asked[:index]):
            description = f"must be one of {', '.join(offered)}, each once"
            if not bounded:
                description = f"must be {day}, with days bound by filters, or filters leave pupils or groups"
            _refuse(violations, f"order_by[{index}].field", description, echo(order.field))
    return tuple(Ordering(order.field, order.descending) for order in asked)


def _refuse(violations: Violations, place: str, description: str, field: str) -> None:
    violations.add(place, description, r.ERROR_REASON_FILTER_INVALID, {"field": field})
