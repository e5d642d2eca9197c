"""From what is typed to what the API asks: kinds, conditions, keys and points in time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.query_service_pb2 import Filter, FilterOperator
from schoolgate.v1.record_pb2 import KeyPart, SourceKey
from schoolgate_sdk.kinds import KINDS_BY_NAME, KindInfo
from schoolgate_server.cli.console import local_now

WHERE_HELP = (
    "A condition: field=value, field>=value, field<value, 'field in a,b,c', 'field present' "
    "or 'field absent'. May be repeated; all must hold. Enum values by name, dates as YYYY-MM-DD."
)

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
