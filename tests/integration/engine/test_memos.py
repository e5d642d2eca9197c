"""Rows that come again as they were are not read again (ADR 0018); what decides how they are read still does.

No known row is read for being checked, but where a test says so.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.failure_pb2 import FAILURE_TYPE_INCOMPLETE
from schoolgate.v1.people_pb2 import Student
from schoolgate.v1.school_service_pb2 import AcademicYearSpan
from schoolgate_sdk import Connector, Dataset, Parsed, Parser, Row, Transient, source_key
from schoolgate_server.store.store import Store
from schoolgate_server.sync import memos
from schoolgate_server.sync.options import SyncOptions
from tests.support.documents import documents
from tests.support.engine import SCHOOL, Engine, engine_over, outcome
from tests.support.reparsed import SHOUTED, change, connector_with_versions, promote
from tests.support.scripted import MARKS, MEMBERSHIPS, STUDENTS, ScriptedMis, group, mark, member, student

PUPILS = 200

UNCHECKED = SyncOptions(commit_batch=50, segment_rows=40, checked_rows=0, checked_one_of=0)


@dataclass
class Parsers:
    """The rows that were read since :meth:`forget`, and how pupils' rows are misread."""

    rows: list[Row] = field(default_factory=list[Row])
    misread: frozenset[int] = frozenset()

    def counted(self, dataset: Dataset) -> Dataset:
        others = {version: self._counted(parser) for version, parser in dataset.other_parsers.items()}
        return replace(dataset, parser=self._counted(dataset.parser), other_parsers=others)

    def _counted(self, parser: Parser) -> Parser:
        def parse(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
            self.rows.append(row)
            for parsed in parser(row, settings):
                if row.get("id") in self.misread and isinstance(parsed.message, Student):
                    yield parsed._replace(key=source_key("scripted/students", 1_000_000 + int(row["id"])))
                else:
                    yield parsed

        return parse

    @property
    def numbers(self) -> list[int]:
        return [int(row["id"]) for row in self.rows]

    def forget(self) -> None:
        self.rows.clear()


def counting(parsers: Parsers, connector: Connector) -> Connector:
    return replace(connector, datasets=tuple(map(parsers.counted, connector.datasets)))


@asynccontextmanager
async def loaded(store: Store, parsers: Parsers, options: SyncOptions = UNCHECKED) -> AsyncGenerator[Engine]:
    """Sync 200 pupils in five segments, once."""
    mis = ScriptedMis(page_size=20)
    mis.rows[STUDENTS] = [student(n, f"Surname {n}", person=5_000 + n) for n in range(1, PUPILS + 1)]
    connector = counting(parsers, connector_with_versions(mis))
    async with engine_over(store, mis, connector=connector, options=options) as engine:
        await succeeds(engine)
        assert len(parsers.rows) >= PUPILS
        parsers.forget()
        yield engine


async def succeeds(engine: Engine, *datasets: str) -> pb.Run:
    run = await engine.sync(*(datasets or (STUDENTS,)))
    assert run.state == pb.RUN_STATE_SUCCEEDED, run
    return run


async def test_g03_unchanged_rows_are_not_read_again_and_nothing_is_written(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        before = await documents(store)
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.unchanged, part.rows_read, parsers.rows) == (PUPILS, PUPILS, [])
        after = await documents(store)
        assert len(before["memos"]) == PUPILS / UNCHECKED.segment_rows
        for name in ("records", "history", "memos", "raw_pages", "identities", "decisions"):
            assert after[name] == before[name]


async def test_only_rows_that_changed_are_read_wherever_they_moved(store: Store) -> None:
    """Joiners and leavers at the top move every row to another page; seen to fail without a look ahead."""
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        rows = engine.mis.rows[STUDENTS]
        for place in (7, 93, 199):
            rows[place]["surname"] = "Okafor"
        rows[:0] = [student(900, "Joiner"), student(901, "Joiner")]
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.created, part.updated, part.unchanged) == (2, 3, PUPILS - 3)
        assert sorted(parsers.numbers) == [8, 94, 200, 900, 901]
        del rows[0], rows[50]
        parsers.forget()
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.tombstoned, part.unchanged, parsers.rows) == (2, PUPILS, [])


