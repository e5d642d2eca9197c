"""G07: what was read earlier never takes the place of what was read later.

A run that was interrupted goes on from the rows that it retained, and another run may have read the same
records meanwhile. Seen to fail without the comparison of seqs in `SnapshotDiff.observe`, and, for a record
that is new, without `protect_newer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.groups_pb2 import Group
from schoolgate_sdk import KindSpec, Parsed, Row, source_key
from schoolgate_server.store.store import Store
from schoolgate_server.sync.supervisor import Supervisor
from tests.support.engine import Engine, engine_over, outcome, record_id
from tests.support.overtaking import interrupted, launching_all_but, stand_aside
from tests.support.scripted import STUDENTS, ScriptedMis, parse_student, scripted_connector, student


async def surnames(engine: Engine) -> dict[str, str]:
    records = await engine.records(kinds.KIND_STUDENT, tombstones=False)
    return {record.id: record.student.surname for record in records}


async def test_g07_a_resumed_run_leaves_what_was_read_after_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mis = ScriptedMis()
    rows = mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 58)]
    async with engine_over(store, mis) as engine:
        await engine.sync(STUDENTS)
        rows[0] = student(1, "First")  # what the first run will have read ...
        run_id = await interrupted(engine, STUDENTS, at=(STUDENTS, 4))
    await stand_aside(store, run_id)
    rows[0], rows[1] = student(1, "Second"), student(2, "Second")  # ... and what the other one reads later
    rows.append(student(99, "Joiner"))
    with monkeypatch.context() as patched:
        patched.setattr(Supervisor, "_launch", launching_all_but(run_id))
        async with engine_over(store, mis, owner="server-2") as engine:
            assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
            between = await surnames(engine)
    assert between[record_id(kinds.KIND_STUDENT, STUDENTS, 1)] == "Second"
    mis.pages_read.clear()
    async with engine_over(store, mis, owner="server-3") as engine:
        run = await engine.finish(run_id)
        assert (run.state, run.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
        assert (STUDENTS, 0) not in mis.pages_read  # the old rows were replayed, and not read again
        assert await surnames(engine) == between
        assert outcome(run, STUDENTS).tombstoned == 0
        reasons = {decision.reason for decision in await engine.decisions(STUDENTS)}
        assert diagnostics.DECISION_REASON_OLDER_KNOWLEDGE in reasons
        again = await engine.sync(STUDENTS)
        assert again.seq_after == again.seq_before


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("order", [1, -1])
async def test_g07_a_resumed_run_does_not_let_a_row_win_that_the_mis_has_dropped_since(
    store: Store, monkeypatch: pytest.MonkeyPatch, kept: int, order: int
) -> None:
    """Seen to fail where rows of a record compete though one of them says what was read later."""
    mis = ScriptedMis()
    rows = mis.rows[STUDENTS] = [student(n, f"Surname {n}") for n in range(1, 58)]
    async with engine_over(store, mis) as engine:
        await engine.sync(STUDENTS)
        rows[:2] = [student(1, "Alpha"), student(1, "Beta")][::order]  # the MIS has the pupil twice ...
        run_id = await interrupted(engine, STUDENTS, at=(STUDENTS, 4))
    await stand_aside(store, run_id)
    left = rows[kept]["surname"]
    rows[:2] = [rows[kept], student(99, "Joiner")]  # ... until somebody drops one of the rows
    with monkeypatch.context() as patched:
        patched.setattr(Supervisor, "_launch", launching_all_but(run_id))
        async with engine_over(store, mis, owner="server-2") as engine:
            assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
            between = await surnames(engine)
    assert between[record_id(kinds.KIND_STUDENT, STUDENTS, 1)] == left
    async with engine_over(store, mis, owner="server-3") as engine:
        run = await engine.finish(run_id)
        assert (run.state, run.resumptions) == (pb.RUN_STATE_SUCCEEDED, 1)
        assert await surnames(engine) == between
        part = outcome(run, STUDENTS)
        assert (part.updated, part.rejected_rows) == (0, 1)


def parse_housed(row: Row, settings: Mapping[str, str]) -> Iterable[Parsed]:
    """Parse a pupil, and the house where the row names one."""
    yield from parse_student(row, settings)
    if "house" in row:
        yield Parsed(kinds.KIND_GROUP, source_key("scripted/houses", 1), Group(name=row["house"]))


async def test_g07_a_row_that_waits_for_the_end_of_a_resumed_run_is_as_old_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail where what waited is taken as of when the run went on."""
    mis = ScriptedMis()
    connector = scripted_connector(mis)
    spec = KindSpec(kinds.KIND_GROUP, "scripted/houses")
    students = connector.datasets[0]
    students = replace(students, kinds=(*students.kinds, spec), parser=parse_housed)
    connector = replace(connector, datasets=(students,))
    rows = mis.rows[STUDENTS] = [student(n, person=1000 + n) for n in range(1, 58)]
    rows[0]["house"] = "Start"
    async with engine_over(store, mis, connector=connector) as engine:
        assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
        rows[0] = student(200, house="First", person=1001)  # waits: is it pupil 1 under a new number?
        run_id = await interrupted(engine, STUDENTS, at=(STUDENTS, 4))
    await stand_aside(store, run_id)
    rows[0] = student(1, house="Second", person=1001)
    with monkeypatch.context() as patched:
        patched.setattr(Supervisor, "_launch", launching_all_but(run_id))
        async with engine_over(store, mis, owner="server-2", connector=connector) as engine:
            assert (await engine.sync(STUDENTS)).state == pb.RUN_STATE_SUCCEEDED
    async with engine_over(store, mis, owner="server-3", connector=connector) as engine:
        run = await engine.finish(run_id)
        assert (run.resumptions, outcome(run, STUDENTS).updated) == (1, 0)
        [house] = await engine.records(kinds.KIND_GROUP)
        assert house.group.name == "Second"
