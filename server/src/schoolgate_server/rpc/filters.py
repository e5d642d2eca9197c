"""Filters of a query: checked against the fields of the kind's message, and typed.

What may be asked is derived from the message descriptors alone, so that a new field can be asked for as soon
as it exists, and nothing that a caller sends ever reaches the store as a field name unchecked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from google.protobuf.descriptor import FieldDescriptor

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import query_service_pb2 as q
from schoolgate_sdk import KindInfo
from schoolgate_server.model.checks import is_iso_date
from schoolgate_server.model.questions import Condition, Value
from schoolgate_server.rpc.checks import Violations, echo

MOST_FILTERS = 20
MOST_VALUES = 1000
LONGEST_VALUE = 256

_EQUALITY = frozenset({q.FILTER_OPERATOR_EQUAL, q.FILTER_OPERATOR_IN})
_ORDER = frozenset({q.FILTER_OPERATOR_GREATER_OR_EQUAL, q.FILTER_OPERATOR_LESS})
_ANY_FIELD = _EQUALITY | {q.FILTER_OPERATOR_PRESENT}

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INTEGER_BITS = {
    FieldDescriptor.TYPE_INT32: 32,
    FieldDescriptor.TYPE_SINT32: 32,
    FieldDescriptor.TYPE_INT64: 64,
    FieldDescriptor.TYPE_SINT64: 64,
}
_BOOLEANS = {"true": True, "false": False}
_SCALARS = frozenset(
    {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM, *_INTEGER_BITS}
)


def filterable(info: KindInfo) -> dict[str, FieldDescriptor]:
    """Return the fields of a kind that filters may name: the single, scalar ones."""
    fields = cast("list[FieldDescriptor]", info.message.DESCRIPTOR.fields)
    return {field.name: field for field in fields if field.type in _SCALARS and not field.is_repeated}


def is_date_field(field: FieldDescriptor) -> bool:
    """Whether a text field holds an ISO date, by the naming that the whole model keeps to."""
    name = field.name
    return field.type == FieldDescriptor.TYPE_STRING and (
        name in {"date", "date_of_birth", "valid_from", "valid_to"} or name.endswith("_on")
    )


def operators_for(field: FieldDescriptor) -> frozenset[q.FilterOperator.ValueType]:
    """Return the operators that a field offers; codes, truths and ids have no order.

    Ranges of ids mean nothing, and MongoDB would go along an index of them past those that do narrow down.
    """
    unordered = field.name.endswith("_id") or field.type in {
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
    }
    return _ANY_FIELD if unordered else _ANY_FIELD | _ORDER


def _typed(field: FieldDescriptor, text: str) -> Value:
    """Return ``text`` as it stands in a stored body; raises ``ValueError`` with what it must be."""
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"must have at most {LONGEST_VALUE} characters")
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in _BOOLEANS:
            raise ValueError('must be "true" or "false"')
        return _BOOLEANS[text]
    if field.enum_type is not None:
        if text not in field.enum_type.values_by_name:
            raise ValueError(f"must be one of {', '.join(field.enum_type.values_by_name)}")
        return text
    if field.type in _INTEGER_BITS:
        bound = 1 << (_INTEGER_BITS[field.type] - 1)
        if not _INTEGER.fullmatch(text) or not -bound <= int(text) < bound:
            raise ValueError(f"must be an integer of {_INTEGER_BITS[field.type]} bits")
        return int(text)
    if is_date_field(field) and not is_iso_date(text):
        raise ValueError("must be an ISO 8601 date (YYYY-MM-DD)")
    return text


def _values(field: FieldDescriptor, asked: q.Filter) -> tuple[Value, ...]:
    """Return the typed values of one filter; raises ``ValueError`` with what they must be."""
    count = len(asked.values)
    if asked.operator == q.FILTER_OPERATOR_PRESENT:
        if count > 1 or (count and asked.values[0] not in _BOOLEANS):
            raise ValueError('must be nothing, "true" or "false"')
        return (_BOOLEANS[asked.values[0]] if count else True,)
    if asked.operator == q.FILTER_OPERATOR_IN:
        if not 1 <= count <= MOST_VALUES:
            raise ValueError(f"must be 1 to {MOST_VALUES} values")
    elif count != 1:
        raise ValueError("must be exactly one value")
    return tuple(_typed(field, value) for value in asked.values)


def conditions_from(
    info: KindInfo, filters: Sequence[q.Filter], violations: Violations
) -> tuple[Condition, ...]:
    """Return the typed conditions of ``filters``, and note what is wrong with the others."""
    if len(filters) > MOST_FILTERS:
        violations.add(
            "filters", f"must be at most {MOST_FILTERS}", r.ERROR_REASON_FILTER_INVALID, {"field": "filters"}
        )
        return ()
    offered = filterable(info)
    conditions: list[Condition] = []

    def refuse(place: str, description: str, name: str) -> None:
        violations.add(place, description, r.ERROR_REASON_FILTER_INVALID, {"field": name})

    for index, asked in enumerate(filters):
        place = f"filters[{index}]"
        field = offered.get(asked.field)
        if field is None:
            refuse(f"{place}.field", f"must be one of {', '.join(offered)}", echo(asked.field))
        elif asked.operator not in operators_for(field):
            allowed = ", ".join(sorted(map(q.FilterOperator.Name, operators_for(field))))
            refuse(f"{place}.operator", f"of {field.name} must be one of {allowed}", field.name)
        else:
            try:
                values = _values(field, asked)
            except ValueError as error:
                refuse(f"{place}.values", f"of {field.name} {error}", field.name)
            else:
                conditions.append(Condition(field.name, asked.operator, values))
    return tuple(conditions)
