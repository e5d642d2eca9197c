"""A connector that lies on demand, for whoever builds what stands behind connectors.

    mis = LyingMis()
    connector = lying_connector(mis)    # honest
    mis.lies = (lie_named("truncated"),)  # from now on it leaves rows out and claims that it did not

Lies are told about one dataset, ``mis.about``, or about the session as a whole; they can be told together,
each about what the one before it left. :data:`schoolgate_sdk.testing.lies.LIES` has those that are known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1.groups_pb2 import Group, GroupMembership
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk.connector import Connector, Dataset, FieldSpec, KindSpec, SchoolConnection
from schoolgate_sdk.keys import SourceKey, source_key
from schoolgate_sdk.parsing import Parsed, Parser, Ref, Row
from schoolgate_sdk.reading import EndOfSnapshot, EntityGrantState, Page, Scope

NAME = "lying"
STUDENTS, GROUPS, MEMBERSHIPS = "students", "groups", "memberships"

Rows: TypeAlias = list[dict[str, Any]]
Pages: TypeAlias = AsyncIterator[Page]


SECRET = "the-secret-of-the-lying-mis"  # noqa: S105 - nothing is behind it
"""The credential ``secret`` that some lies quote; tests register the school with it."""

ENTITY = "students"


async def hang(*_: object) -> Any:  # noqa: ANN401 - it never answers
    """Wait for ever."""
    await asyncio.Event().wait()


async def hang_on(*_: object) -> Any:  # noqa: ANN401 - it never answers
    """Wait for ever, and not end when cancelled for the first three times."""
    for _again in range(3):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


def answering(value: object) -> Callable[..., Awaitable[Any]]:
    """Return what answers anything with ``value``."""

    async def answer(*_: object) -> Any:  # noqa: ANN401 - lies are of any type
        return value

    return answer


def raising(make: Callable[[], BaseException]) -> Callable[..., Awaitable[Any]]:
    """Return what answers anything with the exception that ``make`` makes."""

    async def fail(*_: object) -> Any:  # noqa: ANN401 - it never answers
        raise make()

    return fail


def stranger(number: int) -> dict[str, Any]:
    """Return a row of another school."""
    return {"id": 900_000 + number, "surname": f"Stranger {number}"}


def others(rows: Rows) -> Rows:
    """Return as many rows of another school."""
    return [stranger(number) for number in range(len(rows))]


@dataclass(frozen=True, kw_only=True)
class Lie:
    """One way of lying.

    ``says`` tells it in a sentence. Each of the others replaces what the honest connector, or the lie before,
    would have said there; what a lie says need not be of the type that is asked for.

    Attributes:
        rows: ``(rows, look)``: the rows of the MIS at the ``look``-th page (from 0) since the lie began.
        pages: the pages of a read.
        parser: the parser.
        count, read_back, grants: the answer; ``read_back`` is told the rows found and all that there are.
        opening, closing: what happens in the session's context manager, before and after its block.
        session: the session itself.
    """

    name: str
    says: str
    rows: Callable[[Rows, int], Rows] | None = None
    pages: Callable[[Pages], Any] | None = None
    parser: Callable[[Parser], Parser] | None = None
    count: Callable[[int], Awaitable[Any]] | None = None
    read_back: Callable[[Rows, Rows], Awaitable[Any]] | None = None
    grants: Callable[[dict[str, EntityGrantState]], Awaitable[Any]] | None = None
    opening: Callable[[], Awaitable[None]] | None = None
    closing: Callable[[], Awaitable[None]] | None = None
    session: Callable[[Any], Any] | None = None


def a_school(students: int = 40, groups: int = 6) -> dict[str, Rows]:
    """Return the rows of a small school; every student is a member of one group."""
    return {
        STUDENTS: [{"id": n, "surname": f"Surname {n}"} for n in range(1, students + 1)],
        GROUPS: [{"id": n, "name": f"7{'ABCDEFGH'[n % 8]}{n}"} for n in range(1, groups + 1)],
        MEMBERSHIPS: [
            {"group": n % groups + 1, "student": n, "from": "2026-09-01"} for n in range(1, students + 1)
        ],
    }


@dataclass
class LyingMis:
    """What there is in truth (``rows``), and which ``lies`` are told ``about`` which of the datasets."""

    rows: dict[str, Rows] = field(default_factory=a_school)
    lies: Sequence[Lie] = ()
    about: str = STUDENTS
    page_size: int = 10
    looks: int = 0

    def view(self, dataset: str) -> Rows:
        """Return the rows as they are told at this moment."""
        rows = list(self.rows[dataset])
        if dataset == self.about:
            look, self.looks = self.looks, self.looks + 1
            for lie in self.lies:
                if lie.rows is not None:
                    rows = lie.rows(rows, look)
        return rows


class LyingSession:
    """A session that offers everything that can be offered."""

    def __init__(self, mis: LyingMis) -> None:
        self._mis = mis

    def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        """Yield the pages; a cursor is the number of pages before it."""
        pages: Any = self._pages(scope.dataset, int(cursor or 0))
        if scope.dataset == self._mis.about:
            for lie in self._mis.lies:
                if lie.pages is not None:
                    pages = lie.pages(pages)
        return cast("AsyncIterator[Page]", pages)

    async def _pages(self, dataset: str, index: int) -> AsyncGenerator[Page]:
        size = self._mis.page_size
        while True:
            rows = self._mis.view(dataset)
            page = rows[index * size : (index + 1) * size]
            index += 1
            if index * size >= len(rows):
                yield Page(page, str(index), EndOfSnapshot(True, expected_rows=len(rows)))
                return
            yield Page(page, str(index))

    async def count(self, scope: Scope) -> int | None:
        """Return the number of rows."""
        answer: Any = len(self._mis.rows[scope.dataset])
        if scope.dataset == self._mis.about:
            for lie in self._mis.lies:
                if lie.count is not None:
                    answer = await lie.count(answer)
        return cast("int | None", answer)

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        """Return the rows of ``keys``."""
        wanted = {key.parts for key in keys}
        every = self._mis.rows[scope.dataset]
        answer: Any = [row for row in every if _key(scope.dataset, row).parts in wanted]
        if scope.dataset == self._mis.about:
            for lie in self._mis.lies:
                if lie.read_back is not None:
                    answer = await lie.read_back(answer, every)
        return cast("Sequence[Row]", answer)

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        """Grant everything."""
        answer: Any = dict.fromkeys(entities, EntityGrantState.GRANTED)
        for lie in self._mis.lies:
            if lie.grants is not None:
                answer = await lie.grants(answer)
        return cast("Mapping[str, EntityGrantState]", answer)


def _key(dataset: str, row: Row) -> SourceKey:
    names = ("group", "student", "from") if dataset == MEMBERSHIPS else ("id",)
    return source_key(f"{NAME}/{dataset}", *(row[name] for name in names))


def _parse_student(row: Row, _: Mapping[str, str]) -> Iterable[Parsed]:
    yield Parsed(kinds.KIND_STUDENT, _key(STUDENTS, row), Student(surname=row["surname"]))


def _parse_group(row: Row, _: Mapping[str, str]) -> Iterable[Parsed]:
    yield Parsed(kinds.KIND_GROUP, _key(GROUPS, row), Group(name=row["name"]))


def _parse_membership(row: Row, _: Mapping[str, str]) -> Iterable[Parsed]:
    refs = (
        Ref("group_id", kinds.KIND_GROUP, source_key(f"{NAME}/{GROUPS}", row["group"])),
        Ref("student_id", kinds.KIND_STUDENT, source_key(f"{NAME}/{STUDENTS}", row["student"])),
    )
    message = GroupMembership(valid_from=row["from"])
    yield Parsed(kinds.KIND_GROUP_MEMBERSHIP, _key(MEMBERSHIPS, row), message, refs)


def _told(mis: LyingMis, dataset: str, honest: Parser) -> Parser:
    def parse(row: Row, settings: Mapping[str, str], /) -> Iterable[Parsed]:
        parser = honest
        if dataset == mis.about:
            for lie in mis.lies:
                if lie.parser is not None:
                    parser = lie.parser(parser)
        return parser(row, settings)

    return parse


def lying_connector(mis: LyingMis) -> Connector:
    """Return the description of a connector for ``mis``; it asks for one credential, ``secret``."""

    @asynccontextmanager
    async def open_session(_: SchoolConnection) -> AsyncGenerator[Any]:
        for lie in mis.lies:
            if lie.opening is not None:
                await lie.opening()
        session: Any = LyingSession(mis)
        for lie in mis.lies:
            if lie.session is not None:
                session = lie.session(session)
        try:
            yield session
        finally:
            for lie in mis.lies:
                if lie.closing is not None:
                    await lie.closing()

    parsers = (
        (STUDENTS, kinds.KIND_STUDENT, _parse_student),
        (GROUPS, kinds.KIND_GROUP, _parse_group),
        (MEMBERSHIPS, kinds.KIND_GROUP_MEMBERSHIP, _parse_membership),
    )
    return Connector(
        name=NAME,
        display_name="A MIS whose connector lies",
        version="1",
        settings=(),
        credentials=(FieldSpec("secret", "Quoted by some lies, to be seen nowhere."),),
        datasets=tuple(
            Dataset(name, (KindSpec(kind, f"{NAME}/{name}"),), (name,), _told(mis, name, parser), 1)
            for name, kind, parser in parsers
        ),
        open=open_session,
    )