async def test_of_large_segments_one_is_at_hand(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of the one after it are read where others have left. Seen to fail without the bound."""
    monkeypatch.setattr(memos, "MOST_AT_HAND", UNCHECKED.segment_rows * 3 // 2)
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        rows = engine.mis.rows[STUDENTS]
        rows[:0] = [student(900, "Joiner"), student(901, "Joiner")]
        assert outcome(await succeeds(engine), STUDENTS).unchanged == PUPILS
        assert parsers.numbers == [900, 901]
        parsers.forget()
        del rows[:2]
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.tombstoned, part.unchanged) == (2, PUPILS)
        assert sorted(parsers.numbers) == [39, 40, 79, 80, 119, 120, 159, 160]
        parsers.forget()
        for row in rows:
            row["surname"] += " (changed)"
        await engine.sync(STUDENTS)
        assert len(parsers.numbers) >= PUPILS


async def test_known_rows_are_compared_with_what_is_stored_by_now(store: Store) -> None:
    """A row that says what it said, of a record that another read changed meanwhile, changes it back."""
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        engine.mis.rows[STUDENTS][41]["surname"] = "Okafor"
        engine.mis.ends = lambda dataset, rows: None
        run = await engine.sync(STUDENTS)
        assert (outcome(run, STUDENTS).state, outcome(run, STUDENTS).updated) == (
            pb.DATASET_STATE_INCOMPLETE,
            1,
        )
        engine.mis.ends = ScriptedMis().ends
        engine.mis.rows[STUDENTS][41]["surname"] = "Surname 42"
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.updated, part.unchanged) == (1, PUPILS - 1)
        surnames = {record.student.surname for record in await engine.records(kinds.KIND_STUDENT)}
        assert surnames == {f"Surname {n}" for n in range(1, PUPILS + 1)}


async def test_rows_about_which_there_is_something_to_say_are_read_each_time(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        rows = engine.mis.rows[STUDENTS]
        rows += [
            student(801, "Odd", broken=True),
            {"id": 802, "surname": None, "person": 5_001},
            dict(rows[0]),
        ]
        rows += [student(803, "Okafor", person=5_002)]  # which another pupil has
        first = outcome(await succeeds(engine), STUDENTS)
        parsers.forget()
        part = outcome(await succeeds(engine), STUDENTS)
        assert part.rejected_rows == first.rejected_rows > 1
        assert set(parsers.numbers) == {1, 801, 802, 803}


@pytest.mark.parametrize(
    "changed",
    [
        {"data_profile": ["student.surname"]},
        {"parser_versions": {STUDENTS: SHOUTED}},
        {"settings": {"site": "annexe"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_g08_another_reading_reads_every_row(store: Store, changed: dict[str, object]) -> None:
    """Seen to fail where a memo counts under any binding."""
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        await change(store, **changed)
        await engine.sync(STUDENTS)
        assert len(parsers.rows) == 2 * PUPILS  # the retained ones, and the MIS's
        parsers.forget()
        await engine.sync(STUDENTS)
        assert parsers.rows == []


async def test_g08_rows_outside_of_another_academic_year_are_read_as_outside(store: Store) -> None:
    """Seen to fail where the scope is no part of the binding: what is outside was found as it is stored."""
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        days = [f"2026-10-{day:02}" for day in range(1, 31)] + [f"2026-11-{day:02}" for day in range(1, 31)]
        engine.mis.rows[MARKS] = [mark(1, day) for day in days]
        await succeeds(engine, MARKS)
        year = AcademicYearSpan(name="2026/27", valid_from="2026-11-01", valid_to="2027-09-01")
        await change(store, academic_year=year)
        part = outcome(await engine.sync(MARKS), MARKS)
        assert part.rejected_rows == 30
        assert part.unchanged == 30


async def test_a_new_version_of_a_program_reads_every_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        monkeypatch.setattr("schoolgate_server.sync.memos.version", _of_tomorrow)
        part = outcome(await succeeds(engine), STUDENTS)
        assert len(parsers.rows) == part.unchanged == PUPILS


async def test_a_decision_about_identity_reads_every_row(store: Store) -> None:
    """Two numbers of one pupil, of which one goes: seen to fail where the school's keys are no part of the
    binding.
    """
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        engine.mis.rows[STUDENTS][10] = student(911, "Surname 11", person=5_011, formerly=[11])
        await succeeds(engine)
        parsers.forget()
        part = outcome(await succeeds(engine), STUDENTS)
        assert part.unchanged == PUPILS
        assert len(parsers.rows) == PUPILS
        parsers.forget()
        await succeeds(engine)
        assert parsers.rows == []


async def test_keys_that_only_refer_leave_rows_known(store: Store) -> None:
    """The first load learns every pupil's second number, by which memberships refer to them."""
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        engine.mis.rows["groups"] = [group(1)]
        engine.mis.rows[MEMBERSHIPS] = [member(1, 5_000 + n) for n in range(1, PUPILS + 1)]
        engine.mis.rows[STUDENTS].append(student(900, "Joiner", person=5_900))
        await succeeds(engine, STUDENTS, "groups", MEMBERSHIPS)
        engine.mis.rows[STUDENTS].append(student(901, "Joiner", person=5_901))
        parsers.forget()
        part = outcome(await succeeds(engine, STUDENTS, "groups", MEMBERSHIPS), MEMBERSHIPS)
        assert part.unchanged == PUPILS
        assert parsers.rows == [engine.mis.rows[STUDENTS][-1]]


async def test_a_window_reads_its_rows_and_leaves_the_memos_of_the_whole(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        engine.mis.rows[MARKS] = [mark(n, "2026-10-01") for n in range(1, PUPILS + 1)]
        await succeeds(engine, MARKS)
        before = await documents(store)
        parsers.forget()
        accepted = await engine.supervisor.start_sync(
            SCHOOL,
            [MARKS],
            "22222222-2222-4222-8222-222222222222",
            "tests",
            layer=pb.SYNC_LAYER_WINDOW,
            date_from="2026-10-01",
            date_to="2026-10-02",
        )
        run = await engine.finish(accepted.run_id)
        assert outcome(run, MARKS).unchanged == PUPILS
        assert len(parsers.rows) == PUPILS
        assert (await documents(store))["memos"] == before["memos"]


async def test_what_was_read_before_an_interruption_is_known_as_well(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        for row in engine.mis.rows[STUDENTS]:
            row["forename"] = "Ada"

        def fails(dataset: str, index: int) -> None:
            if index == 7:
                raise Transient("the MIS restarts")

        engine.mis.on_page = fails
        await engine.sync(STUDENTS)
        engine.mis.on_page = lambda dataset, index: None
        await succeeds(engine)
        parsers.forget()
        part = outcome(await succeeds(engine), STUDENTS)
        assert part.unchanged == PUPILS
        assert parsers.rows == []


async def test_a_parser_that_breaks_is_noticed_before_anything_is_taken_as_before(store: Store) -> None:
    """Every row is misread, so that everybody seems gone, which is held."""
    parsers = Parsers()
    async with loaded(store, parsers, replace(UNCHECKED, checked_rows=5)) as engine:
        parsers.misread = frozenset(range(1, PUPILS + 1))
        part = outcome(await engine.sync(STUDENTS), STUDENTS)
        assert (part.state, part.tombstoned) == (pb.DATASET_STATE_HELD, 0)
        assert len(parsers.rows) >= PUPILS


async def test_g01_a_parser_that_breaks_for_a_few_late_rows_deletes_nobody(store: Store) -> None:
    """Seen to fail where the run goes on: two of the rows that were read seemed to be gone, and were few."""
    parsers = Parsers()
    async with loaded(store, parsers, replace(UNCHECKED, checked_rows=2)) as engine:
        parsers.misread = frozenset(range(161, PUPILS + 1))
        run = await engine.sync(STUDENTS)
        part = outcome(run, STUDENTS)
        assert (part.state, part.tombstoned) == (pb.DATASET_STATE_INCOMPLETE, 0)
        assert part.failure.type == FAILURE_TYPE_INCOMPLETE
        assert "read otherwise than before" in part.failure.message
        assert not (await documents(store)).get("memos")
        parsers.misread = frozenset()
        parsers.forget()
        await succeeds(engine)
        assert len(parsers.rows) >= PUPILS
        assert await engine.live(kinds.KIND_STUDENT) == PUPILS


async def test_g01_rows_that_nothing_was_known_of_are_no_reason_to_end(store: Store) -> None:
    """Nothing was taken as before when the first row is found to be read otherwise, in the second segment."""
    parsers = Parsers()
    async with loaded(store, parsers, replace(UNCHECKED, checked_rows=1)) as engine:
        new = range(900, 900 + UNCHECKED.segment_rows)
        engine.mis.rows[STUDENTS][:0] = [student(n, "Joiner") for n in new]
        parsers.misread = frozenset({1})
        part = outcome(await succeeds(engine), STUDENTS)
        assert (part.created, part.tombstoned) == (len(new), 0)
        assert len(parsers.rows) >= PUPILS + len(new)


async def test_each_run_checks_other_rows(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers, replace(UNCHECKED, checked_rows=1, checked_one_of=8)) as engine:
        seen: list[frozenset[int]] = []
        for _ in range(12):
            parsers.forget()
            await succeeds(engine)
            seen.append(frozenset(parsers.numbers))
        assert all({1, 41, 81, 121, 161} <= numbers for numbers in seen)
        assert all(len(numbers) < PUPILS / 2 for numbers in seen)
        assert len(set(seen)) > 1


async def test_a_promotion_and_its_end_are_two_readings(store: Store) -> None:
    parsers = Parsers()
    async with loaded(store, parsers) as engine:
        await promote(store, SHOUTED)
        await succeeds(engine)
        await change(store, parser_versions={})
        await succeeds(engine)
        surnames = {record.student.surname for record in await engine.records(kinds.KIND_STUDENT)}
        assert surnames == {f"Surname {n}" for n in range(1, PUPILS + 1)}


def _of_tomorrow(distribution: str) -> str:
    return f"{distribution} of tomorrow"
