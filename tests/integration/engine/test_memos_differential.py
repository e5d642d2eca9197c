"""One history twice, with memos and without: both come to the same, sync by sync (ADR 0018)."""

from __future__ import annotations

import copy
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any, cast

import orjson
import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Connector, Parsed, Parser, Row, Transient, source_key
from schoolgate_server.store.store import Store
from schoolgate_server.sync.options import SyncOptions
from tests.integration.engine.conftest import NoCredentials
from tests.support.documents import documents
from tests.support.engine import SCHOOL, Engine, TickingClock, engine_over, record_id
from tests.support.mongomock_handle import MockHandle
from tests.support.reparsed import SHOUTED, change, connector_with_versions
from tests.support.scripted import (
    GROUPS,
    MARKS,
    MEMBERSHIPS,
    STUDENTS,
    ScriptedMis,
    group,
    mark,
    member,
    student,
)

DATASETS = (STUDENTS, GROUPS, MEMBERSHIPS, MARKS)
SYNCS = 9
PUPILS = 12
OPTIONS = SyncOptions(commit_batch=7, segment_rows=5, checked_rows=0, checked_one_of=0)

COMPARED = ("records", "history", "identities", "decisions", "raw_pages", "proposals", "holds")
OF_THE_RUN = {"wire", "run"}
"""Fields in which no two runs agree; the digest covers what else ``wire`` has."""


@dataclass
class History:
    """A school between two syncs: what its MIS has, and what its operator and its network do.

    ``operations`` come before the sync. ``fails_at`` is the page at which it fails, or is cancelled.
    """

    rows: dict[str, list[dict[str, Any]]]
    operations: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    fails_at: tuple[str, int] | None = None
    is_cancelled: bool = False


def school_of(pupils: Sequence[dict[str, Any]]) -> History:
    return History(
        {
            STUDENTS: list(pupils),
            GROUPS: [group(1)],
            MEMBERSHIPS: [member(1, 500 + n) for n in range(1, PUPILS + 1)],
            MARKS: [mark(n, f"2026-10-{day:02}") for n in range(1, 5) for day in range(1, 6)],
        }
    )


class Edits:
    """Draws what happens at a school; ``also``: pupils bring further keys in their own number space."""

    def __init__(self, seed: int, history: History, *, also: bool) -> None:
        self._random = Random(seed)
        self._history = history
        self._also = also
        self._number = PUPILS

    def draw(self) -> None:
        draw, history = self._random, self._history
        history.operations, history.fails_at = [], None
        for _ in range(draw.choice((0, 1, 1, 2, 3))):
            draw.choice((self._row, self._row, self._rows, self._school))()
        if draw.random() < 0.15:
            history.fails_at = draw.choice((STUDENTS, MEMBERSHIPS, MARKS)), draw.randrange(1, 4)
            history.is_cancelled = draw.random() < 0.5

    def _new_number(self) -> int:
        self._number += 1
        return self._number

    def _row(self) -> None:
        """Change a pupil's row."""
        draw, pupils = self._random, self._history.rows[STUDENTS]
        row, other = draw.choice(pupils), draw.choice(pupils)
        edits = ["rename", "remark", "share", "twin", "renumber", "merge", "break", "plain"]
        match draw.choice(edits + ["also"] * 3 * self._also):
            case "rename":
                row["surname"] = f"S{draw.randrange(6)}"
            case "remark":
                row["remark"] = draw.randrange(3)  # which no parser reads
            case "share":
                row["person"] = other.get("person", 501)
            case "twin":
                row["surname"] = other["surname"]
            case "renumber":
                row["formerly"], row["id"] = [row["id"]], self._new_number()
            case "merge":
                row["formerly"] = [other["id"]]  # whose row may leave, or stay
            case "break":
                row["broken"] = not row.get("broken")
            case "also":
                row["also"] = other["id"]
            case _:
                row.pop("formerly", None)
                row.pop("also", None)

    def _rows(self) -> None:
        """Change which rows there are, and in what order."""
        draw, pupils, marks = self._random, self._history.rows[STUDENTS], self._history.rows[MARKS]
        row, place = draw.choice(pupils), draw.randrange(len(pupils))
        match draw.choice(
            ("join", "leave", "copy", "nearly", "conflict", "shuffle", "turn", "mark", "unmark")
        ):
            case "join":
                number = self._new_number()
                pupils.insert(place, student(number, f"S{number}", person=500 + number))
            case "leave":
                if len(pupils) > 8:
                    pupils.remove(row)
            case "copy":
                pupils.insert(place, dict(row))
            case "nearly":
                pupils.insert(place, {**row, "remark": draw.randrange(3)})
            case "conflict":
                pupils.insert(place, {**row, "surname": f"S{draw.randrange(6)}"})
            case "shuffle":
                draw.shuffle(pupils)
            case "turn":
                pupils.append(pupils.pop(0))
            case "mark":
                marks.insert(0, mark(row["id"], f"2026-10-{draw.randrange(1, 28):02}"))
            case _:
                marks.pop(draw.randrange(len(marks)))

    def _school(self) -> None:
        """Have the operator do something."""
        draw, pupils = self._random, self._history.rows[STUDENTS]
        one, other = draw.choice(pupils)["id"], draw.choice(pupils)["id"]
        self._history.operations.append(
            draw.choice(
                (
                    ("merge", one, other),
                    ("change", {"parser_versions": draw.choice(({}, {STUDENTS: SHOUTED}))}),
                    ("change", {"data_profile": draw.choice((["student.surname"], ["student"]))}),
                )
            )
        )


