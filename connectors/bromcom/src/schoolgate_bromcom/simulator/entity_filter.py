"""The part of ``entityFilter``'s T-SQL that the simulator understands; whatever else comes is refused.

Comparisons of a column, or of ``isnull(column, '')``, with integers and quoted literals; ``IN``; ``AND``,
``OR``, parentheses; ``1=1`` and ``1=0``; and the literal text ``{page:N}`` at the end.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final, TypeAlias

Literal: TypeAlias = int | str
Fields: TypeAlias = Mapping[str, object]
"""Values of one row by column name in lower case: ``int``, ``str``, ``bool``, ``date``, ``time`` or
``None``.
"""

_PAGE: Final = re.compile(r"\{page:(\d{1,9})\}$", re.ASCII)
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>-?\d+)|(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_]\w*)|(?P<sign><>|<=|>=|[=<>(),]))",
    re.ASCII,
)
_DATE: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)", re.ASCII)
_EMPTY_DATE: Final = date(1900, 1, 1)
"""What T-SQL makes of ``''`` as a date."""

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class FilterRefused(ValueError):
    """The filter is not understood."""


@dataclass(frozen=True, slots=True)
class Always:
    """``1=1`` or ``1=0``."""

    answer: bool

    def matches(self, _row: Fields) -> bool:
        return self.answer

    def columns(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column sign literal``; with several literals and the sign ``=`` it is an ``IN``.

    A null matches nothing, unless ``blank`` (``isnull(column, '')``) turns it into the empty text.
    """

    column: str
    sign: str
    literals: tuple[Literal, ...]
    blank: bool = False

    def matches(self, row: Fields) -> bool:
        value = row.get(self.column)
        if value is None:
            if not self.blank:
                return False
            value = ""
        compare = _OPERATORS[self.sign]
        for literal in self.literals:
            one, other = _comparable(value, literal)
            if compare(one, other):
                return True
        return False

    def columns(self) -> frozenset[str]:
        return frozenset({self.column})


@dataclass(frozen=True, slots=True)
class Junction:
    """Terms joined by AND (``every``) or by OR."""

    every: bool
    terms: tuple[Predicate, ...]

    def matches(self, row: Fields) -> bool:
        found = (term.matches(row) for term in self.terms)
        return all(found) if self.every else any(found)

    def columns(self) -> frozenset[str]:
        return frozenset[str]().union(*(term.columns() for term in self.terms))


Predicate: TypeAlias = Always | Comparison | Junction


def conditions(predicate: Predicate) -> tuple[Predicate, ...]:
    """Return the terms that must all hold."""
    return predicate.terms if isinstance(predicate, Junction) and predicate.every else (predicate,)


def as_date(literal: Literal) -> date:
    """Return a literal as T-SQL would compare it with a date."""
    if literal == "":
        return _EMPTY_DATE
    match = _DATE.fullmatch(literal) if isinstance(literal, str) else None
    if match is None:
        raise FilterRefused("a date is compared with something that is no date")
    try:
        return date(*(int(part) for part in match.groups()))
    except ValueError:
        raise FilterRefused("a date is compared with something that is no date") from None


def _comparable(value: object, literal: Literal) -> tuple[Any, Any]:
    if isinstance(value, datetime):
        return value, datetime.combine(as_date(literal), time.min)
    if isinstance(value, date):
        return value, as_date(literal)
    if isinstance(value, int) and isinstance(literal, int):
        return value, literal
    if isinstance(value, str) and isinstance(literal, str):
        # SQL Server's usual collation: case and padding do not count.
        return value.rstrip().casefold(), literal.rstrip().casefold()
    raise FilterRefused("a column is compared with a literal of another type")


def parse(entity_filter: str) -> tuple[Predicate, int]:
    """Return the predicate and the 0-based page; without ``{page:N}`` it is the first.

    Raises:
        FilterRefused: the filter goes beyond what is understood.
    """
    page = _PAGE.search(entity_filter)
    predicate = entity_filter[: page.start()] if page else entity_filter
    if not predicate.strip():
        return Always(True), int(page.group(1)) if page else 0
    return _Parser(predicate).parse(), int(page.group(1)) if page else 0


class _Parser:
    """Recursive descent over the tokens of one predicate."""

    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        source = source.rstrip()
        while position < len(source):
            match = _TOKEN.match(source, position)
            if match is None or match.lastgroup is None:
                raise FilterRefused("the filter has a character that is not understood")
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            position = match.end()
        self._next = 0

    def parse(self) -> Predicate:
        predicate = self._joined("OR")
        if self._next < len(self._tokens):
            raise FilterRefused("the filter goes on after its end")
        return predicate

    def _joined(self, word: str) -> Predicate:
        """Read terms joined by ``word``; AND binds closer than OR."""

        def term() -> Predicate:
            return self._joined("AND") if word == "OR" else self._term()

        terms = [term()]
        while self._peek_word(word):
            self._next += 1
            terms.append(term())
        return terms[0] if len(terms) == 1 else Junction(word == "AND", tuple(terms))

    def _term(self) -> Predicate:
        kind, token = self._take()
        if token == "(":  # noqa: S105 - punctuation
            inner = self._joined("OR")
            self._expect(")")
            return inner
        if kind == "number":
            self._expect("=")
            return Always(int(token) == self._literal())
        if kind != "word":
            raise FilterRefused("a comparison does not begin with a column")
        blank = token.lower() == "isnull"
        column = self._column_in_isnull() if blank else token.lower()
        if self._peek_word("IN"):
            self._next += 1
            return Comparison(column, "=", self._list(), blank)
        kind, sign = self._take()
        if sign not in _OPERATORS:
            raise FilterRefused("a column is followed by something that is no comparison")
        return Comparison(column, sign, (self._literal(),), blank)

    def _column_in_isnull(self) -> str:
        self._expect("(")
        kind, column = self._take()
        self._expect(",")
        if kind != "word" or self._literal() != "":
            raise FilterRefused("isnull is understood with a column and '' alone")
        self._expect(")")
        return column.lower()

    def _list(self) -> tuple[Literal, ...]:
        self._expect("(")
        found = [self._literal()]
        while self._take_sign() == ",":
            found.append(self._literal())
        self._next -= 1
        self._expect(")")
        return tuple(found)

    def _literal(self) -> Literal:
        kind, token = self._take()
        if kind == "number":
            return int(token)
        if kind == "text":
            return token[1:-1].replace("''", "'")
        raise FilterRefused("a literal was expected")

    def _peek_word(self, word: str) -> bool:
        return self._next < len(self._tokens) and self._tokens[self._next][1].upper() == word

    def _take(self) -> tuple[str, str]:
        if self._next == len(self._tokens):
            raise FilterRefused("the filter ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def _take_sign(self) -> str:
        return self._take()[1]

    def _expect(self, sign: str) -> None:
        if self._take()[1] != sign:
            raise FilterRefused(f"{sign} was expected")
