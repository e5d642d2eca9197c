"""A write is confirmed by the school's own data, and the MIS is right about what comes after."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate_sdk import SourceKey
from schoolgate_server.mis.connectors import ConnectorHost
from schoolgate_server.model.wire_keys import from_wire
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.sync.options import SyncOptions
from schoolgate_server.sync.supervisor import Supervisor
from tests.simulation.handle import Gate
from tests.simulation.virtual_time import run_virtually
from tests.support.engine import SCHOOL, record_id
from tests.support.scripted import MARKS, STUDENTS, mark, student
from tests.support.write_stage import MARK, OPTIONS, Stage, state_of, write_connector

DAY = "2026-11-02"
RECORD = record_id(KIND_ATTENDANCE_MARK, MARKS, 1, DAY)

Story = Callable[[Stage, Supervisor], Awaitable[None]]


def play(story: Story, *, rereads: bool = True) -> None:
    """Run a story of a school that was synced once; ``rereads`` says whether a re-read can be asked for."""

    async def whole() -> None:
        stage = Stage(options=OPTIONS)
        stage.mis.has_keys = True
        stage.mis.rows.rows[STUDENTS] = [student(1), student(2)]
        await stage.prepare()
        died = asyncio.Event()
        host = ConnectorHost({"scripted": write_connector(stage.mis, died)}, {})
        supervisor = Supervisor(
            stage.new_store(Gate()),
            host,
            stage.clock,
            SyncOptions(),
            "syncs",
            lambda: f"run-{next(stage.ids)}",
        )
        await supervisor.start()

        async def notify(school_id: str, kind: Any, keys: Sequence[SourceKey], request_id: str) -> None:
            if rereads:
                await supervisor.notify(school_id, kind, keys, request_id, "writeback")

        stage.notify = notify  # type: ignore[method-assign]
        await sync(supervisor)
        await stage.server()
        try:
            await story(stage, supervisor)
        finally:
            await stage.close()
            await supervisor.stop()

    run_virtually(whole)


async def sync(supervisor: Supervisor) -> None:
    accepted = await supervisor.start_sync(SCHOOL, (STUDENTS, MARKS), str(uuid.uuid4()), "tests")
    states = [run.state async for run in supervisor.watch(SCHOOL, accepted.run_id)]
    assert states


def test_a_write_is_confirmed_by_a_re_read_of_what_it_made() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        await stage.submit(operation=MARK, day=DAY)
        entry = await stage.until("k1", "CONFIRMED", within=60)
        assert list(entry.write.record_ids) == [RECORD]
        record = await stage.client_store.records.get(SCHOOL, RECORD)
        assert record is not None
        assert record.attendance_mark.code == "N"
        assert 0 < record.seq <= entry.write.confirmed_seq
        assert from_wire(record.source_keys[0]).parts == (1, DAY)

    play(story)


def test_where_none_can_be_asked_for_an_ordinary_sync_confirms() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        await stage.submit(operation=MARK, day=DAY)
        await asyncio.sleep(60)
        assert await stage.state() == "SENT"
        await sync(supervisor)
        await stage.until("k1", "CONFIRMED", within=400)

    play(story, rereads=False)


def test_the_mis_is_right_when_it_says_otherwise_later_and_when_it_comes_back() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        await stage.submit(operation=MARK, day=DAY)
        await stage.until("k1", "CONFIRMED", within=60)
        rows = stage.mis.rows.rows
        rows[MARKS][:] = [mark(1, DAY, "L")]
        await sync(supervisor)
        entry = await stage.until("k1", "DIVERGED", within=120)
        assert "code" in entry.write.failure.message
        assert "L" not in entry.write.failure.message.split(": ")[1]
        rows[MARKS][:] = [mark(1, DAY, "N")]
        await sync(supervisor)
        await stage.until("k1", "CONFIRMED", within=120)

    play(story)


def test_a_divergence_that_was_committed_while_a_write_was_confirmed_is_not_missed() -> None:
    """It is published, and followed, after the confirmation has read and before it is stored.

    Seen to fail where what was published is not looked at again once the confirmation is stored.
    """

    async def story(stage: Stage, supervisor: Supervisor) -> None:
        await stage.submit("k0", operation=MARK, day=DAY, pupil=2)
        await stage.until("k0", "CONFIRMED", within=60)
        writes = stage.servers[0].store.writes
        save = writes.save

        async def overtaken(entry: WriteEntry) -> bool:
            if state_of(entry) == "CONFIRMED":
                writes.save = save  # type: ignore[method-assign]
                rows = stage.mis.rows.rows[MARKS]
                rows[:] = [row for row in rows if row["student"] != 1] + [mark(1, DAY, "L")]
                await sync(supervisor)
                await writes.follow_to(SCHOOL, await stage.client_store.records.published(SCHOOL))
            return await save(entry)

        writes.save = overtaken  # type: ignore[method-assign]
        await stage.submit("k1", operation=MARK, day=DAY)
        await stage.until("k1", "DIVERGED", within=300)

    play(story)


def test_a_later_write_of_the_same_supersedes_and_does_not_diverge() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        await stage.submit("k1", operation=MARK, day=DAY, code="N")
        await stage.until("k1", "CONFIRMED", within=60)
        second = await stage.submit("k2", operation=MARK, day=DAY, code="/")
        await stage.until("k2", "CONFIRMED", within=60)
        await asyncio.sleep(60)
        first = await stage.read("k1")
        assert (state_of(first), first.write.superseded_by) == ("CONFIRMED", second.write_id)

    play(story)


def test_what_the_mis_shows_otherwise_after_it_was_sent_has_diverged() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        def corrects(request: object) -> None:
            stage.mis.rows.rows[MARKS][:] = [mark(1, DAY, "L")]

        stage.mis.answer = corrects
        await stage.submit(operation=MARK, day=DAY)
        await stage.until("k1", "DIVERGED", within=60)

    play(story)


def test_a_reversal_that_is_confirmed_reverses_the_original() -> None:
    async def story(stage: Stage, supervisor: Supervisor) -> None:
        original = await stage.submit("k1", operation=MARK, day=DAY, code="N")
        await stage.until("k1", "CONFIRMED", within=60)
        await stage.set_policy(pb.WRITE_POLICY_OFF)
        undo = await stage.submit("k2", operation=MARK, day=DAY, code="/")
        undo.write.reverses = original.write_id
        assert await stage.client_store.writes.save(await latest(stage, undo.write_id, original.write_id))
        await stage.set_policy(pb.WRITE_POLICY_ON)
        await stage.until("k2", "CONFIRMED", within=60)
        first = await stage.read("k1")
        assert (state_of(first), first.write.reversed_by) == ("REVERSED", undo.write_id)

    async def latest(stage: Stage, write_id: str, reverses: str) -> Any:
        await asyncio.sleep(2)
        entry = await stage.client_store.writes.get(SCHOOL, write_id)
        entry.write.reverses = reverses
        return entry

    play(story)
