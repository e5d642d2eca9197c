"""From what is typed to what the API asks: kinds, conditions, fields, keys and points in time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Protocol

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.query_service_pb2 import Filter, FilterOperator, Grouping, GroupingPeriod, Order
from schoolgate.v1.record_pb2 import KeyPart, SourceKey
from schoolgate_sdk.kinds import KINDS_BY_NAME, KindInfo
from schoolgate_server.cli.console import local_now

WHERE_HELP = (
    "A condition: field=value, field>=value, field<value, 'field in a,b,c', 'field present' "
    "or 'field absent'. May be repeated; all must hold. Enum values by name, dates as YYYY-MM-DD."
)

KnownAt = Annotated[
    str,
    typer.Option(
        metavar="SEQ|TIME",
        help="As known then: a published seq, or a time like 2026-03-10T08:00, local unless Z or an offset "
        "follows. Default: now.",
    ),
]

_PERIODS = {
    "": GroupingPeriod.GROUPING_PERIOD_UNSPECIFIED,
    "week": GroupingPeriod.GROUPING_PERIOD_WEEK,
    "month": GroupingPeriod.GROUPING_PERIOD_MONTH,
}

_COMPARISON = re.compile(r"\s*(\w+)\s*(>=|<|=)\s*(.*?)\s*", re.DOTALL)
_MEMBERSHIP = re.compile(r"\s*(\w+)\s+in\s+(.+?)\s*", re.DOTALL)
_PRESENCE = re.compile(r"\s*(\w+)\s+(present|absent)\s*")
_OPERATORS = {
    "=": FilterOperator.FILTER_OPERATOR_EQUAL,
    ">=": FilterOperator.FILTER_OPERATOR_GREATER_OR_EQUAL,
    "<": FilterOperator.FILTER_OPERATOR_LESS,
}


def kind_named(name: str) -> KindInfo:
    """Return the kind called ``name``, for example "group_membership"; a plural s does no harm.

    Raises:
        typer.BadParameter: there is no such kind.
    """
    plain = name.lower().replace("-", "_")
    for candidate in (plain, plain.removesuffix("s")):
        if candidate in KINDS_BY_NAME:
            return KINDS_BY_NAME[candidate]
    raise typer.BadParameter(f"no kind {name!r}; the kinds are: {', '.join(KINDS_BY_NAME)}")


def kind_name(kind: Kind.ValueType) -> str:
    """Return the name of ``kind`` as the commands take it."""
    return Kind.Name(kind).removeprefix("KIND_").lower()


def condition(text: str) -> Filter:
    """Return the filter that a --where states.

    Raises:
        typer.BadParameter: it has none of the forms of :data:`WHERE_HELP`.
    """
    if match := _PRESENCE.fullmatch(text):
        value = "true" if match[2] == "present" else "false"
        return Filter(field=match[1], operator=FilterOperator.FILTER_OPERATOR_PRESENT, values=[value])
    if match := _COMPARISON.fullmatch(text):
        return Filter(field=match[1], operator=_OPERATORS[match[2]], values=[match[3]])
    if match := _MEMBERSHIP.fullmatch(text):
        values = [value.strip() for value in match[2].split(",")]
        return Filter(field=match[1], operator=FilterOperator.FILTER_OPERATOR_IN, values=values)
    raise typer.BadParameter(f"{text!r} is no condition. {WHERE_HELP}")


def conditions(texts: Sequence[str] | None) -> list[Filter]:
    """Return the filters of all --where options."""
    return [condition(text) for text in texts or ()]


class _Timed(Protocol):
    """A request that says what it is to be answered as of."""

    known_at_seq: int

    @property
    def known_at(self) -> Timestamp: ...


def ask_as_known_at(request: _Timed, text: str) -> None:
    """Let ``request`` be answered as of a --known-at; empty is now.

    Raises:
        typer.BadParameter: it is neither a seq nor a time; a day alone does not say at which time of it.
    """
    if not text:
        return
    if text.isascii() and text.isdecimal():
        request.known_at_seq = int(text)
        return
    try:
        if not re.search(r"\d[T ]\d", text):
            raise ValueError(text)
        request.known_at.FromDatetime(datetime.fromisoformat(text).astimezone())
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a seq nor a time like 2026-03-10T08:00", param_hint="--known-at"
        ) from None


def names(text: str) -> list[str]:
    """Return the names of a list that was typed as "a,b,c"."""
    return [name.strip() for name in text.split(",") if name.strip()]


def fields_of(info: KindInfo, text: str) -> list[str]:
    """Return the fields of the kind that a --fields names.

    Raises:
        typer.BadParameter: the kind has no such field.
    """
    wanted = names(text)
    unknown = [name for name in wanted if name not in info.message.DESCRIPTOR.fields_by_name]
    if unknown:
        offered = ", ".join(info.message.DESCRIPTOR.fields_by_name)
        raise typer.BadParameter(
            f"{info.name} has no field {unknown[0]!r}; it has {offered}", param_hint="--fields"
        )
    return wanted


def orders(text: str) -> list[Order]:
    """Return the fields of an --order-by, "surname,-date_of_birth"; a minus is for the greatest first."""
    return [Order(field=name.removeprefix("-"), descending=name.startswith("-")) for name in names(text)]


def groupings(text: str) -> list[Grouping]:
    """Return the fields of a --group-by, "meaning,date:week".

    Raises:
        typer.BadParameter: a period is neither week nor month.
    """
    found: list[Grouping] = []
    for name in names(text):
        field, _, period = name.partition(":")
        if period not in _PERIODS:
            raise typer.BadParameter(f"{period!r} is no period; it is week or month", param_hint="--group-by")
        found.append(Grouping(field=field, period=_PERIODS[period]))
    return found


def day(text: str) -> str:
    """Return an --effective-on as an ISO date; "today" is the day where the command runs."""
    return local_now().date().isoformat() if text == "today" else text


def key_from(text: str) -> SourceKey:
    """Return the source key written as NAMESPACE:PART[,PART…]; digits are integers, 'digits' in quotes text.

    Raises:
        typer.BadParameter: the text has no namespace or no parts.
    """
    namespace, _, rest = text.rpartition(":")
    parts = [part.strip() for part in rest.split(",")]
    if not namespace or not all(parts):
        raise typer.BadParameter(f"{text!r} is no key; write it like bromcom/student:17")
    return SourceKey(namespace=namespace, parts=[_part(part) for part in parts])


def _part(text: str) -> KeyPart:
    if re.fullmatch(r"-?\d+", text):
        return KeyPart(integer=int(text))
    if len(text) > 2 and text[0] == text[-1] == "'":
        return KeyPart(text=text[1:-1])
    return KeyPart(text=text)


def key_text(key: SourceKey) -> str:
    """Return a source key as :func:`key_from` reads it."""
    parts = [
        str(part.integer)
        if part.WhichOneof("value") == "integer"
        else (f"'{part.text}'" if re.fullmatch(r"-?\d+", part.text) else part.text)
        for part in key.parts
    ]
    return f"{key.namespace}:{','.join(parts)}"
