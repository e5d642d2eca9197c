"""Lies about what a row means, and in what a session answers, opens and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.groups_pb2 import Group
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk import errors
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.parsing import Parsed, Parser, Ref, Row
from schoolgate_sdk.testing.lying import (
    ENTITY,
    NAME,
    SECRET,
    STUDENTS,
    Lie,
    Rows,
    answering,
    hang,
    hang_on,
    others,
    raising,
)

_STUDENT = f"{NAME}/{STUDENTS}"


def _item(**changes: Any) -> Callable[[Parser], Parser]:  # noqa: ANN401 - lies are of any type
    """Return what changes all that a parser yields."""

    def told(honest: Parser) -> Parser:
        def parse(row: Row, settings: Mapping[str, str], /) -> Iterator[Parsed]:
            for item in honest(row, settings):
                yield item._replace(**changes)

        return parse

    return told


def _keyed(*parts: Any) -> Callable[[Parser], Parser]:  # noqa: ANN401 - lies are of any type
    return _item(key=SourceKey(_STUDENT, parts))


def _taking_the_key_of_another(honest: Parser) -> Parser:
    def parse(row: Row, settings: Mapping[str, str], /) -> Iterator[Parsed]:
        for item in honest(row, settings):
            yield item._replace(former_keys=(SourceKey(_STUDENT, (7,)),)) if row["id"] == 2 else item

    return parse


def _parsing(make: Callable[[], Any]) -> Callable[[Parser], Parser]:
    """Return what lets a parser do something else for the fourth row and every later one."""

    def told(honest: Parser) -> Parser:
        def parse(row: Row, settings: Mapping[str, str], /) -> Iterable[Parsed]:
            return make() if row["id"] > 3 else honest(row, settings)

        return parse

    return told


def _throw(error: BaseException) -> Any:  # noqa: ANN401 - it never answers
    raise error


def _breaking() -> Iterator[Parsed]:
    yield Parsed(kinds.KIND_STUDENT, SourceKey(_STUDENT, (900_001,)), Student(surname="Half"))
    raise KeyError("Ora Klein")


def _messages(count: int | None) -> Iterator[Parsed]:
    number = 0
    while count is None or number < count:
        yield Parsed(kinds.KIND_STUDENT, SourceKey(_STUDENT, (1_000_000 + number,)), Student(surname="Many"))
        number += 1


_PARSING = (
    Lie(
        name="undeclared_kind", says="A kind comes that is not declared.", parser=_item(kind=kinds.KIND_STAFF)
    ),
    Lie(name="unknown_kind", says="A kind comes that there is not.", parser=_item(kind=99)),
    Lie(
        name="undeclared_namespace",
        says="Keys come of a number space that is not declared.",
        parser=_item(key=SourceKey(f"{NAME}/staff", (1,))),
    ),
    Lie(name="other_message", says="A student is a group.", parser=_item(message=Group(name="7A"))),
    Lie(name="no_message", says="There is no message.", parser=_item(message=None)),
    Lie(name="key_is_a_float", says="A key is a float.", parser=_keyed(1.0)),
    Lie(name="key_is_a_bool", says="A key is a truth value.", parser=_keyed(True)),
    Lie(name="key_is_none", says="There is no key.", parser=_item(key=None)),
    Lie(name="key_is_empty", says="A key has no part.", parser=_keyed()),
    Lie(name="key_is_empty_text", says="A key is an empty text.", parser=_keyed("")),
    Lie(name="key_is_huge", says="A key has 100 bits.", parser=_keyed(1 << 100)),
    Lie(name="key_is_long", says="A key is a megabyte of text.", parser=_keyed("x" * 1_000_000)),
    Lie(name="key_has_many_parts", says="A key has 10,000 parts.", parser=_keyed(*range(10_000))),
    Lie(name="key_is_broken_text", says="A key is half a character.", parser=_keyed("\ud800")),
    Lie(
        name="former_key_of_another",
        says="Everybody is said to have had the key of one who left.",
        parser=_item(former_keys=(SourceKey(_STUDENT, (5,)),)),
    ),
    Lie(
        name="former_key_of_one_who_is_there",
        says="One is said to have had the key of another, who is still there.",
        parser=_taking_the_key_of_another,
    ),
    Lie(
        name="further_key_of_all",
        says="Everybody has the same further key.",
        parser=_item(other_keys=(SourceKey(f"{NAME}/person", (1,)),)),
    ),
    Lie(
        name="further_key_is_malformed",
        says="A further key is a float.",
        parser=_item(other_keys=(SourceKey(f"{NAME}/person", (1.5,)),)),  # type: ignore[arg-type]
    ),
    Lie(name="further_keys_are_numbers", says="Further keys are numbers.", parser=_item(other_keys=(1, 2))),
    Lie(
        name="refers_to_nothing",
        says="A field that there is not refers to somebody.",
        parser=_item(refs=(Ref("nothing", kinds.KIND_STUDENT, SourceKey(_STUDENT, (1,))),)),
    ),
    Lie(
        name="refers_by_malformed_key",
        says="A reference has a list for a key.",
        parser=_item(refs=(Ref("surname", kinds.KIND_STUDENT, [1]),)),  # type: ignore[arg-type]
    ),
    Lie(name="one_key_for_all", says="Every row has the same key.", parser=_keyed(1)),
    Lie(
        name="parser_raises",
        says="The parser fails, with a name.",
        parser=_parsing(lambda: _throw(KeyError(SECRET))),
    ),
    Lie(
        name="parser_exits",
        says="The parser ends the process.",
        parser=_parsing(lambda: _throw(SystemExit(1))),
    ),
    Lie(
        name="parser_is_cancelled",
        says="The parser raises that it was cancelled.",
        parser=_parsing(lambda: _throw(asyncio.CancelledError())),
    ),
    Lie(
        name="parser_is_interrupted",
        says="The parser raises that somebody pressed a key.",
        parser=_parsing(lambda: _throw(KeyboardInterrupt())),
    ),
    Lie(name="parser_gives_none", says="The parser returns None.", parser=_parsing(lambda: None)),
    Lie(name="parser_gives_nothing", says="The parser yields nothing.", parser=_parsing(tuple)),
    Lie(name="parser_gives_numbers", says="The parser yields numbers.", parser=_parsing(lambda: [1])),
    Lie(
        name="parser_breaks_off", says="The parser fails half-way through a row.", parser=_parsing(_breaking)
    ),
    Lie(
        name="many_messages",
        says="A row has 300,000 messages.",
        parser=_parsing(lambda: _messages(300_000)),
    ),
    Lie(
        name="endless_messages", says="A row's messages never end.", parser=_parsing(lambda: _messages(None))
    ),
)


# What is told by the session.


class _Bare:
    """No session at all."""


async def _every(_: Rows, every: Rows) -> Any:  # noqa: ANN401 - lies are of any type
    return every * 30


async def _strangers(found: Rows, _: Rows) -> Any:  # noqa: ANN401 - lies are of any type
    return others(found)


async def _rows_for_ever(*_: object) -> Any:  # noqa: ANN401 - lies are of any type
    return iter(lambda: {"id": 1}, None)


_SESSION = (
    Lie(name="counts_too_many", says="The MIS counts more rows.", count=answering(9_999)),
    Lie(name="counts_none", says="The MIS counts no row.", count=answering(0)),
    Lie(name="counts_text", says="The count is a text.", count=answering("many")),
    Lie(name="counts_less_than_none", says="The count is negative.", count=answering(-1)),
    Lie(name="counts_2_to_the_70", says="The count is huge.", count=answering(1 << 70)),
    Lie(name="count_raises", says="The count fails.", count=raising(lambda: RuntimeError(SECRET))),
    Lie(name="count_exits", says="The count ends the process.", count=raising(lambda: SystemExit(1))),
    Lie(name="count_hangs", says="The count never comes.", count=hang),
    Lie(name="count_hangs_on", says="… and ignores that it is cancelled.", count=hang_on),
    Lie(name="read_back_gives_all", says="Asked for one, it gives all, many times.", read_back=_every),
    Lie(name="read_back_gives_others", says="Asked for one, it gives another.", read_back=_strangers),
    Lie(name="read_back_gives_none", says="The answer is None.", read_back=answering(None)),
    Lie(name="read_back_gives_numbers", says="The rows are numbers.", read_back=answering([1])),
    Lie(name="read_back_for_ever", says="The rows never end.", read_back=_rows_for_ever),
    Lie(name="read_back_raises", says="It fails.", read_back=raising(lambda: RuntimeError(SECRET))),
    Lie(name="read_back_is_cancelled", says="It is cancelled.", read_back=raising(asyncio.CancelledError)),
    Lie(name="read_back_hangs", says="It never answers.", read_back=hang),
    Lie(name="grants_raise", says="Grants cannot be told.", grants=raising(lambda: RuntimeError(SECRET))),
    Lie(name="grants_hang", says="Grants are never told.", grants=hang),
    Lie(name="grants_are_a_number", says="Grants are a number.", grants=answering(7)),
    Lie(name="grants_are_words", says="A grant is a word.", grants=answering({ENTITY: "perhaps"})),
    Lie(name="open_raises", says="No session opens.", opening=raising(lambda: errors.Transient(SECRET))),
    Lie(name="open_fails", says="No session opens.", opening=raising(lambda: RuntimeError(SECRET))),
    Lie(name="open_exits", says="Opening ends the process.", opening=raising(lambda: SystemExit(1))),
    Lie(name="open_is_cancelled", says="Opening is cancelled.", opening=raising(asyncio.CancelledError)),
    Lie(name="open_hangs", says="No session ever opens.", opening=hang),
    Lie(name="open_hangs_on", says="… and ignores that it is cancelled.", opening=hang_on),
    Lie(name="session_is_none", says="The session is None.", session=lambda _: None),
    Lie(name="session_cannot_read", says="The session can do nothing.", session=lambda _: _Bare()),
    Lie(
        name="close_raises",
        says="The session fails to close.",
        closing=raising(lambda: RuntimeError(SECRET)),
    ),
    Lie(name="close_exits", says="Closing ends the process.", closing=raising(lambda: SystemExit(1))),
    Lie(name="close_hangs", says="The session never closes.", closing=hang),
    Lie(name="close_hangs_on", says="… and ignores that it is cancelled.", closing=hang_on),
)

ANSWERS: tuple[Lie, ...] = (*_PARSING, *_SESSION)
"""Lies of the parser and of the session."""