def with_numbers_of_their_own(connector: Connector) -> Connector:
    """Have pupils' rows bring further keys in the number space of the pupils themselves."""

    def wrapped(parser: Parser) -> Parser:
        def parse(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
            for parsed in parser(row, settings):
                further = [source_key("scripted/students", row["also"])] if "also" in row else []
                yield parsed._replace(other_keys=(*parsed.other_keys, *further))

        return parse

    pupils = connector.dataset(STUDENTS)
    others = {version: wrapped(parser) for version, parser in pupils.other_parsers.items()}
    with_others = replace(pupils, parser=wrapped(pupils.parser), other_parsers=others)
    datasets = [with_others if each.name == STUDENTS else each for each in connector.datasets]
    return replace(connector, datasets=tuple(datasets))


async def play(engine: Engine, history: History) -> dict[str, Any]:
    """Sync what the history has come to; return what there is then, by what it is."""
    for operation in history.operations:
        if operation[0] == "change":
            await change(engine.store, **operation[1])
            continue
        merged, survivor = (record_id(kinds.KIND_STUDENT, STUDENTS, number) for number in operation[1:])
        data = orjson.dumps({"type": "merge", "merged_id": merged, "survivor_id": survivor})
        started = await engine.supervisor.start_operation(SCHOOL, data, str(uuid.uuid4()), "tests")
        await engine.finish(started.run_id)
    run_id = ""

    async def interfere(dataset: str, index: int) -> None:
        if (dataset, index) == history.fails_at:
            if not history.is_cancelled:
                raise Transient("the MIS restarts")
            await engine.supervisor.cancel(SCHOOL, run_id)

    engine.mis.on_page = interfere
    engine.mis.rows = copy.deepcopy(history.rows)
    run_id = (await engine.supervisor.start_sync(SCHOOL, DATASETS, str(uuid.uuid4()), "tests")).run_id
    run = await engine.finish(run_id)
    found: dict[str, Any] = {each.dataset: _counters(each) for each in run.datasets}
    stored = await documents(engine.store)
    found |= {name: {key: _plain(row) for key, row in stored[name].items()} for name in COMPARED}
    found["decisions"] = set(stored["decisions"])  # named by what is decided, and about what
    return found | {"state": pb.RunState.Name(run.state)}


def _counters(part: pb.DatasetRun) -> list[object]:
    return [
        pb.DatasetState.Name(part.state),
        part.failure.message,
        *((name.name, value) for name, value in part.ListFields() if isinstance(value, int)),
    ]


def _plain(value: Any) -> Any:
    """Return ``value`` without what no two runs have in common."""
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value)
        return {key: _plain(each) for key, each in parts.items() if key not in OF_THE_RUN}
    if isinstance(value, list):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType] - mypy knows it
    return "then" if isinstance(value, datetime) else value


@asynccontextmanager
async def engine_in_memory() -> AsyncGenerator[Engine]:
    handle: Any = MockHandle()
    store = Store.open(handle, "schoolgate", TickingClock())
    store.credentials = NoCredentials()
    await store.prepare()
    mis = ScriptedMis(page_size=5)
    connector = with_numbers_of_their_own(connector_with_versions(mis))
    async with engine_over(store, mis, connector=connector, options=OPTIONS) as engine:
        yield engine
    await store.close()


@dataclass
class Both:
    """Two engines with the same past, one of which forgets its memos before each sync."""

    keeps: Engine
    forgets: Engine

    async def sync(self, history: History) -> None:
        for dataset in DATASETS:
            await self.forgets.store.database.collection("memos").delete_many({"dataset": dataset})
        with_memos, without = await play(self.keeps, history), await play(self.forgets, history)
        for name, found in with_memos.items():
            assert found == without[name], f"{name} differ with memos (left) and without, after {history}"


@asynccontextmanager
async def both_engines() -> AsyncGenerator[Both]:
    async with AsyncExitStack() as stack:
        yield Both(
            await stack.enter_async_context(engine_in_memory()),
            await stack.enter_async_context(engine_in_memory()),
        )


@pytest.mark.parametrize("also", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_a_history_comes_to_the_same_with_memos_and_without(seed: int, also: bool) -> None:
    history = school_of([student(n, f"S{n}", person=500 + n) for n in range(1, PUPILS + 1)])
    edits = Edits(seed, history, also=also)
    async with both_engines() as both:
        for _ in range(SYNCS):
            await both.sync(history)
            edits.draw()


async def test_a_key_that_moves_counts_for_the_known_rows_after_it() -> None:
    """Seen to fail where what is known of a segment's rows counts to its end, whatever key moves in it."""
    history = school_of([student(n, f"S{n}") for n in range(1, PUPILS + 1)])
    async with both_engines() as both:
        await both.sync(history)
        history.rows[STUDENTS][0]["also"] = 4
        await both.sync(history)


async def test_a_key_that_moves_is_no_fault_of_the_parser() -> None:
    """Seen to fail where a row that is read after it counts as read otherwise than before."""
    history = school_of([student(n, f"S{n}") for n in range(1, PUPILS + 1)])
    async with both_engines() as both:
        await both.sync(history)
        history.rows[STUDENTS][3]["surname"] = "Okafor"
        history.fails_at = (STUDENTS, 2)
        await both.sync(history)
        history.rows[STUDENTS][3]["surname"] = "S4"  # known, and not as it is stored
        history.rows[STUDENTS][0]["also"] = 4
        history.fails_at = None
        await both.sync(history)


async def test_which_of_two_rows_came_again_depends_on_their_order_alone() -> None:
    """The first row of a merged pupil changes in what nobody reads, the second one is known; seen to fail
    where known rows are observed before the others.
    """
    history = school_of([student(n, "Okafor") for n in range(1, PUPILS + 1)])
    async with both_engines() as both:
        await both.sync(history)
        history.operations = [("merge", 1, 2)]
        await both.sync(history)
        history.operations = []
        await both.sync(history)
        history.rows[STUDENTS][0]["remark"] = 1
        await both.sync(history)
